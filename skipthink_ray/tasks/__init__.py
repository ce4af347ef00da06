"""All benchmarks by name (method §7), and `task_of`, which finds the task of a configuration.

answers.py checks answers, conclusions.py reads them from a teacher's text, public.py reads public data sets,
splits.py holds their splits, and toys/ has a generator for each benchmark with a toy.
"""

from difflib import get_close_matches

from skipthink_ray.config import PipelineConfig
from skipthink_ray.tasks import own, public
from skipthink_ray.tasks.task import Task, ToyRow
from skipthink_ray.tasks.toys import (
    addsub,
    last_letter_concatenation,
    multiarith,
    single_eq,
    strategy_qa,
    svamp,
    tracking_shuffled_objects,
)

__all__ = ["GROUPS", "TASKS", "Task", "ToyRow", "check_source", "get_task", "task_of"]

TASKS: dict[str, Task] = {
    "single_eq": Task("single_eq", "number", num_chunks=4, toy=single_eq.toy_row, public=public.SINGLE_EQ),
    "addsub": Task("addsub", "number", num_chunks=4, toy=addsub.toy_row, public=public.ADDSUB),
    "multiarith": Task(
        "multiarith", "number", num_chunks=4, toy=multiarith.toy_row, public=public.MULTIARITH
    ),
    "svamp": Task("svamp", "number", num_chunks=4, toy=svamp.toy_row, public=public.SVAMP),
    "gsm8k": Task("gsm8k", "number", num_chunks=4, public=public.GSM8K),
    "tracking_shuffled_objects": Task(
        "tracking_shuffled_objects",
        "choice",
        toy=tracking_shuffled_objects.toy_row,
        public=public.TRACKING_SHUFFLED_OBJECTS,
    ),
    "last_letter_concatenation": Task(
        "last_letter_concatenation",
        "string",
        toy=last_letter_concatenation.toy_row,
        public=public.LAST_LETTER_CONCATENATION,
    ),
    "strategy_qa": Task("strategy_qa", "yes_no", toy=strategy_qa.toy_row, public=public.STRATEGY_QA),
    "coin_flip": Task("coin_flip", "yes_no", public=public.COIN_FLIP),
    "aqua": Task("aqua", "choice", public=public.AQUA),
    "date_understanding": Task("date_understanding", "choice", public=public.DATE_UNDERSTANDING),
    "commonsense_qa": Task("commonsense_qa", "choice", public=public.COMMONSENSE_QA),
}


GROUPS: dict[str, tuple[str, ...]] = {
    "seven": (
        "single_eq",
        "addsub",
        "multiarith",
        "svamp",
        "tracking_shuffled_objects",
        "last_letter_concatenation",
        "strategy_qa",
    )
}
"""The group `seven` (method §7), which `skipthink run` runs side by side if the cluster has room."""


def task_of(config: PipelineConfig) -> Task:
    """The task of a run: a benchmark, or the user's own (`own_task`, or a class by import path).

    Raises ValueError for an unknown task or a faulty task class.
    """
    if ":" in config.task:
        if config.own_task:
            raise ValueError(
                f"task: '{config.task}' is an import path, and own_task is given too; keep one of them"
            )
        return own.from_path(config.task)
    return own.from_config(config.task, config.own_task) if config.own_task else get_task(config.task)


def check_source(config: PipelineConfig) -> None:
    """Raises ValueError if the task does not support `rationales.source`. No I/O."""
    source, task = config.rationales, task_of(config)
    if source.source == "toy" and task.toy is None:
        raise ValueError(
            f"rationales.source: task '{task.name}' has no toy generator; name a file with rationales.path"
        )
    if source.source != "dataset" or source.path:
        return
    if task.public is None or task.public.hub_id is None:
        instead = task.public.instead if task.public else "name one with rationales.path"
        raise ValueError(
            f"rationales.source: no public data set is known for the task '{task.name}': {instead}"
        )
    if not task.public.has_rationale and source.teacher.kind == "given":
        raise ValueError(
            f"rationales.source: '{task.public.hub_id}', the data set of the task '{task.name}', has no "
            "rationales; let a teacher write them (rationales.teacher), or set rationales.path to a file "
            "that has them"
        )


def get_task(name: str) -> Task:
    """The benchmark of that name. Raises ValueError, with the nearest name, if there is none."""
    if name in TASKS:
        return TASKS[name]
    if name in GROUPS:
        raise ValueError(
            f"task: '{name}' is a group of {len(GROUPS[name])} tasks, which only `skipthink run` accepts; "
            "name one of them"
        )
    near = get_close_matches(name, [*TASKS, *GROUPS], n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"known tasks: {', '.join(TASKS)}."
    raise ValueError(
        f"task: unknown task '{name}'; {hint} A task of your own needs own_task, "
        "or its class as package.module:ClassName"
    )
