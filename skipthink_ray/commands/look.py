"""`skipthink look`: describe a data set before training, with counts and histograms for the terminal.

Runs the stage rationales if its artifact is missing; a later run of the same name reuses the artifact. Rows
are read in batches, and only counts stay in memory. Steps and average chunks are computed as in the stage
chunks (method §4). Tokens are counted with the tokenizer of a finished chunks artifact, or else with the
pretrained student's. Without either, words are counted instead.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from skipthink_ray.config import PipelineConfig
from skipthink_ray.method.choosing import MAX_CHUNKS, MOVABLE_SHARE, choose_num_chunks
from skipthink_ray.method.chunking import average_chunks
from skipthink_ray.method.steps import split_steps
from skipthink_ray.pipeline import open_run, run
from skipthink_ray.preflight import check_student
from skipthink_ray.reporting.table import plain_table
from skipthink_ray.runtime.artifacts import Folder
from skipthink_ray.runtime.store import Run
from skipthink_ray.tasks import task_of

CONCLUDED_RIGHTLY = (None, "duplicate", "test question")
"""Reasons (None: kept) of rows with a right rationale. Rows with other reasons may not have been judged."""
COLUMNS = ["id", "split", "question", "answer", "rationale", "reason"]
BATCH_ROWS = 1000
BINS, BAR_WIDTH = 10, 40
QUANTILES = {"5 %": 0.05, "25 %": 0.25, "median": 0.5, "75 %": 0.75, "95 %": 0.95, "max": 1.0}
SHOWN = (0.1, 0.5, 0.9)
"""Quantiles of the number of steps; one sample is shown for each."""
CHUNK_STYLES = ("cyan", "yellow", "green", "magenta", "blue", "red")


@dataclass
class Holdings:
    """Running counts over the rows. Steps and tokens are counted in kept training rows only."""

    fates: Counter[tuple[str, str | None]] = field(default_factory=Counter)
    """Rows by split and reason."""
    steps: Counter[int] = field(default_factory=Counter)
    tokens: Counter[int] = field(default_factory=Counter)
    samples: dict[int, dict[str, Any]] = field(default_factory=dict)
    """The first row with each number of steps."""


def look(config: PipelineConfig, console: Console, command: str) -> None:
    """Print a description of the configured data set. Raises ValueError as the stage rationales does."""
    current = open_run(config)
    if not current.is_done("rationales"):
        run(config, console, command, only="rationales")
    count_tokens, unit = _token_counter(config, current, console)
    with console.status("counting ..."):
        holdings = _count(current.artifact("rationales"), count_tokens)
    planned, suggested = plan(config, holdings.steps), suggest(holdings.steps)
    chunks = {
        num_chunks: chunk_sizes(holdings.steps, num_chunks)
        for num_chunks in dict.fromkeys((planned, suggested))
    }
    sizes = {f"steps per chunk, M = {num_chunks}": counts for num_chunks, counts in chunks.items()}
    console.print(
        "", _fates(holdings), _accuracy(config, holdings), "", sep="\n", highlight=False, markup=False
    )
    console.print(
        _numbers({"steps per rationale": holdings.steps, f"{unit} per rationale": holdings.tokens, **sizes})
    )
    for num_chunks, counts in chunks.items():
        console.print(_fit(num_chunks, counts, holdings.steps), highlight=False)
    console.print("", _histogram("steps", holdings.steps), "", _histogram(unit, holdings.tokens), sep="\n")
    for steps in sorted({quantile(holdings.steps, share) for share in SHOWN}):
        console.print("", _cut(holdings.samples[steps], planned), sep="\n")
    console.print(
        "", _advice(config, holdings.steps, planned, suggested), sep="\n", highlight=False, markup=False
    )


def plan(config: PipelineConfig, steps: Counter[int]) -> int:
    """M as the stage chunks will choose it: configured, else the task's, else the mean number of steps."""
    wanted = config.chunks.num_chunks or task_of(config).num_chunks or max(1, round(_mean(steps)))
    return wanted if isinstance(wanted, int) else suggest(steps)


def suggest(steps: Counter[int]) -> int:
    """M chosen from the step counts alone."""
    return choose_num_chunks(np.repeat(list(steps), list(steps.values())))


def chunk_sizes(steps: Counter[int], num_chunks: int) -> Counter[int]:
    """Number of chunks by their number of steps, if all rationales are cut into average chunks."""
    sizes_RM = np.diff(average_chunks(np.array(list(steps)), num_chunks), axis=1, prepend=0)
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


def _token_counter(
    config: PipelineConfig, current: Run, console: Console
) -> tuple[Callable[[list[str]], Iterable[int]], str]:
    """A function from texts to their lengths, and the unit of the lengths."""
    made = current.is_done("chunks")
    if not (made or config.student.pretrained):
        return lambda texts: (len(text.split()) for text in texts), "words"
    from skipthink_ray.models.student import encode, load_tokenizer

    if not made:
        check_student(config, lambda text: console.print(text, highlight=False, markup=False))
    with current.artifact("chunks").local("student") as student:
        source = config.student.model_copy(update={"pretrained": str(student)}) if made else config.student
        tokenizer = load_tokenizer(source, ())
    return lambda texts: (len(tokens) for tokens in encode(tokenizer, texts)), "tokens"


