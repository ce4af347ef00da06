"""Compares runs: one block per task, one row per student, with intervals over questions and seeds.

Pure: no MLflow, no files. In: `Published` runs. Out: `Comparison`, whose JSON schema pydantic knows.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel

from skipthink_ray.method.intervals import Estimate, bounded_mean, nested_bootstrap
from skipthink_ray.method.metrics import percent, ratio_of_sums
from skipthink_ray.method.modes import STUDENT_OF, Mode, modes_of
from skipthink_ray.options import flatten
from skipthink_ray.runtime.artifacts import digest

PAPER_SPEEDUPS = {"multiarith": 1.89, "last_letter_concatenation": 1.08}
"""Speed-ups that the paper reports (its Table 4)."""
SEEDS = ("seed", "rationales.seed")
"""Keys that do not distinguish arms, but the seeds of one."""
UNCOMPARED = ("name", "storage_path", "cluster", "endpoint", "tracking", "report", "evaluation")
"""First parts of keys that do not make another arm."""


@dataclass(frozen=True)
class Published:
    """A run with a report, as MLflow has it."""

    report: dict[str, Any]
    """report.json."""
    answers: pa.Table
    """ANSWER_SCHEMA without texts."""
    latencies: pa.Table
    """LATENCY_SCHEMA."""
    data: str
    """A digest of the source of the rationales."""


class Row(BaseModel):
    """One student, over all seeds of its configuration: Base (full), CWT (staged), STT (skip), or that of
    icot (direct)."""

    arm: str
    settings: dict[str, Any]
    """The settings in which it differs from most others of the block."""
    mode: str
    seeds: list[int]
    runs: list[str]
    accuracy_pct: Estimate
    minus_base_points: Estimate | None
    """None for Base."""
    format_errors_pct: float
    loops_pct: float
    tokens: Estimate
    latency_s: Estimate
    """Seconds per question at batch 1."""
    token_ratio: Estimate | None
    """Tokens of Base / tokens."""
    speedup: Estimate | None
    """Seconds of Base / seconds, at batch 1."""


class Block(BaseModel):
    """Runs that compare: the same questions, code and kind of machine."""

    task: str
    split: str
    questions: int
    data: str
    """A digest of the source of the rationales, and of the rows that were answered."""
    code: str
    machine: str
    paper_speedup: float | None
    rows: list[Row]


class Comparison(BaseModel):
    confidence_pct: float
    blocks: list[Block]
    notes: list[str]
    """Why runs of one task are in different blocks."""


@dataclass(frozen=True)
class Draws:
    """How intervals are drawn."""

    resamples: int = 1000
    confidence: float = 0.95
    seed: int = 0


Reads = Mapping[Mode, Collection[str]]
"""First parts of the configuration keys on which the student of each mode depends."""


def compare(runs: Sequence[Published], draws: Draws, reads: Reads) -> Comparison:
    """Blocks by task, in the order of the runs."""
    grouped: dict[tuple[tuple[str, Any], ...], list[Published]] = {}
    for run in runs:
        grouped.setdefault(tuple(_circumstances(run).items()), []).append(run)
    blocks = [_block(dict(key), members, draws, reads) for key, members in grouped.items()]
    return Comparison(confidence_pct=100 * draws.confidence, blocks=blocks, notes=[*_notes(blocks)])


def _circumstances(run: Published) -> dict[str, Any]:
    """What two runs must have in common to stand in one block."""
    report = run.report
    made, evaluation = report["made"], report["evaluation"]
    return {
        "task": report["task"],
        "split": evaluation["split"],
        "questions": evaluation["questions"],
        "data": _data(run),
        "code": _code(made["versions"]),
        "machine": _machine(made),
    }


def _data(run: Published) -> str:
    """A digest of the source of the rationales, and of the rows that were answered."""
    return digest({"source": run.data, "rows": sorted(run.answers["row"].unique().to_pylist())})[:8]


def _code(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {versions[name]}" for name in ("skipthink_ray", "torch", "transformers"))


def _machine(made: dict[str, Any]) -> str:
    cluster, machine = made["cluster"], made["machine"]
    accelerators = "/".join(cluster["accelerators"]) or "CPU" if cluster else "unknown accelerator"
    return f"{accelerators}, {machine['platform'].split('-')[0]}, {machine['cpus']} cores"


def _notes(blocks: list[Block]) -> Iterable[str]:
    for task in dict.fromkeys(block.task for block in blocks):
        of_task = [block for block in blocks if block.task == task]
        names = ("split", "questions", "data", "code", "machine")
        differ = [name for name in names if len({getattr(block, name) for block in of_task}) > 1]
        if differ:
            yield f"{task}: {len(of_task)} blocks, because the runs differ in {', '.join(differ)}."


def _block(circumstances: dict[str, Any], runs: list[Published], draws: Draws, reads: Reads) -> Block:
    arms: dict[str, list[Published]] = {}
    for run in runs:
        arms.setdefault(digest(settings_of(run)), []).append(run)
    members, rows = [_newest_per_seed(arm) for arm in arms.values()], list[Row]()
    for mode in STUDENT_OF:
        students: dict[tuple[str, ...], list[Published]] = {}
        for arm in members:
            if mode not in _modes(arm[0]):
                continue
            students.setdefault(_students(arm, mode), arm)  # arms may share a student
        settings = [settings_of(arm[0], reads[mode]) for arm in students.values()]
        for arm, of_arm in zip(students.values(), distinctive(settings), strict=True):
            rows.append(_row(mode, of_arm, arm, draws))
    return Block(**circumstances, paper_speedup=PAPER_SPEEDUPS.get(circumstances["task"]), rows=rows)


def _newest_per_seed(arm: list[Published]) -> list[Published]:
    newest: dict[int, Published] = {}
    for run in sorted(arm, key=lambda one: one.report["made"]["written_at"]):
        newest[run.report["evaluation"]["seed"]] = run
    return [newest[seed] for seed in sorted(newest)]


def settings_of(run: Published, parts: Collection[str] | None = None) -> dict[str, Any]:
    """The keys that make an arm, or those of them whose first part is one of `parts`."""
    flat = flatten(run.report["made"]["config"])
    uncompared = {*UNCOMPARED, *STUDENT_OF.values()} - {*_modes(run).values()}
    return {
        key: value
        for key, value in flat.items()
        if key not in SEEDS
        and key.split(".")[0] not in uncompared
        and key != "rationales.path"
        and (parts is None or key.split(".")[0] in parts)
    }


def _modes(run: Published) -> dict[Mode, str]:
    return modes_of(run.report["made"]["digests"])


def distinctive(settings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What tells each from the others: its settings without values that more than half of them have."""
    counts = {key: Counter(repr(one.get(key)) for one in settings) for key in {*chain(*settings)}}
    return [
        {key: value for key, value in one.items() if 2 * counts[key][repr(value)] <= len(settings)}
        for one in settings
    ]


