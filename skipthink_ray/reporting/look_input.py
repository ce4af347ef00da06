"""How the first rows of an input are read: columns, conversions, gold answers and splits. For `look`.

Reads the start of each file or split in this process, without Ray. Asks no teacher.
"""

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from skipthink_ray.config import PipelineConfig
from skipthink_ray.data.cleaning import Reading, read_row
from skipthink_ray.data.sources import first_rows_here
from skipthink_ray.tasks import task_of
from skipthink_ray.tasks.answers import canonical
from skipthink_ray.tasks.task import Task

ROWS = 100
"""Rows that are read of each file or split."""
PARTS = 20
"""Files or splits that are read."""
SHOWN = 5
"""Gold answers and unusable rows that are described."""
FIELDS = ("question", "answer", "rationale", "teacher_answer", "id", "split")
_SPLITS = {
    "column": "from the column '{column}'",
    "data set": "from the data set's splits",
    "file": "from the names of the files",
    "published": "from the published split of the task '{task}'",
    "dev share": "held out of train; {dev_share:.0%} of its questions are for dev (rationales.dev_share)",
    "drawn": "drawn at random; {share:.0%} of the questions are for test (rationales.test_share)",
}


@dataclass
class _Seen:
    """What the first rows hold, collected row by row."""

    rows: int = 0
    forms: Counter[str] = field(default_factory=Counter[str])
    stored: dict[str, Counter[str]] = field(default_factory=dict[str, Counter[str]])
    """For each column of the input: kinds of its values."""
    used: dict[str, Counter[tuple[str, ...]]] = field(default_factory=dict[str, Counter[tuple[str, ...]]])
    """For each field: its column, or the columns of a published file from which it is made."""
    examples: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])
    """For each field: a value as it is `stored` and as it is `read`; a converted one if there is one."""
    splits: Counter[str] = field(default_factory=Counter[str])
    golds: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    unusable: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])


def describe_input(config: PipelineConfig) -> dict[str, Any]:
    """Description of the input as JSON values; of a toy, only its source.

    Raises ValueError if the input cannot be opened.
    """
    if config.rationales.source == "toy":
        return {"source": f"toy questions of the task '{config.task}' with an oracle's rationales"}
    seen, names, types, task = _Seen(), [], {}, task_of(config)
    for number, (name, columns, rows) in enumerate(first_rows_here(config, ROWS)):
        names.append(name)
        if number < PARTS:
            types |= columns
            for raw in rows:
                _add(seen, raw, name, config, task)
    columns = [_column(seen, name, types) for name in FIELDS if name in seen.used]
    taken = {column for used in seen.used.values() for sources in used for column in sources}
    golds = sorted(seen.golds, key=lambda gold: gold["stored"] == gold["compared_as"])
    return {
        "source": f"{config.rationales.source}: {', '.join(names[:SHOWN])}{' ...' * (len(names) > SHOWN)}",
        "rows_read": seen.rows,
        "forms": dict(seen.forms),
        "columns": columns,
        "unused_columns": sorted(seen.stored.keys() - taken),
        "splits": dict(seen.splits),
        "golds": golds[:SHOWN],
        "unusable": {"rows": len(seen.unusable), "first": seen.unusable[:SHOWN]},
    }


def _column(seen: _Seen, name: str, types: dict[str, str]) -> dict[str, Any]:
    """The columns from which a field is read, the types of the most frequent one, and an example."""
    used = [sources for sources, _ in seen.used[name].most_common()]
    first = used[0][0]
    return {
        "field": name,
        "column": " or ".join(map(", ".join, used)),
        "types": types.get(first) or dict(seen.stored[first]),
        "example": seen.examples.get(name),
    }


def _add(seen: _Seen, raw: dict[str, Any], where: str, config: PipelineConfig, task: Task) -> None:
    """Count one row of RAW_SCHEMA, of the file or split `where`."""
    seen.rows += 1
    reading = read_row(raw, config, task)
    row, columns = reading.row, reading.columns
    if row["reason"]:
        told = {"where": where, "row": raw["row"] + 1, "reason": row["reason"], "detail": row["detail"]}
        seen.unusable.append(told)
    if not reading.stored:
        return
    for name, value in reading.stored.items():
        seen.stored.setdefault(name, Counter())[_kind(value)] += 1
    if reading.form:
        seen.forms[reading.form.name] += 1
    for name in FIELDS:
        column = getattr(columns, name)
        if column in reading.values:
            sources = _sources(reading, column)
            text = " | ".join(_json(reading.stored[source]) for source in sources)
            seen.used.setdefault(name, Counter())[sources] += 1
            _exemplify(seen, name, text, row["concluded" if name == "teacher_answer" else name])
            if name == "answer" and not row["reason"]:
                compared_as = canonical(task.kind, task.parse(row["answer"]))
                gold = {"id": row["id"], "stored": text, "read": row["answer"], "compared_as": compared_as}
                seen.golds.append(gold)
    of_data_set = config.rationales.source == "dataset" and reading.origin == "column"
    told = _SPLITS["data set" if of_data_set else reading.origin].format(
        column=columns.split,
        task=task.name,
        share=config.rationales.test_share,
        dev_share=config.rationales.dev_share,
    )
    seen.splits[f"{row['split']}: {told}"] += 1


def _sources(reading: Reading, column: str) -> tuple[str, ...]:
    """The columns of the input from which a column of the plain row was made."""
    stored, values, question = reading.stored, reading.values, reading.columns.question
    if reading.form is None or (column in stored and values[column] == stored[column]):
        return (column,)
    untouched = question if question in stored and values[question] == stored[question] else None
    others = (values[question],) if column != question else ()  # a question under another name
    return tuple(name for name in reading.form.needs if name != untouched and stored[name] not in others)


def _exemplify(seen: _Seen, name: str, stored: str, read: str | None) -> None:
    """Keep the field's first value; later, the first one that is read otherwise than it is stored."""
    known = seen.examples.get(name)
    if read is not None and (known is None or (stored != read and known["stored"] == known["read"])):
        seen.examples[name] = {"stored": stored, "read": read}


def _kind(value: Any) -> str:
    if isinstance(value, float):
        return "whole number with a point" if value.is_integer() else "decimal number"
    kinds: dict[type, str] = {bool: "boolean", int: "whole number", str: "text", list: "list", dict: "object"}
    return kinds.get(type(value), "null")


def _json(value: Any) -> str:
    """Text as it is, other values as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
