"""Runs one trial in a process of Ray Tune: the pipeline up to the answers to dev questions.

The process needs no CPU of its own: it waits for Ray Train and the actor pools, which request theirs.
"""

import os
import traceback
from typing import Any

from rich.console import Console

from skipthink_ray.config import PipelineConfig
from skipthink_ray.pipeline import run
from skipthink_ray.runtime.artifacts import Folder
from skipthink_ray.runtime.progress import cause, log_path
from skipthink_ray.runtime.tracker import Labels
from skipthink_ray.training.launch import WouldFailAgain
from skipthink_ray.tuning.plan import STAGES, Trial
from skipthink_ray.tuning.sweep import Sweep, done, failed


def arguments_of(trial: Trial, command: str) -> dict[str, Any]:
    """What `run_trial` needs, as JSON values."""
    return {
        "sweep": trial.sweep,
        "task": trial.task,
        "drawn": trial.drawn,
        "key": trial.key,
        "config": trial.config.model_dump(mode="json"),
        "command": command,
        "folder": os.getcwd(),
    }


def run_trial(arguments: dict[str, Any]) -> None:
    """Run a trial and write its record. Reports to Ray Tune only whether it failed, and why."""
    from ray import tune

    given = arguments["trial"]
    if os.path.isdir(given["folder"]):  # where relative paths start; Tune changed to a folder of its own
        os.chdir(given["folder"])
    config = PipelineConfig.model_validate(given["config"])
    trial = Trial(given["sweep"], given["task"], given["drawn"], config, given["key"])
    sweep = Sweep(Folder.open(config.storage_path), trial.sweep)
    with open(log_path(config), "a", encoding="utf-8") as log:
        reason, again = _attempt(trial, sweep, given["command"], Console(file=log, width=120))
    if reason:
        sweep.record(failed(trial, reason, again))
    tune.report({"failed": int(bool(reason)), "reason": reason})


def _attempt(trial: Trial, sweep: Sweep, command: str, console: Console) -> tuple[str, bool]:
    """Why the trial failed, and whether another attempt may succeed. Writes the record of a finished one."""
    tags = {"task": trial.task, "sweep": trial.sweep, "trial": trial.key}
    try:
        labels = Labels(trial.drawn, tags)
        current = run(trial.config, console, command, STAGES, labels, at_once=trial.processes)
        sweep.record(done(trial, current.artifact("evaluation").read_json("summary.json")))
    except Exception as error:  # noqa: BLE001  # the sweep goes on with the other trials
        traceback.print_exc(file=console.file)
        return cause(error), not isinstance(error, WouldFailAgain)
    return "", False
