"""`skipthink runs`: the runs of a storage path with their main numbers."""

from typing import Any

from rich.console import Console

from skipthink_ray.identity import ANSWERS
from skipthink_ray.reporting.table import Row, add_runs, main_numbers, plain_table
from skipthink_ray.runtime.artifacts import Folder
from skipthink_ray.runtime.console import say
from skipthink_ray.runtime.store import REPORT, is_made, runs_of

ABOUT = ("run", "task", "started", "stages")


def runs(storage_path: str, console: Console) -> int:
    """Print one row per run, and one per earlier configuration of a run. Returns the exit code."""
    storage = Folder.open(storage_path)
    views = runs_of(storage)
    if not views:
        say(console, f"No runs in {storage.uri}.")
        return 0
    table = plain_table()
    for name in ABOUT:
        table.add_column(name, justify="left" if name in ABOUT[:3] else "right")
    rows = list[Row]()
    for run, view in views.items():
        rows.append(_row(storage, run, view))
        rows += [_row(storage, run, earlier, " (earlier)") for earlier in view["earlier"]]
    add_runs(table, rows)
    console.print(table)
    return 0


def _row(storage: Folder, run: str, view: dict[str, Any], remark: str = "") -> Row:
    """The cells of ABOUT, and the numbers of the report if it belongs to this view."""
    known = {stage: digest for stage, digest in view["artifacts"].items() if not stage.startswith(ANSWERS)}
    made = {stage: is_made(storage, run, stage, digest) for stage, digest in known.items()}
    has_report = made.get(REPORT, False)
    numbers = main_numbers(storage.child(run).child(REPORT)) if has_report else {}
    started, stages = view["started_at"][:16], f"{sum(made.values())} of {len(made)}"
    return [f"{run}{remark}", view["config"]["task"], started, stages], numbers
