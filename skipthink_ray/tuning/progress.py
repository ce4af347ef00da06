"""How a running sweep is shown: a line per ended trial, and a table with the best trial of each task."""

import json
from operator import attrgetter

from rich.table import Table

from skipthink_ray.reporting.table import plain_table
from skipthink_ray.tuning.space import Choose
from skipthink_ray.tuning.sweep import Record


def result_of(record: Record, rule: Choose) -> str:
    """The dev result of a trial, or why there is none."""
    if not record.is_done:
        return f"failed: {record.reason}" if record.has_failed else record.reason
    accuracy, tokens = (record.numbers[f"{rule.mode}_{name}"] for name in ("accuracy_pct", "tokens"))
    return f"dev {rule.mode} {accuracy:.1f} % in {tokens:.1f} tokens"


def progress_table(totals: dict[str, int], records: list[Record], rule: Choose) -> Table:
    """A row per task: how many trials are done, stopped early and failed, and the best result so far.

    totals: the number of trials by task
    """
    table, counts = plain_table(), ("done", "stopped", "failed")
    for title in ("task", *counts, "best so far", "with"):
        table.add_column(title, justify="right" if title in counts else "left")
    for task, total in totals.items():
        ended = [record for record in records if record.task == task]
        done = [record for record in ended if record.is_done]
        best = max(done, key=lambda record: record.numbers[f"{rule.mode}_accuracy_pct"], default=None)
        found = (result_of(best, rule), shown(best.drawn)) if best else ("-", "")
        stopped, failed = (sum(map(attrgetter(name), ended)) for name in ("stopped", "has_failed"))
        table.add_row(task, f"{len(done)}/{total}", str(stopped), str(failed), *found)
    return table


def shown(drawn: dict[str, object]) -> str:
    return ", ".join(f"{key}={_value(value)}" for key, value in drawn.items())


def _value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    return value if isinstance(value, str) else json.dumps(value)
