"""The argument of every stage: configuration, input artifacts, output folder, progress and tracking."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console

from skipthink_ray.config import PipelineConfig
from skipthink_ray.reporting.findings import Finding
from skipthink_ray.runtime.artifacts import Folder
from skipthink_ray.runtime.progress import Bars, StageLine
from skipthink_ray.runtime.stopping import Stopper
from skipthink_ray.runtime.tracking import Tracker


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
    bars: Bars = field(default_factory=Bars)
    """Shared by the stages of a run, as is the stopper."""
    stopper: Stopper = field(default_factory=Stopper)

    def line(self, unit: str, total: int = 0) -> StageLine:
        """The stage's progress line."""
        return StageLine(self.console, self.name, unit, total, self.tracker, self.bars)

    def say(self, text: str) -> None:
        self.console.print(f"{self.name:<11} {text}", highlight=False, markup=False, soft_wrap=True)

    def warn(self, findings: Sequence[Finding]) -> list[dict[str, Any]]:
        """Print findings. Returns them as JSON values for `warnings` in the stage's summary."""
        for finding in findings:
            text = f"{self.name:<11} Warning: {finding.text} {finding.remedy}"
            self.console.print(text, style="yellow", highlight=False, markup=False, soft_wrap=True)
        return [asdict(finding) for finding in findings]
