"""Prints what `skipthink look` found, from the description of the input and of its rows."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from skipthink_ray.method.choosing import MAX_CHUNKS, MOVABLE_SHARE
from skipthink_ray.reporting.look_input import ROWS
from skipthink_ray.reporting.look_rows import QUANTILES, quantile
from skipthink_ray.reporting.table import plain_table
from skipthink_ray.runtime.console import say

BINS, BAR_WIDTH = 10, 40
CHUNK_STYLES = ("cyan", "yellow", "green", "magenta", "blue", "red")
CELL_CHARS, DETAIL_CHARS = 44, 200
STEPS_OF_A_CHUNK = 6
"""Steps of a chunk that are printed; the middle of a longer chunk is left out."""


def print_input(described: dict[str, Any], console: Console) -> None:
    """Print what `look_input.describe_input` returns."""
    say(console, f"Input: {described['source']}")
    if "columns" not in described:
        return
    say(console, f"{described['rows_read']:,} rows are read like this (the first {ROWS} of each file):")
    for form, number in described["forms"].items():
        say(console, f"{number:,} rows: {form}; converted to plain columns")
    table = _table(["field", "column", "values", "example as stored", "as read"], justify="left")
    for column in described["columns"]:
        types = column["types"]
        shown = (
            types
            if isinstance(types, str)
            else ", ".join(f"{number:,} {kind}" for kind, number in types.items())
        )
        example = column["example"] or {"stored": "", "read": ""}
        cells = (example[name] for name in ("stored", "read"))
        _add(table, column["field"], column["column"], shown, *(_short(cell, CELL_CHARS) for cell in cells))
    console.print(table)
    if described["unused_columns"]:
        say(console, f"Columns that are not used: {', '.join(described['unused_columns'])}")
    for split, number in described["splits"].items():
        say(console, f"{number:,} rows for {split}")
    if described["golds"]:
        table = _table(["gold answers", "as stored", "as read", "compared as"], justify="left")
        for gold in described["golds"]:
            texts = (_short(gold[name], CELL_CHARS) for name in ("stored", "read"))
            _add(table, _short(gold["id"], 20), *texts, gold["compared_as"])
        console.print("", table, sep="\n")
    unusable = described["unusable"]
    for row in unusable["first"]:
        say(
            console,
            f"{row['where']}, row {row['row']} is unusable: {row['reason']}: "
            f"{_short(row['detail'], DETAIL_CHARS)}",
        )
    if unusable["rows"] > len(unusable["first"]):
        say(
            console, f"... and {unusable['rows'] - len(unusable['first']):,} more of these rows are unusable."
        )


def print_outcomes(described: dict[str, Any], console: Console) -> None:
    """Print what `look_rows.describe_outcomes` returns."""
    console.print("", _outcomes(described["rows"]), "", sep="\n")
    for outcome in sorted(described["examples"], key=lambda outcome: outcome != "kept"):
        say(console, f"{'Kept' if outcome == 'kept' else f'Dropped: {outcome}'}, for example:")
        for row in described["examples"][outcome]:
            say(console, f"  row {row['row']} ({row['split']}, {row['id']}): {_outcome_of(row)}")
    kept = {split: outcomes.get("kept", 0) for split, outcomes in described["rows"].items()}
    if not kept.get("test") and kept.get("dev"):
        say(console, "There are no test questions. A run needs --evaluation.split dev.")


def print_rows(described: dict[str, Any], console: Console) -> None:
    """Print what `look_rows.describe_rows` and `look_input.describe_input` return, in one dictionary."""
    unit = described["unit"]
    print_outcomes(described, console)
    say(console, "")
    say(console, _accuracy(described))
    say(console, "")
    sizes = {f"steps per chunk, M = {number}": one for number, one in described["chunks"].items()}
    named = {"steps per rationale": described["steps"], f"{unit} per rationale": described[unit], **sizes}
    console.print(_numbers(named))
    for number, one in described["chunks"].items():
        say(
            console,
            f"M = {number}: {one['empty_share']:.1%} of {one['chunks']:,} average chunks are empty; "
            f"{one['longer_share']:.1%} of the rationales have more steps than chunks.",
        )
    for name in ("steps", unit):
        console.print("", _histogram(name, Counter(described[name]["counts"])), sep="\n")
    for sample in described["samples"]:
        console.print("", _cut(sample), sep="\n")
    taken = described["num_chunks"]
    say(
        console,
        f"\nauto takes M = {taken['auto']}: the largest M up to {MAX_CHUNKS} for which at least "
        f"{MOVABLE_SHARE:.0%} of the rationales have more than M steps, or 1.\n"
        f"A run takes M = {taken['planned']}: {taken['why']}."
        + ("" if taken["decided"] else " Samples that are too long for the student will not count."),
    )


def _add(table: Table, *cells: str) -> None:
    """A row of plain texts: rich would read `[a]` as markup and `:apple:` as an emoji."""
    table.add_row(*map(Text, cells))


def _short(text: str, limit: int) -> str:
    """One line of at most `limit` characters: the start of the text and its end."""
    line = " ".join(text.split())
    tail = limit // 3
    return line if len(line) <= limit else f"{line[: limit - tail - 5]} ... {line[-tail:]}"


def _outcome_of(row: dict[str, Any]) -> str:
    """Why a row was dropped, and how its rationale ends; the answer of a row that was kept."""
    end = _short((row["rationale"] or "")[-DETAIL_CHARS:], DETAIL_CHARS // 2)
    told = row["detail"] or f"answer '{row['answer']}'"
    return _short(told, DETAIL_CHARS) + (f"; its rationale ends: {end}" if end else "")


def _table(titles: Iterable[str], justify: Any = None) -> Table:
    table = plain_table()
    for at, title in enumerate(titles):
        table.add_column(Text(title), justify=justify or ("right" if at else "left"))
    return table


def _outcomes(rows: dict[str, dict[str, int]]) -> Table:
    splits = sorted(rows, key=lambda split: (split != "train", split))
    total = Counter[str]()
    for outcomes in rows.values():
        total.update(outcomes)
    table = _table(["rows", *splits, "all"])
    for outcome in ["kept", *(outcome for outcome, _ in total.most_common() if outcome != "kept")]:
        numbers = [*(rows[split].get(outcome, 0) for split in splits), total[outcome]]
        name = outcome if outcome == "kept" else f"dropped: {outcome}"
        _add(table, name, *(f"{number:,}" for number in numbers))
    return table


def _accuracy(described: dict[str, Any]) -> str:
    teacher, column = described["teacher"], described["teacher"]["right_without_column"]
    columns = {one["field"] for one in described.get("input", {}).get("columns", [])}
    if column and "teacher_answer" not in columns:
        return (
            f"Teacher accuracy: not known. The input has no column '{column}', so every rationale counts as "
            "right."
        )
    trusted = f" (rows without the column '{column}' count as right)" if column else ""
    share = f"{teacher['right'] / teacher['judged']:.1%}" if teacher["judged"] else "unknown"
    return f"Teacher accuracy: {share} of {teacher['judged']:,} training rows with a checked answer{trusted}."


def _numbers(measured: dict[str, dict[str, float]]) -> Table:
    table = _table(["", "mean", *QUANTILES])
    for name, numbers in measured.items():
        table.add_row(name, f"{numbers['mean']:.2f}", *(f"{numbers[share]:,}" for share in QUANTILES))
    return table


def _histogram(title: str, counts: Counter[int]) -> Table:
    """At most BINS bars of equal width. The last bar includes all values above the 99th percentile."""
    low, high = min(counts), quantile(counts, 0.99)
    width, bins = -(-(high - low + 1) // BINS), Counter[int]()
    for value, number in counts.items():
        bins[(min(value, high) - low) // width] += number
    table = Table.grid(padding=(0, 1))
    for at in range(max(bins) + 1):
        start, end = low + at * width, low + (at + 1) * width - 1
        label = f"{start}" if width == 1 else f"{start}-{end}"
        if at == max(bins) and max(counts) > end:
            label = f"{start}+"
        bar = Text("█" * round(BAR_WIDTH * bins[at] / max(bins.values())), style="cyan")
        table.add_row(
            Text(label, justify="right"),
            bar + Text(f" {bins[at]:,}", style="default"),
            "" if at else f"{title} per rationale",
        )
    return table


def _cut(sample: dict[str, Any]) -> Text:
    """A rationale with one line per step, each with the number and in the colour of its chunk."""
    text = Text(f"{sample['id']}: {_short(sample['question'], 2 * DETAIL_CHARS)}\n")
    chunks: dict[int, list[str]] = {}
    for chunk, step in zip(sample["chunk_of_step"], sample["steps"], strict=True):
        chunks.setdefault(chunk, []).append(step.strip())
    for chunk, steps in chunks.items():
        left_out = len(steps) - STEPS_OF_A_CHUNK
        if left_out > 1:
            half = STEPS_OF_A_CHUNK // 2
            steps = [*steps[:half], f"... {left_out} more steps ...", *steps[-half:]]
        for step in steps:
            text.append(f"  {chunk:>2}  {step}\n", style=CHUNK_STYLES[(chunk - 1) % len(CHUNK_STYLES)])
    return text.append(f"  answer: {sample['answer']}")
