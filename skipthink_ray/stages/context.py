"""The argument of every stage: configuration, input artifacts, output folder, progress and tracking."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console

from skipthink_ray.config import PipelineConfig
from skipthink_ray.method.modes import Mode
from skipthink_ray.reporting.findings import Finding
from skipthink_ray.runtime.artifacts import Folder
from skipthink_ray.runtime.console import say
from skipthink_ray.runtime.progress import Bars, StageLine
from skipthink_ray.runtime.stopping import Stopper
from skipthink_ray.runtime.store import SharedTable
from skipthink_ray.runtime.tracker import Tracker


@dataclass(frozen=True)
class Context:
    name: str
    config: PipelineConfig
    console: Console
    tracker: Tracker
    out: Folder
    """The artifact to write."""
    inputs: dict[str, Folder]
    """Finished artifacts of earlier stages, by stage."""
    bars: Bars
    """Shared by the stages of a run, as is the stopper."""
    stopper: Stopper
    answers: dict[Mode, SharedTable] = field(default_factory=dict[Mode, SharedTable])
    """evaluation: the answers in each mode, shared with other runs."""

    def line(self, unit: str, total: int = 0) -> StageLine:
        """The stage's progress line."""
        return StageLine(self.console, self.name, unit, total, self.tracker, self.bars)

    def say(self, text: str) -> None:
        say(self.console, text, self.name)

    def warn(self, findings: Sequence[Finding]) -> list[dict[str, Any]]:
        """Print findings. Returns them as JSON values for `warnings` in the stage's summary."""
        for finding in findings:
            say(self.console, f"Warning: {finding.text} {finding.remedy}", self.name, style="yellow")
        return [asdict(finding) for finding in findings]
