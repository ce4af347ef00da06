"""A run or a trial as a page of several shows it."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Entry:
    report: dict[str, Any]
    """report.json, as `numbers.build_report` makes it."""
    arm: str
    """What distinguishes it from the others of its task."""
    drawn: dict[str, Any] | None = None
    """A trial's draw: values by configuration key. None for a run that is not a trial."""
    is_chosen: bool = False
    """Whether the sweep chose this trial."""

    @property
    def task(self) -> str:
        return self.report["task"]

    @property
    def config(self) -> dict[str, Any]:
        return self.report["made"]["config"]

    @property
    def num_chunks(self) -> int:
        """M."""
        return len(self.report["chunks"]["positions"])

    @property
    def split(self) -> str:
        return self.report["evaluation"]["split"]

    def speed(self, mode: str) -> dict[str, float]:
        """The speed-up at batch 1; of a trial, which does not measure latency, the token ratio."""
        versus_full = "speedup" if self.drawn is None else "token_ratio"
        one = {"value": 1.0, "low": 1.0, "high": 1.0}
        return one if mode == "full" else self.report["modes"][mode][versus_full]


def by_task(entries: list[Entry]) -> dict[str, list[Entry]]:
    tasks: dict[str, list[Entry]] = {}
    for entry in entries:
        tasks.setdefault(entry.task, []).append(entry)
    return tasks
