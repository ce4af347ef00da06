"""The tables of docs/results.md, from evidence.jsonl: mean over the seeds, lowest and highest in brackets."""

from collections.abc import Callable
from functools import partial
from itertools import combinations, product
from typing import Any

import numpy as np

from benchmarks.document import fill_tables
from benchmarks.evidence_arms import NUM_CHUNKS, PARTS, SEEDS, TABLES, TASKS, Run, Stage
from benchmarks.evidence_run import toy_rows
from skipthink_ray.method.choosing import choose_num_chunks
from skipthink_ray.method.steps import split_steps

Line = dict[str, Any]
Column = tuple[str, str, str, float]
"""Heading, stage, key in the stage's numbers, number of decimals."""

COLUMNS: dict[str, tuple[Column, ...]] = {
    "cwt": (
        ("CWT accuracy %", "cwt", "accuracy_pct", 1),
        ("tokens", "cwt", "tokens", 1),
        ("energy, nats", "cwt", "energy_nats", 2),
        ("lowest energy there is", "cwt", "optimum_nats", 2),
        ("epochs begun", "cwt", "epochs", 0),
        ("target tokens, k", "cwt", "target_ktokens", 0),
        ("training, CPU s", "cwt", "train_cpu_s", 0),
        ("one search, CPU s", "cwt", "one_search_cpu_s", 1),
    ),
    "base": (
        ("accuracy %", "base", "accuracy_pct", 1),
        ("tokens", "base", "tokens", 1),
        ("updates", "base", "updates", 0),
        ("epochs begun", "base", "epochs", 0),
        ("target tokens, k", "base", "target_ktokens", 0),
        ("training, CPU s", "base", "train_cpu_s", 0),
    ),
    "skips": (
        ("right with all chunks %", "skips", "right_pct", 1),
        ("skipped %", "skips", "skipped_pct", 1),
        ("skipped, of right ones %", "skips", "skipped_of_right_pct", 1),
        ("search, CPU s", "skips", "cpu_s", 1),
    ),
    "stt": (
        ("skipped %", "skips", "skipped_pct", 1),
        ("STT accuracy %", "stt", "accuracy_pct", 1),
        ("tokens", "stt", "tokens", 1),
        ("epochs begun", "stt", "epochs", 0),
        ("target tokens, k", "stt", "target_ktokens", 0),
        ("training, CPU s", "stt", "train_cpu_s", 0),
    ),
}
TITLES = {
    "skips": "skips of the training samples",
    "base": "Base (full thinking)",
    "cwt": "CWT student, staged",
    "stt": "STT student, skip",
}
EMPTY = 2
UNMEASURED = "Not measured yet."


def tables(lines: list[Line]) -> str:
    """All tables as Markdown, by part, stage and task."""
    blocks = []
    for (part, stage), task in product(TABLES, TASKS):
        found = table(lines, part, stage, task)
        if found != UNMEASURED:
            blocks.append(f"**{part}: {TITLES[stage]}, toy {task}**\n\n{found}")
    return "\n\n".join(blocks)


def fill(document: str, lines: list[Line]) -> str:
    """The document with its tables updated from the results."""
    return fill_tables(document, "evidence", partial(table, lines))


def table(lines: list[Line], part: str, stage: str, task: str) -> str:
    """One table with a row per arm, or UNMEASURED. The numbers of skips come from the runs of stt."""
    ran: Stage = "stt" if stage == "skips" else stage  # pyright: ignore[reportAssignmentType]
    by_key = {line["key"]: line for line in lines}
    keys = {arm.name: [Run(part, arm, ran, task, seed).key() for seed in SEEDS] for arm in PARTS[part]}
    of_arm = {name: [by_key[key] for key in of if key in by_key] for name, of in keys.items()}
    return _table(of_arm, part, stage, task) if any(of_arm.values()) else UNMEASURED


