"""`skipthink runs`: the runs of a storage path with their main numbers."""

from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from skipthink_ray.runtime.artifacts import DONE, Folder
from skipthink_ray.runtime.store import REPORT, artifact_of, runs_of

COLUMNS = ("run", "task", "started", "stages", "Base %", "skip %", "tokens, full / skip", "speed-up")
UNKNOWN = "-"


def runs(storage_path: str, console: Console) -> int:
    """Print one row per run, and one per earlier configuration of a run. Returns the exit code."""
    storage = Folder.open(storage_path)
    found = runs_of(storage)
    if not found:
        console.print(f"No runs in {storage.uri}.", highlight=False, markup=False)
        return 0
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for name in COLUMNS:
        table.add_column(name, justify="left" if name in ("run", "task", "started") else "right")
    for run, view in found.items():
        report = storage.child(run).child(REPORT)
        numbers = _numbers(report) if report.exists(DONE) else [UNKNOWN] * 4
        table.add_row(*_about(storage, run, view), *numbers)
        for earlier in view["earlier"]:
            table.add_row(*_about(storage, f"{run} (earlier)", earlier), *[UNKNOWN] * 4)
    console.print(table)
    return 0


def _about(storage: Folder, name: str, view: dict[str, Any]) -> list[str]:
    """Name, task, start and the number of finished stages; the report counts for the newest view only."""
    done = [
        artifact_of(storage, stage, digest).exists(DONE)
        if stage != REPORT
        else storage.child(f"{name}/{REPORT}").exists(DONE)
        for stage, digest in view["artifacts"].items()
    ]
    return [name, view["config"]["task"], view["started_at"][:16], f"{sum(done)} of {len(done)}"]


def _numbers(report: Folder) -> list[str]:
    modes = report.read_json("report.json")["modes"]
    return [
        *(f"{modes[mode]['accuracy_pct']['value']:.1f}" for mode in ("full", "skip")),
        f"{modes['skip']['token_ratio']['value']:.2f}",
        f"{modes['skip']['speedup']['value']:.2f}",
    ]
