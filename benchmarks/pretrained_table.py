"""The tables of the comparison on a pretrained student, from benchmarks/pretrained.jsonl."""

import re
from typing import Any

import numpy as np

from benchmarks.pretrained_arms import MARKERS, TABLE, Arm

BLOCK = re.compile(r"(<!-- pretrained (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
UNMEASURED = "–"
COLUMNS: dict[str, tuple[tuple[str, str, str], ...]] = {
    "markers": (
        ("right from gold chunks %", "dev_gold_right_pct", ".1f"),
        ("empty %", "dev_gold_empty_pct", ".1f"),
        ("markers apart", "marker_separation", ".2f"),
        ("loss, nats", "final_loss_nats", ".3f"),
        ("training, s", "train_s", ".0f"),
    ),
    "table": (
        ("dev accuracy %", "dev_accuracy_pct", ".1f"),
        ("test accuracy %", "test_accuracy_pct", ".1f"),
        ("no answer %", "test_format_errors_pct", ".1f"),
        ("tokens", "test_tokens", ".1f"),
        ("s at batch 1", "seconds_at_batch_1", ".2f"),
        ("kept of c_1..c_M %", "kept_pct_by_chunk", ""),
        ("right from gold chunks %", "dev_gold_right_pct", ".1f"),
        ("target tokens, k", "target_tokens", "k"),
        ("training, s", "train_s", ".0f"),
    ),
}
PARTS = {"markers": MARKERS, "table": TABLE}


def tables(lines: list[dict[str, Any]]) -> dict[str, str]:
    """Both tables as Markdown, an arm a row; `–` for what is not measured."""
    by_key = {line["key"]: line for line in lines}
    return {part: _table(COLUMNS[part], arms, by_key) for part, arms in PARTS.items()}


def fill(document: str, lines: list[dict[str, Any]]) -> str:
    """The document with every table as the lines have it now."""
    made = tables(lines)
    return BLOCK.sub(lambda found: f"{found[1]}\n{made[found[2]]}\n\n{found[3]}", document)


def _table(
    columns: tuple[tuple[str, str, str], ...], arms: tuple[Arm, ...], by_key: dict[str, dict[str, Any]]
) -> str:
    heads = ["arm", *(head for head, *_ in columns)]
    rows = [heads, ["---"] * len(heads)]
    for arm in arms:
        line = by_key.get(arm.key, {})
        rows.append(
            [
                arm.name,
                *(_cell(line[name], form) if name in line else UNMEASURED for _, name, form in columns),
            ]
        )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cell(value: Any, form: str) -> str:
    if form == "k":
        return f"{value / 1000:.0f}"
    if isinstance(value, list) and not form:
        return " ".join(f"{one:.0f}" for one in value)
    return f"{np.mean(value):{form}}"
