"""The tally of kills, as a Markdown table, from benchmarks/reliability.jsonl."""

from collections import Counter
from typing import Any

from benchmarks.document import fill_tables

KILLED = {
    "worker": "a training worker",
    "actor": "an ablation actor",
    "progress": "the progress actor",
    "node": "the only node with CPUs",
    "driver": "the driver",
}


def table(lines: list[dict[str, Any]]) -> str:
    """One row for each kind of kill, and a line with their number, dates and machines."""
    head = "| killed | kills | ended by itself | by the same command again | equal artifacts | stages |"
    rows = [_row(words, [line for line in lines if line["kind"] == kind]) for kind, words in KILLED.items()]
    dates = sorted({line["date"] for line in lines})
    made = f"{len(lines)} kills, {' to '.join(dict.fromkeys([*dates[:1], *dates[-1:]]))}"
    machines = ", ".join(sorted({line["machine"] for line in lines}))
    return "\n".join([head, "| --- | --- | --- | --- | --- | --- |", *rows, "", f"{made}, on {machines}."])


def _row(words: str, lines: list[dict[str, Any]]) -> str:
    right = [line for line in lines if not line["fault"]]
    alone = sum(line["submissions"] == 1 for line in right)
    stages = Counter(line["stage"] for line in lines)
    hit = ", ".join(f"{stage} {count}" for stage, count in sorted(stages.items())) or "–"
    return f"| {words} | {len(lines)} | {alone} | {len(right) - alone} | {len(right)} | {hit} |"


def fill(document: str, lines: list[dict[str, Any]]) -> str:
    """The document with the tally in its block."""
    return fill_tables(document, "reliability", lambda: table(lines))
