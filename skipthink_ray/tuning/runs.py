"""Runs that a sweep or an ablation makes in its own process, each with its own log file."""

import traceback

from rich.console import Console

from skipthink_ray.config import PipelineConfig
from skipthink_ray.pipeline import Part, run
from skipthink_ray.runtime.log_file import log_file
from skipthink_ray.runtime.progress import cause
from skipthink_ray.runtime.tracker import Labels
from skipthink_ray.settings import expand


def configs_of(config: PipelineConfig, tasks: str | None) -> list[PipelineConfig]:
    """One configuration per task. tasks: groups and tasks with commas between; None: the configured task.

    Raises ValueError as `expand` does.
    """
    names = [name.strip() for name in (tasks or config.task).split(",")]
    configs = [one for name in names for one in expand(config.model_copy(update={"task": name}))]
    return [*{one.task: one for one in configs}.values()]


def run_with_log(config: PipelineConfig, command: str, labels: Labels) -> str | None:
    """Run all stages, with the output in the run's log file. Returns why that failed."""
    with log_file(config) as file, open(file.path, "a", encoding="utf-8") as log:
        try:
            run(config, Console(file=log, width=120), command, part=Part(labels))
        except Exception as error:  # noqa: BLE001  # other runs go on
            traceback.print_exc(file=log)
            return f"{config.name} failed: {cause(error)}"
    return None
