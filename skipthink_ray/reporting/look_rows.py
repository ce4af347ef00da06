"""What a finished stage rationales holds: rows by outcome with examples, and the lengths of its rationales.

Rows are read in batches, and only counts and a few examples stay in memory. Steps and average chunks are
computed as in cwt (method §4).
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from skipthink_ray.config import PipelineConfig
from skipthink_ray.method.choosing import choose_num_chunks, decide_num_chunks
from skipthink_ray.method.chunking import average_chunks, sizes_of
from skipthink_ray.method.steps import split_steps
from skipthink_ray.rows import HELD_OUT
from skipthink_ray.runtime.artifacts import Folder

CONCLUDED_RIGHTLY = ("kept", "duplicate", *(f"{split} question" for split in HELD_OUT))
"""Outcomes of rows with a right rationale. Rows with other outcomes may not have been judged."""
COLUMNS = ["row", "id", "split", "question", "answer", "rationale", "reason", "detail"]
BATCH_ROWS = 1000
EXAMPLES = 3
"""Rows that are described for each outcome."""
QUANTILES = {"5 %": 0.05, "25 %": 0.25, "median": 0.5, "75 %": 0.75, "95 %": 0.95, "max": 1.0}
SHOWN = (0.1, 0.5, 0.9, 1.0)
"""Quantiles of the number of steps; one rationale is described for each."""


@dataclass
class RowCounts:
    """Running counts over the rows. Steps and tokens are counted in kept training rows only."""

    outcomes: dict[str, Counter[str]] = field(default_factory=dict[str, Counter[str]])
    """For each split: rows by outcome, which is `kept` or the reason for which a row was dropped."""
    examples: dict[str, list[dict[str, Any]]] = field(default_factory=dict[str, list[dict[str, Any]]])
    """For each outcome: the first rows."""
    steps: Counter[int] = field(default_factory=Counter[int])
    tokens: Counter[int] = field(default_factory=Counter[int])
    samples: dict[int, dict[str, Any]] = field(default_factory=dict[int, dict[str, Any]])
    """The first row with each number of steps."""


def describe_rows(
    config: PipelineConfig,
    rationales: Folder,
    count_tokens: Callable[[list[str]], Iterable[int]],
    unit: str,
    decided: tuple[int, str] | None = None,
) -> dict[str, Any]:
    """Description of a finished stage rationales as JSON values.

    unit: that of `count_tokens`. decided: M and why, if the stage samples is finished. Before that, samples
    that are too long for the student are not known.
    """
    counts = count(rationales, count_tokens)
    planned, why = decided or decide_num_chunks(config, counts.steps.elements())
    suggested = choose_num_chunks(np.fromiter(counts.steps.elements(), dtype=np.int64))
    shown = sorted({quantile(counts.steps, share) for share in SHOWN})
    return {
        **_outcomes(counts),
        "teacher": _accuracy(config, counts),
        "unit": unit,
        "steps": {**_numbers(counts.steps), "counts": dict(sorted(counts.steps.items()))},
        unit: {**_numbers(counts.tokens), "counts": dict(sorted(counts.tokens.items()))},
        "num_chunks": {"planned": planned, "auto": suggested, "why": why, "decided": decided is not None},
        "chunks": {number: _chunks(counts.steps, number) for number in dict.fromkeys((planned, suggested))},
        "samples": [_cut(counts.samples[steps], planned) for steps in shown],
    }


def describe_outcomes(rationales: Folder) -> dict[str, Any]:
    """Rows by outcome with examples, of a stage that may have been refused."""
    return _outcomes(count(rationales, lambda texts: (len(text) for text in texts)))


def _outcomes(counts: RowCounts) -> dict[str, Any]:
    return {
        "rows": {split: dict(outcomes) for split, outcomes in counts.outcomes.items()},
        "examples": counts.examples,
    }


def count(rationales: Folder, count_tokens: Callable[[list[str]], Iterable[int]]) -> RowCounts:
    counts = RowCounts()
    for batch in rationales.table("rows").to_batches(columns=COLUMNS, batch_size=BATCH_ROWS):
        rows = batch.to_pylist()
        for row in rows:
            outcome = row["reason"] or "kept"
            counts.outcomes.setdefault(row["split"], Counter())[outcome] += 1
            examples = counts.examples.setdefault(outcome, [])
            if len(examples) < EXAMPLES:
                shown = {name: row[name] for name in COLUMNS if name != "reason"}
                examples.append({**shown, "row": row["row"] + 1})
        kept = [row for row in rows if row["reason"] is None and row["split"] == "train"]
        steps = [split_steps(row["rationale"]) for row in kept]
        lengths = iter(count_tokens([step for one in steps for step in one]))
        for row, one in zip(kept, steps, strict=True):
            counts.steps[len(one)] += 1
            counts.tokens[sum(next(lengths) for _ in one)] += 1
            counts.samples.setdefault(len(one), {**row, "steps": one})
    return counts


def chunk_sizes(steps: Counter[int], num_chunks: int) -> Counter[int]:
    """Number of chunks by their number of steps, if all rationales are cut into average chunks."""
    sizes_RM = sizes_of(average_chunks(np.array(list(steps)), num_chunks))
    counts = Counter[int]()
    for sizes_M, rationales in zip(sizes_RM.tolist(), steps.values(), strict=True):
        for size in sizes_M:
            counts[size] += rationales
    return counts


def quantile(counts: Counter[int], share: float) -> int:
    """The smallest value such that at least this share of all values are not larger."""
    return int(np.quantile(list(counts), share, weights=list(counts.values()), method="inverted_cdf"))


def _numbers(counts: Counter[int]) -> dict[str, float]:
    mean = float(np.average(list(counts), weights=list(counts.values())))
    return {"mean": mean} | {name: quantile(counts, share) for name, share in QUANTILES.items()}


def _accuracy(config: PipelineConfig, counts: RowCounts) -> dict[str, Any]:
    """Judged training rows, and those with a right rationale."""
    outcomes = counts.outcomes["train"]
    right = sum(outcomes[outcome] for outcome in CONCLUDED_RIGHTLY)
    given = config.rationales.teacher.kind == "given" and config.rationales.source != "toy"
    trusted = config.rationales.columns.teacher_answer if given else None
    return {
        "right": right,
        "judged": right + outcomes["wrong answer"],
        "right_without_column": trusted,
    }


def _chunks(steps: Counter[int], num_chunks: int) -> dict[str, Any]:
    sizes = chunk_sizes(steps, num_chunks)
    movable = sum(number for length, number in steps.items() if length > num_chunks)
    return {
        **_numbers(sizes),
        "chunks": sizes.total(),
        "empty_share": sizes[0] / sizes.total(),
        "longer_share": movable / steps.total(),
    }


def _cut(row: dict[str, Any], num_chunks: int) -> dict[str, Any]:
    """A rationale cut into its steps, each with the number of its average chunk."""
    ends_M = average_chunks(np.array([len(row["steps"])]), num_chunks)[0]
    chunks = np.searchsorted(ends_M, np.arange(len(row["steps"])), side="right") + 1
    return {
        **{name: row[name] for name in ("id", "question", "answer", "steps")},
        "chunk_of_step": chunks.tolist(),
    }
