"""What trackers have not sent yet. While their server is away, it also lies on storage, in the run's folder.

So a driver that dies meanwhile, or ends before the server is back, loses nothing: the next start of the run
sends the rest. MLflow's own asynchronous logging keeps unsent data in memory only.
"""

import base64
from dataclasses import asdict, dataclass, field
from typing import Any

from skipthink_ray.runtime.artifacts import Folder

UNSENT = "untracked.json"
"""A file in a run's folder. It is there while something is unsent."""
Metric = tuple[str, float, int, int]
"""Name, value, time in milliseconds, step."""
BATCH = 1000
"""The most metrics that MLflow accepts in one request."""


@dataclass
class Outbox:
    """Unsent data of one tracked run, in the order in which it is sent."""

    params: dict[str, str] = field(default_factory=dict[str, str])
    dataset: dict[str, str] = field(default_factory=dict[str, str])
    """Fields of MLflow's Dataset."""
    metrics: list[Metric] = field(default_factory=list[Metric])
    files: dict[str, bytes] = field(default_factory=dict[str, bytes])
    student: dict[str, Any] = field(default_factory=dict[str, Any])
    """Arguments of `Tracker.student`; the folder is a URI."""
    status: str | None = None

    def __bool__(self) -> bool:
        return bool(self.params or self.dataset or self.metrics or self.files or self.student or self.status)

    def drop_next(self) -> None:
        """Drop what would be sent next, because the server refuses it."""
        if self.params:
            self.params = {}
        elif self.dataset:
            self.dataset = {}
        elif self.metrics:
            self.metrics = self.metrics[BATCH:]
        elif self.files:
            del self.files[next(iter(self.files))]
        elif self.student:
            self.student = {}
        else:
            self.status = None

    def to_json(self) -> dict[str, Any]:
        files = {name: base64.b64encode(content).decode() for name, content in self.files.items()}
        return {**asdict(self), "files": files}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Outbox":
        files = {name: base64.b64decode(content) for name, content in value["files"].items()}
        metrics = [(name, number, at, step) for name, number, at, step in value["metrics"]]
        student = value.get("student", {})  # files of an earlier version lack it
        return cls(value["params"], value["dataset"], metrics, files, student, value["status"])


@dataclass(frozen=True)
class Unsent:
    """A tracked run on storage, with all that is needed to go on with it."""

    name: str
    key: str
    parent: str | None
    """Key of the run that it is a part of."""
    outbox: Outbox
    tags: dict[str, str] = field(default_factory=dict[str, str])


def write_unsent(run: Folder, unsent: list[Unsent]) -> None:
    """Write the file, or delete it if nothing is unsent."""
    if unsent:
        run.write_json(UNSENT, [{**asdict(one), "outbox": one.outbox.to_json()} for one in unsent])
    elif run.exists(UNSENT):
        run.delete(UNSENT)


def read_unsent(run: Folder) -> list[Unsent]:
    """Raises ValueError if the file is damaged."""
    if not run.exists(UNSENT):
        return []
    try:
        return [Unsent(**{**one, "outbox": Outbox.from_json(one["outbox"])}) for one in run.read_json(UNSENT)]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"{run.child(UNSENT).uri} is damaged ({error}). Delete it; the metrics in it stay untracked"
        ) from error
