"""Prints the result and the table of modes to the terminal, from a report dictionary or a finished report."""

from collections.abc import Callable, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from skipthink_ray.method.modes import STUDENT_OF
from skipthink_ray.runtime.artifacts import Folder

UNKNOWN = "-"
TITLES: dict[str, str] = {mode: f"{mode} ({student})" for mode, student in STUDENT_OF.items()}


def show_report(report: Folder, console: Console) -> None:
    """Print a finished report and the path of its page."""
    print_table(report.read_json("report.json"), report.child("report.html").uri, console)


def print_table(report: dict[str, Any], page: str, console: Console) -> None:
    evaluation, dropped = report["evaluation"], report["dropped"]
    console.print()
    for sentence in report["result"]:
        console.print(sentence, highlight=False, markup=False)
    if report["warnings"]:
        console.print("\nWhat to look at:", highlight=False, markup=False)
    for warning in report["warnings"]:
        line = f"- {warning['stage']}: {warning['text']} {warning['remedy']}"
        console.print(line, style="yellow", highlight=False, markup=False)
    console.print()
    console.print(modes_table(report["modes"]))
    console.print()
    before = ", ".join(evaluation["answered_before"])
    console.print(
        f"{evaluation['confidence_pct']:g} % bootstrap intervals. Seconds of "
        f"{evaluation['timed_questions']:,} questions, one at a time; "
        f"questions/s of one actor at batch {evaluation['batch_size']}."
        + (f" Another run answered in mode {before}, so its questions/s are that run's." if before else ""),
        highlight=False,
        markup=False,
    )
    reasons = ", ".join(f"{reason['reason']} {reason['count']:,}" for reason in dropped["reasons"])
    rows = f"Rows dropped: {dropped['total']:,} of {dropped['read']:,}"
    console.print(f"{rows} ({reasons})." if reasons else f"{rows}.", highlight=False, markup=False)
    console.print(f"Report: {page}", highlight=False, markup=False, soft_wrap=True)


ACCURACIES = {"full": "Base %", "staged": "staged %", "skip": "skip %", "direct": "direct %"}
RATIOS = {"token_ratio": "tokens, full / skip", "speedup": "speed-up"}
"""Titles of `main_numbers`."""


def main_numbers(report: Folder) -> dict[str, str]:
    """The main numbers of a finished report by title, for a row of a table of several runs."""
    modes = report.read_json("report.json")["modes"]
    accuracies = {ACCURACIES[mode]: f"{here['accuracy_pct']['value']:.1f}" for mode, here in modes.items()}
    return accuracies | {title: f"{modes['skip'][name]['value']:.2f}" for name, title in RATIOS.items()}


Row = tuple[Sequence[str], dict[str, str]]
"""A run in a table of several: its cells in the table's own columns, and its main numbers by title."""
FAILED = {ACCURACIES["full"]: "failed"}


def add_runs(table: Table, rows: Sequence[Row]) -> None:
    """Add columns for the main numbers, and the rows. The mode direct has a column if a run has it."""
    direct = ACCURACIES["direct"]
    has_direct = any(direct in numbers for _, numbers in rows)
    titles = [title for title in (*ACCURACIES.values(), *RATIOS.values()) if title != direct or has_direct]
    for title in titles:
        table.add_column(title, justify="right")
    for cells, numbers in rows:
        table.add_row(*cells, *(numbers.get(title, UNKNOWN) for title in titles))


def plain_table() -> Table:
    """A table with a rule under its titles and nothing else."""
    return Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)


def modes_table(modes: dict[str, dict[str, Any]]) -> Table:
    """A column per mode, with the numbers of `numbers.mode_numbers`."""
    table = plain_table()
    table.add_column("")
    for mode in modes:
        table.add_column(TITLES[mode], justify="right")
    for title, cell in _rows():
        table.add_row(title, *(cell(mode) for mode in modes.values()))
    return table


def _rows() -> list[tuple[str, Callable[[dict[str, Any]], str]]]:
    return [
        ("accuracy %", lambda mode: _estimate(mode["accuracy_pct"], 1)),
        ("  minus full", lambda mode: _estimate(mode.get("difference_points"), 1)),
        ("format errors %", lambda mode: f"{mode['format_errors_pct']:.1f}"),
        ("length limit %", lambda mode: f"{mode['at_limit_pct']:.1f}"),
        ("loops %", lambda mode: f"{mode['loops_pct']:.1f}"),
        ("tokens", lambda mode: _estimate(mode["tokens"], 1)),
        ("  full / mode", lambda mode: _estimate(mode.get("token_ratio"), 2)),
        ("s at batch 1", lambda mode: _estimate(mode["latency_s"], 3)),
        ("  speed-up", lambda mode: _estimate(mode.get("speedup"), 2)),
        ("questions/s", lambda mode: f"{mode['questions_per_s']:.1f}"),
    ]


def _estimate(estimate: dict[str, float] | None, digits: int) -> str:
    if estimate is None:
        return "-"
    value, low, high = (f"{estimate[name]:.{digits}f}" for name in ("value", "low", "high"))
    return f"{value} ({low}{' to ' if '-' in low + high else '-'}{high})"