def _count(rationales: Folder, count_tokens: Callable[[list[str]], Iterable[int]]) -> Holdings:
    holdings = Holdings()
    for batch in rationales.table("rows").to_batches(columns=COLUMNS, batch_size=BATCH_ROWS):
        rows = batch.to_pylist()
        holdings.fates.update((row["split"], row["reason"]) for row in rows)
        kept = [row for row in rows if row["reason"] is None and row["split"] == "train"]
        steps = [split_steps(row["rationale"]) for row in kept]
        lengths = iter(count_tokens([step for one in steps for step in one]))
        for row, one in zip(kept, steps, strict=True):
            holdings.steps[len(one)] += 1
            holdings.tokens[sum(next(lengths) for _ in one)] += 1
            holdings.samples.setdefault(len(one), {**row, "steps": one})
    return holdings


def _mean(counts: Counter[int]) -> float:
    return sum(value * number for value, number in counts.items()) / counts.total()


def _table(titles: Iterable[str]) -> Table:
    table = plain_table()
    for at, title in enumerate(titles):
        table.add_column(title, justify="right" if at else "left")
    return table


def _fates(holdings: Holdings) -> Table:
    reasons, splits = (
        Counter[str | None](),
        sorted({split for split, _ in holdings.fates}, key=lambda split: (split != "train", split)),
    )
    for (_, reason), number in holdings.fates.items():
        reasons[reason] += number
    table = _table(["rows", *splits, "all"])
    for reason in [None, *(reason for reason, _ in reasons.most_common() if reason)]:
        numbers = [*(holdings.fates[split, reason] for split in splits), reasons[reason]]
        table.add_row(f"dropped: {reason}" if reason else "kept", *(f"{number:,}" for number in numbers))
    return table


def _accuracy(config: PipelineConfig, holdings: Holdings) -> str:
    """The share of judged training rows with a right rationale."""
    right = sum(holdings.fates["train", reason] for reason in CONCLUDED_RIGHTLY)
    judged = right + holdings.fates["train", "wrong answer"]
    given = config.rationales.teacher.kind == "given" and config.rationales.source != "toy"
    trusted = (
        f" (rows without the column '{config.rationales.columns.teacher_answer}' count as right)"
        if given
        else ""
    )
    return f"Teacher accuracy: {right / judged:.1%} of {judged:,} training rows{trusted}."


def _numbers(measured: dict[str, Counter[int]]) -> Table:
    table = _table(["", "mean", *QUANTILES])
    for name, counts in measured.items():
        table.add_row(
            name, f"{_mean(counts):.2f}", *(f"{quantile(counts, share):,}" for share in QUANTILES.values())
        )
    return table


def _fit(num_chunks: int, sizes: Counter[int], steps: Counter[int]) -> str:
    movable = sum(number for length, number in steps.items() if length > num_chunks)
    empty = f"{sizes[0] / sizes.total():.1%} of {sizes.total():,} average chunks are empty"
    more_steps = f"{movable / steps.total():.1%} of the rationales have more steps than chunks"
    return f"M = {num_chunks}: {empty}; {more_steps}."


def _histogram(title: str, counts: Counter[int]) -> Table:
    """At most BINS bars of equal width. The last bar includes all values above the 99th percentile."""
    low, high = min(counts), quantile(counts, 0.99)
    width, bins = -(-(high - low + 1) // BINS), Counter[int]()
    for value, number in counts.items():
        bins[(min(value, high) - low) // width] += number
    table = Table.grid(padding=(0, 1))
    for at in range(max(bins) + 1):
        start, end = low + at * width, low + (at + 1) * width - 1
        label = (
            f"{start}+"
            if at == max(bins) and max(counts) > end
            else f"{start}"
            if width == 1
            else f"{start}-{end}"
        )
        bar = Text("█" * round(BAR_WIDTH * bins[at] / max(bins.values())), style="cyan")
        table.add_row(
            Text(label, justify="right"),
            bar + Text(f" {bins[at]:,}", style="default"),
            "" if at else f"{title} per rationale",
        )
    return table


def _cut(row: dict[str, Any], num_chunks: int) -> Text:
    """A rationale with one line per step, each with the number and in the colour of its chunk."""
    text = Text(f"{row['id']}: {row['question']}\n")
    ends_M = average_chunks(np.array([len(row["steps"])]), num_chunks)[0]
    for at, step in enumerate(row["steps"]):
        chunk = int(np.searchsorted(ends_M, at, side="right"))
        text.append(f"  {chunk + 1:>2}  {step.strip()}\n", style=CHUNK_STYLES[chunk % len(CHUNK_STYLES)])
    return text.append(f"  answer: {row['answer']}")


def _advice(config: PipelineConfig, steps: Counter[int], planned: int, suggested: int) -> str:
    task = task_of(config)
    if config.chunks.num_chunks:
        origin = "as configured"
    elif task.num_chunks:
        origin = f"the default of the task '{task.name}'"
    else:
        origin = f"the mean number of steps is {_mean(steps):.2f}"
    return (
        f"auto takes M = {suggested}: the most chunks, up to {MAX_CHUNKS}, with which {MOVABLE_SHARE:.0%} "
        f"of the rationales have more steps than chunks.\nA run takes M = {planned}: {origin}."
    )
