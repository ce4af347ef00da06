"""How a running sweep is shown: a line per ended trial, and a table with the best trial of each task."""

import json

from rich.table import Table

from skipthink_ray.reporting.table import plain_table
from skipthink_ray.tuning.plan import Trial
from skipthink_ray.tuning.space import Choose
from skipthink_ray.tuning.sweep import Record


def result_of(record: Record, rule: Choose) -> str:
    """The dev result of a trial, or why it failed."""
    if not record.is_done:
        return f"failed: {record.reason}"
    accuracy, tokens = (record.numbers[f"{rule.mode}_{name}"] for name in ("accuracy_pct", "tokens"))
    return f"dev {rule.mode} {accuracy:.1f} % in {tokens:.1f} tokens"


def progress_table(trials: list[Trial], records: dict[str, Record], rule: Choose) -> Table:
    """A row per task: how many trials ended and failed, and the best result so far."""
    table = plain_table()
    for title in ("task", "done", "failed", "best so far", "with"):
        table.add_column(title, justify="right" if title in ("done", "failed") else "left")
    for task in dict.fromkeys(trial.task for trial in trials):
        names = [trial.name for trial in trials if trial.task == task]
        ended = [records[name] for name in names if name in records]
        done = [record for record in ended if record.is_done]
        best = max(done, key=lambda record: record.numbers[f"{rule.mode}_accuracy_pct"], default=None)
        found = (result_of(best, rule), shown(best.drawn)) if best else ("-", "")
        table.add_row(task, f"{len(done)}/{len(names)}", str(len(ended) - len(done)), *found)
    return table


def shown(drawn: dict[str, object]) -> str:
    return ", ".join(f"{key}={_value(value)}" for key, value in drawn.items())


def _value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    return value if isinstance(value, str) else json.dumps(value)
