"""What a finished stage rationales holds: rows by fate with examples, and the lengths of its rationales.

Rows are read in batches, and only counts and a few examples stay in memory. Steps and average chunks are
computed as in the stage chunks (method §4).
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
from skipthink_ray.runtime.artifacts import Folder
from skipthink_ray.tasks import task_of

CONCLUDED_RIGHTLY = ("kept", "duplicate", "test question", "dev question")
"""Fates of rows with a right rationale. Rows with other fates may not have been judged."""
COLUMNS = ["row", "id", "split", "question", "answer", "rationale", "reason", "detail"]
BATCH_ROWS = 1000
EXAMPLES = 3
"""Rows that are described for each fate."""
QUANTILES = {"5 %": 0.05, "25 %": 0.25, "median": 0.5, "75 %": 0.75, "95 %": 0.95, "max": 1.0}
SHOWN = (0.1, 0.5, 0.9, 1.0)
"""Quantiles of the number of steps; one rationale is described for each."""


@dataclass
class Holdings:
    """Running counts over the rows. Steps and tokens are counted in kept training rows only."""

    fates: dict[str, Counter[str]] = field(default_factory=dict[str, Counter[str]])
    """For each split: rows by fate, which is `kept` or the reason for which a row was dropped."""
    examples: dict[str, list[dict[str, Any]]] = field(default_factory=dict[str, list[dict[str, Any]]])
    """For each fate: the first rows."""
    steps: Counter[int] = field(default_factory=Counter[int])
    tokens: Counter[int] = field(default_factory=Counter[int])
    samples: dict[int, dict[str, Any]] = field(default_factory=dict[int, dict[str, Any]])
    """The first row with each number of steps."""


def describe_rows(
    config: PipelineConfig,
    rationales: Folder,
    count_tokens: Callable[[list[str]], Iterable[int]],
    unit: str,
) -> dict[str, Any]:
    """Description of a finished stage rationales as JSON values. unit: that of `count_tokens`."""
    holdings = count(rationales, count_tokens)
    planned, suggested = decide_num_chunks(config, holdings.steps.elements()), suggest(holdings.steps)
    shown = sorted({quantile(holdings.steps, share) for share in SHOWN})
    return {
        "rows": {split: dict(fates) for split, fates in holdings.fates.items()},
        "examples": holdings.examples,
        "teacher": _accuracy(config, holdings),
        "unit": unit,
        "steps": {**_numbers(holdings.steps), "counts": dict(sorted(holdings.steps.items()))},
        unit: {**_numbers(holdings.tokens), "counts": dict(sorted(holdings.tokens.items()))},
        "num_chunks": {"planned": planned, "auto": suggested, "why": _origin(config, holdings.steps)},
        "chunks": {number: _chunks(holdings.steps, number) for number in dict.fromkeys((planned, suggested))},
        "samples": [_cut(holdings.samples[steps], planned) for steps in shown],
    }


def describe_outcomes(rationales: Folder) -> dict[str, Any]:
    """Rows by fate with examples, of a stage that may have been refused."""
    holdings = count(rationales, lambda texts: (len(text) for text in texts))
    return {
        "rows": {split: dict(fates) for split, fates in holdings.fates.items()},
        "examples": holdings.examples,
    }


def count(rationales: Folder, count_tokens: Callable[[list[str]], Iterable[int]]) -> Holdings:
    holdings = Holdings()
    for batch in rationales.table("rows").to_batches(columns=COLUMNS, batch_size=BATCH_ROWS):
        rows = batch.to_pylist()
        for row in rows:
            fate = row["reason"] or "kept"
            holdings.fates.setdefault(row["split"], Counter())[fate] += 1
            examples = holdings.examples.setdefault(fate, [])
            if len(examples) < EXAMPLES:
                shown = {name: row[name] for name in COLUMNS if name != "reason"}
                examples.append({**shown, "row": row["row"] + 1})
        kept = [row for row in rows if row["reason"] is None and row["split"] == "train"]
        steps = [split_steps(row["rationale"]) for row in kept]
        lengths = iter(count_tokens([step for one in steps for step in one]))
        for row, one in zip(kept, steps, strict=True):
            holdings.steps[len(one)] += 1
            holdings.tokens[sum(next(lengths) for _ in one)] += 1
            holdings.samples.setdefault(len(one), {**row, "steps": one})
    return holdings


def suggest(steps: Counter[int]) -> int:
    """M chosen from the step counts alone."""
    return choose_num_chunks(np.fromiter(steps.elements(), dtype=np.int64))


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
    values = sorted(counts)
    running = np.cumsum([counts[value] for value in values])
    return values[int(np.searchsorted(running, share * running[-1]))]


def _mean(counts: Counter[int]) -> float:
    return sum(value * number for value, number in counts.items()) / counts.total()


def _numbers(counts: Counter[int]) -> dict[str, float]:
    return {"mean": _mean(counts)} | {name: quantile(counts, share) for name, share in QUANTILES.items()}


def _accuracy(config: PipelineConfig, holdings: Holdings) -> dict[str, Any]:
    """Judged training rows, and those with a right rationale."""
    fates = holdings.fates["train"]
    right = sum(fates[fate] for fate in CONCLUDED_RIGHTLY)
    given = config.rationales.teacher.kind == "given" and config.rationales.source != "toy"
    trusted = config.rationales.columns.teacher_answer if given else None
    return {
        "right": right,
        "judged": right + fates["wrong answer"],
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


def _origin(config: PipelineConfig, steps: Counter[int]) -> str:
    """Why the run takes its M."""
    task = task_of(config)
    if config.chunks.num_chunks:
        return "as configured"
    if task.num_chunks:
        return f"the default of the task '{task.name}'"
    return f"the mean number of steps is {_mean(steps):.2f}"


def _cut(row: dict[str, Any], num_chunks: int) -> dict[str, Any]:
    """A rationale cut into its steps, each with the number of its average chunk."""
    ends_M = average_chunks(np.array([len(row["steps"])]), num_chunks)[0]
    chunks = np.searchsorted(ends_M, np.arange(len(row["steps"])), side="right") + 1
    return {
        **{name: row[name] for name in ("id", "question", "answer", "steps")},
        "chunk_of_step": chunks.tolist(),
    }
