"""The benchmarks by name (method §7). One file per toy generator; answer checks by kind of answer in answers.py."""

from difflib import get_close_matches

from skipthink_ray.tasks import last_letter_concatenation, multiarith, tracking_shuffled_objects
from skipthink_ray.tasks.task import Task, ToyRow

__all__ = ["TASKS", "Task", "ToyRow", "get_task"]

TASKS: dict[str, Task] = {
    "single_eq": Task("single_eq", "number", num_chunks=4),
    "addsub": Task("addsub", "number", num_chunks=4),
    "multiarith": Task("multiarith", "number", num_chunks=4, toy=multiarith.toy_row),
    "svamp": Task("svamp", "number", num_chunks=4),
    "gsm8k": Task("gsm8k", "number", num_chunks=4),
    "tracking_shuffled_objects": Task("tracking_shuffled_objects", "choice", toy=tracking_shuffled_objects.toy_row),
    "last_letter_concatenation": Task("last_letter_concatenation", "string", toy=last_letter_concatenation.toy_row),
    "strategy_qa": Task("strategy_qa", "yes_no"),
    "coin_flip": Task("coin_flip", "yes_no"),
    "aqua": Task("aqua", "choice"),
    "date_understanding": Task("date_understanding", "choice"),
    "commonsense_qa": Task("commonsense_qa", "choice"),
}


def get_task(name: str) -> Task:
    """The task of that name; ValueError with the nearest names otherwise."""
    if name in TASKS:
        return TASKS[name]
    near = get_close_matches(name, TASKS, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"known tasks: {', '.join(TASKS)}"
    raise ValueError(f"task: unknown task '{name}'; {hint}")
