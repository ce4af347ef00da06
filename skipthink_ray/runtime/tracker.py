"""What the stages know of tracking: a tracker takes parameters, metrics and files of a run, or drops them."""

from dataclasses import dataclass, field
from typing import Any, Protocol

from skipthink_ray.runtime.artifacts import Folder

Rows = list[tuple[int, dict[str, float]]]
"""Metrics to track: (step, values by name)."""


@dataclass(frozen=True)
class Labels:
    """What distinguishes a run from others: its parameters, and tags `skipthink.*` to search for."""

    params: dict[str, Any]
    tags: dict[str, str] = field(default_factory=dict[str, str])


class Tracker(Protocol):
    """A run on the tracking server."""

    def child(self, name: str, key: str) -> "Tracker": ...

    def params(self, params: dict[str, Any]) -> None: ...

    def metrics(self, rows: Rows) -> None:
        """Track each metric once for each step; what is tracked already is ignored."""
        ...

    def artifact(self, name: str, content: bytes) -> None: ...

    def dataset(self, name: str, digest: str, source: dict[str, Any]) -> None:
        """Name the data that the run uses."""
        ...

    def student(self, artifact: Folder, key: str, registered_name: str | None) -> None:
        """Log the student of an artifact as a model, once per key, and register it if a name is given."""
        ...

    def end(self, status: str) -> None:
        """End the run with the status FINISHED, FAILED or KILLED."""
        ...

    def how_to_open(self) -> str | None: ...


class NullTracker:
    """Tracks nothing."""

    def child(self, name: str, key: str) -> "NullTracker":
        return self

    def params(self, params: dict[str, Any]) -> None: ...

    def metrics(self, rows: Rows) -> None: ...

    def artifact(self, name: str, content: bytes) -> None: ...

    def dataset(self, name: str, digest: str, source: dict[str, Any]) -> None: ...

    def student(self, artifact: Folder, key: str, registered_name: str | None) -> None: ...

    def end(self, status: str) -> None: ...

    def how_to_open(self) -> str | None:
        return None