def _students(arm: list[Published], mode: Mode) -> tuple[str, ...]:
    return tuple(run.report["made"]["digests"][STUDENT_OF[mode]] for run in arm)


def _row(mode: Mode, settings: dict[str, Any], arm: list[Published], draws: Draws) -> Row:
    answers = [_paired(run.answers, mode) for run in arm]
    timed = [_paired(run.latencies, mode) for run in arm]
    right = [[100.0 * _column(here, "right"), 100.0 * _column(full, "right")] for here, full in answers]
    tokens = [[_column(full, "tokens"), _column(here, "tokens")] for here, full in answers]
    seconds = [[_column(full, "seconds"), _column(here, "seconds")] for here, full in timed]
    is_base = mode == "full"

    def interval(groups: list[list[np.ndarray]], statistic: Any) -> Estimate:
        return nested_bootstrap(statistic, groups, draws.resamples, draws.confidence, draws.seed)

    def bounded(groups: list[np.ndarray], lowest: float) -> Estimate:
        if len(groups) > 1:
            return interval([[group] for group in groups], lambda values: values.mean())
        return bounded_mean(groups[0], (lowest, 100.0), draws.resamples, draws.confidence, draws.seed)

    every = pa.concat_tables([here for here, _ in answers])
    changed = ", ".join(f"{key}={value}" for key, value in sorted(settings.items()))
    return Row(
        arm=f"{_name(mode, arm[0])}{f' ({changed})' if changed else ''}",
        settings=settings,
        mode=mode,
        seeds=[run.report["evaluation"]["seed"] for run in arm],
        runs=[run.report["name"] for run in arm],
        accuracy_pct=bounded([here for here, _ in right], 0.0),
        minus_base_points=None if is_base else bounded([here - full for here, full in right], -100.0),
        format_errors_pct=percent(every["answer"].is_null().to_numpy()),
        loops_pct=percent(every["loops"].to_numpy()),
        tokens=interval(tokens, lambda _, here: here.mean()),
        latency_s=interval(seconds, lambda _, here: here.mean()),
        token_ratio=None if is_base else interval(tokens, ratio_of_sums),
        speedup=None if is_base else interval(seconds, ratio_of_sums),
    )


NAMES: dict[Mode, str] = {"full": "Base", "staged": "CWT, staged", "skip": "STT, skip"}
DIRECT_NAMES = {"stepwise": "ICoT-SI", "all": "answer only"}
"""Names of the students of icot, by `icot.removal`."""


def _name(mode: Mode, run: Published) -> str:
    return NAMES.get(mode) or DIRECT_NAMES[run.report["made"]["config"]["icot"]["removal"]]


def _paired(table: pa.Table, mode: Mode) -> tuple[pa.Table, pa.Table]:
    """The rows of a mode and those of Base, by question."""
    here, full = (table.filter(pc.field("mode") == one).sort_by("row") for one in (mode, "full"))
    if here["row"] != full["row"] or not len(full):
        raise ValueError(f"the questions answered in mode {mode} differ from those answered in mode full")
    return here, full


def _column(table: pa.Table, name: str) -> np.ndarray:
    return table[name].to_numpy().astype(float)