def _table(of_arm: dict[str, list[Line]], part: str, stage: str, task: str) -> str:
    of_arm = {name: lines for name, lines in of_arm.items() if lines}
    columns = [
        column
        for column in COLUMNS[stage]
        if any(_value(line, column) is not None for of in of_arm.values() for line in of)
    ]
    further: dict[str, Callable[[list[Line]], str]] = {}
    if stage == "skips":
        first = next(iter(of_arm.values()))
        further = {
            "same skips between seeds % (by chance)": _between_seeds,
            "same skips as the first row %": partial(_as_in, first),
        }
    heads = ["arm", "seeds", *(head for head, *_ in columns), *further]
    rows = [heads, ["---"] * len(heads)]
    for arm, of in of_arm.items():
        cells = [_spread([_value(line, column) for line in of], int(column[3])) for column in columns]
        named = f"{arm} (auto)" if part == "num_chunks" and arm == f"M = {_auto(task)}" else arm
        rows.append([named, str(len(of)), *cells, *(say(of) for say in further.values())])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _auto(task: str) -> int:
    """M by the rule of `num_chunks: auto` for the training questions."""
    rows = toy_rows(Run("num_chunks", NUM_CHUNKS[0], "cwt", task, seed=0).config(), "train")
    return choose_num_chunks(np.array([len(split_steps(row.rationale)) for row in rows]))


def _value(line: Line, column: Column) -> float | None:
    _, stage, name, _ = column
    numbers = line["numbers"].get(stage, {})
    derived: dict[str, Callable[[], float | None]] = {
        "target_ktokens": lambda: numbers["target_tokens"] / 1000,
        "right_pct": lambda: 100 * numbers["right_share"],
        "skipped_pct": lambda: 100 * numbers["skipped_share"],
        "skipped_of_right_pct": lambda: (
            100 * numbers["skipped_share"] / numbers["right_share"] if numbers["right_share"] else None
        ),
    }
    return derived[name]() if name in derived else numbers.get(name)


def _spread(values: list[float | None], decimals: int) -> str:
    """The mean, with the lowest and highest value if they differ."""
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    low, high = f"{min(known):.{decimals}f}", f"{max(known):.{decimals}f}"
    return f"{np.mean(known):.{decimals}f}" + (f" ({low}–{high})" if low != high else "")


def _between_seeds(lines: list[Line]) -> str:
    """Mean share of chunks with the same flag in two seeds, and the share expected for independent flags."""
    pairs = [_flags(one, other) for one, other in combinations(lines, 2)]
    same = [float((first == second).mean()) for first, second in pairs]
    chance = [
        float(first.mean() * second.mean() + (1 - first.mean()) * (1 - second.mean()))
        for first, second in pairs
    ]
    return f"{100 * np.mean(same):.1f} ({100 * np.mean(chance):.1f})" if same else "–"


def _as_in(reference: list[Line], lines: list[Line]) -> str:
    """Mean share of chunks with the same flag as in the reference runs with the same seed."""
    pairs = [_flags(one, other) for one, other in product(lines, reference) if one["seed"] == other["seed"]]
    return f"{100 * np.mean([(first == second).mean() for first, second in pairs]):.1f}" if pairs else "–"


def _flags(one: Line, other: Line) -> tuple[np.ndarray, np.ndarray]:
    """The flags of two runs for the chunks that are empty in neither run."""
    first, second = (unpack(line["numbers"]["skips"]["flags"]) for line in (one, other))
    both = (first != EMPTY) & (second != EMPTY)
    return first[both], second[both]


def unpack(packed: str) -> np.ndarray:
    """The flags that evidence_run.pack packed: 0 skipped, 1 kept, EMPTY."""
    number, length = packed.split(":")
    digits = []
    value = int(number, 16)
    for _ in range(int(length)):
        value, digit = divmod(value, 3)
        digits.append(digit)
    return np.array(digits[::-1])
