"""A sweep's folder, `sweeps/<name>` in the storage path: the record of each trial, and the chosen settings.

trials/<task>-<key>.json    how a trial ended: its draw, its numbers, or why it failed
losses/<task>-<key>.json    training losses at the points where trials are compared for early stopping
chosen/<task>.yaml          the configuration of the chosen trial, for `skipthink run --config`
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import yaml

from skipthink_ray.config import PipelineConfig
from skipthink_ray.runtime.artifacts import Folder
from skipthink_ray.runtime.store import SWEEPS
from skipthink_ray.tuning.plan import Trial, trial_of
from skipthink_ray.tuning.space import Space


@dataclass(frozen=True)
class Record:
    """How a trial ended."""

    task: str
    key: str
    drawn: dict[str, Any]
    run: str
    """Name of its run in the storage path."""
    numbers: dict[str, float]
    """Summary of its evaluation on dev questions; empty if it failed or was stopped early."""
    reason: str = ""
    """Why it failed or was stopped early; empty if it is done."""
    again: bool = False
    """Whether the sweep tries a failed trial again when it continues."""
    stopped: bool = False
    """Whether it was stopped early, as hopeless. This is not a failure."""

    @property
    def is_done(self) -> bool:
        return not self.reason

    @property
    def has_failed(self) -> bool:
        return bool(self.reason) and not self.stopped

    @property
    def name(self) -> str:
        return f"{self.task}-{self.key}"


def done(trial: Trial, summary: dict[str, Any]) -> Record:
    """The record of a finished trial, from the summary of its stage evaluation."""
    numbers = {key: float(value) for key, value in summary.items() if isinstance(value, int | float)}
    return Record(trial.task, trial.key, trial.drawn, trial.config.name, numbers)


def failed(trial: Trial, reason: str, again: bool) -> Record:
    return Record(trial.task, trial.key, trial.drawn, trial.config.name, {}, reason, again)


def stopped(trial: Trial, reason: str) -> Record:
    return Record(trial.task, trial.key, trial.drawn, trial.config.name, {}, reason, stopped=True)


@dataclass(frozen=True)
class Sweep:
    storage: Folder
    name: str

    @property
    def folder(self) -> Folder:
        return self.storage.child(f"{SWEEPS}/{self.name}")

    def record(self, record: Record) -> None:
        self.folder.child("trials").write_json(f"{record.name}.json", asdict(record))

    def records(self, trials: list[Trial]) -> dict[str, Record]:
        """The records of these trials, by the trial's name."""
        names = {*self.folder.child("trials").names()}
        return {
            trial.name: Record(**self.folder.read_json(f"trials/{trial.name}.json"))
            for trial in trials
            if f"{trial.name}.json" in names
        }

    def all_records(self) -> list[Record]:
        """Every record of the folder, also of trials that the present space does not draw."""
        trials = self.folder.child("trials")
        return [Record(**trials.read_json(name)) for name in trials.names() if name.endswith(".json")]

    def known_trials(self, bases: Sequence[PipelineConfig], space: Space) -> list[Trial]:
        """The trials that have a record and the same configuration as then."""
        trials = []
        for record in self.all_records():
            for base in bases:
                if base.task == record.task:
                    trial = trial_of(self.name, base, space, record.drawn)
                    trials += [trial] if trial.key == record.key else []
        return trials

    def to_run(self, trials: list[Trial]) -> list[Trial]:
        """The trials without a record, and those that failed and may succeed now."""
        known = self.records(trials)
        return [trial for trial in trials if trial.name not in known or known[trial.name].again]

    def forget(self, trial: Trial) -> None:
        """Delete the record of a trial that is tried again."""
        self.folder.child("trials").delete(f"{trial.name}.json")

    def write_losses(self, trial: Trial, losses: dict[str, float]) -> None:
        """Losses in nats by the share of updates, as text."""
        self.folder.child("losses").write_json(f"{trial.name}.json", losses)

    def losses(self, task: str) -> dict[str, dict[str, float]]:
        """What `write_losses` wrote for the trials of a task, by the trial's name."""
        folder = self.folder.child("losses")
        names = [
            name for name in folder.names() if name.rpartition("-")[0] == task and name.endswith(".json")
        ]
        return {name.removesuffix(".json"): folder.read_json(name) for name in names}

    def write_chosen(self, task: str, config: PipelineConfig) -> None:
        text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
        self.folder.child("chosen").write_text(f"{task}.yaml", text)
