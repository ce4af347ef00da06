"""Runs one trial in a process of Ray Tune: the pipeline up to the answers to dev questions.

The process needs no CPU of its own: it waits for Ray Train and the actor pools, which request theirs.
"""

import os
import traceback
from typing import Any

from rich.console import Console

from skipthink_ray.config import PipelineConfig
from skipthink_ray.pipeline import Part, processes_at_once, run
from skipthink_ray.runtime.artifacts import Folder
from skipthink_ray.runtime.log_file import log_file
from skipthink_ray.runtime.progress import cause
from skipthink_ray.runtime.stopping import Stopped
from skipthink_ray.runtime.tracker import Labels
from skipthink_ray.training.launch import WouldFailAgain
from skipthink_ray.tuning.early_stopping import Watch
from skipthink_ray.tuning.plan import Trial
from skipthink_ray.tuning.space import EarlyStop
from skipthink_ray.tuning.sweep import Record, Sweep, done, failed, stopped


def arguments_of(trial: Trial, command: str, stop: EarlyStop | None) -> dict[str, Any]:
    """What `run_trial` needs, as JSON values."""
    return {
        "sweep": trial.sweep,
        "task": trial.task,
        "drawn": trial.drawn,
        "key": trial.key,
        "config": trial.config.model_dump(mode="json"),
        "command": command,
        "stop": stop.model_dump() if stop else None,
        "folder": os.getcwd(),
    }


def run_trial(arguments: dict[str, Any]) -> None:
    """Run a trial and write its record. Reports to Ray Tune only why it failed, if it did."""
    from ray import tune

    given = arguments["trial"]
    if os.path.isdir(given["folder"]):  # where relative paths start; Tune changed to a folder of its own
        os.chdir(given["folder"])
    config = PipelineConfig.model_validate(given["config"])
    trial = Trial(given["sweep"], given["task"], given["drawn"], config, given["key"])
    sweep = Sweep(Folder.open(config.storage_path), trial.sweep)
    watch = Watch(sweep, trial, EarlyStop.model_validate(given["stop"])) if given["stop"] else None
    with log_file(config) as file, open(file.path, "a", encoding="utf-8") as log:
        record = _attempt(trial, given["command"], watch, Console(file=log, width=120))
    sweep.record(record)
    tune.report({"reason": record.reason if record.has_failed else ""})


def _attempt(trial: Trial, command: str, watch: Watch | None, console: Console) -> Record:
    """Run the trial. Returns how it ended."""
    tags = {"task": trial.task, "sweep": trial.sweep, "trial": trial.key}
    part = Part(Labels(trial.drawn, tags), processes_at_once(trial.config), watch)
    try:
        current = run(trial.config, console, command, trial.stages, part)
        return done(trial, current.artifact("evaluation").read_json("summary.json"))
    except Stopped as given_up:
        return stopped(trial, str(given_up))
    except Exception as error:  # noqa: BLE001  # the sweep goes on with the other trials
        traceback.print_exc(file=console.file)
        return failed(trial, cause(error), again=not isinstance(error, WouldFailAgain))
