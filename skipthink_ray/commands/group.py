"""Runs for a group of tasks, one after another, and one table of their results."""

from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from skipthink_ray.config import PipelineConfig
from skipthink_ray.reporting.table import FAILED, Row, add_runs, main_numbers, plain_table
from skipthink_ray.runtime.artifacts import Folder
from skipthink_ray.runtime.console import TERMINATED, say
from skipthink_ray.runtime.store import REPORT


@dataclass(frozen=True)
class Outcome:
    """How the run of one task ended."""

    config: PipelineConfig
    code: int
    """Exit code; 0 is done."""
    error: str = ""


def run_group(configs: list[PipelineConfig], run: Callable[[PipelineConfig], int], console: Console) -> int:
    """Call `run` on every configuration, also after a failure, and print the table of results.

    Returns the exit code: 0 if all runs are done, 143 if one was terminated, else 1.
    """
    outcomes = []
    for number, config in enumerate(configs, start=1):
        say(console, f"\n{number}/{len(configs)} {config.task}")
        outcomes.append(_outcome(config, run))
        if outcomes[-1].code == TERMINATED:
            return TERMINATED
    console.print()
    console.print(table_of(outcomes))
    for failed in (outcome for outcome in outcomes if outcome.code):
        reason = failed.error or "see above"
        say(console, f"skipthink: {failed.config.task} failed: {reason}")
    return int(any(outcome.code for outcome in outcomes))


def _outcome(config: PipelineConfig, run: Callable[[PipelineConfig], int]) -> Outcome:
    try:
        return Outcome(config, run(config))
    except ValueError as error:  # the user's error; the other tasks may still run
        return Outcome(config, 2, str(error))


def table_of(outcomes: list[Outcome]) -> Table:
    """One row per task: accuracy in every mode, token ratio and speed-up, or "failed"."""
    table = plain_table()
    table.add_column("task")
    rows = list[Row]()
    for outcome in outcomes:
        config = outcome.config
        report = Folder.open(config.storage_path).child(config.name).child(REPORT)
        rows.append(([config.task], FAILED if outcome.code else main_numbers(report)))
    add_runs(table, rows)
    return table
