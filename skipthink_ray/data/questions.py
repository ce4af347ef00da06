"""Questions for a finished student: the test questions of its run, or those of a JSON Lines file."""

import json
from pathlib import Path
from typing import Any

from skipthink_ray.rows import TEST
from skipthink_ray.runtime.artifacts import Folder


def of_run(run: Path) -> list[dict[str, Any]] | None:
    """row, question and answer of a run's test questions, in their order. None if the folder is no run's."""
    samples = Folder.open(str(run)).child("samples")
    if not samples.exists("samples"):
        return None
    table = samples.table("samples").to_table(columns=["row", "question", "answer"], filter=TEST)
    return table.sort_by("row").to_pylist()


def of_file(file: Path, option: str) -> list[dict[str, Any]]:
    """row, question and, if given, answer of each line, stripped as in the pipeline.

    Raises ValueError with `option`, the file and the line.
    """
    if not file.is_file():
        raise ValueError(f"{option}: no such file: {file}")
    try:
        lines = file.read_text(encoding="utf-8").split("\n")  # splitlines also splits at U+2028
    except UnicodeDecodeError as error:
        raise ValueError(f"{option}: {file} is not UTF-8: {error}") from error
    place = f"{option}: {file}, line"
    rows = [_row(line, at, f"{place} {at + 1}") for at, line in enumerate(lines) if line.strip()]
    if not rows:
        raise ValueError(f"{option}: {file} contains no questions")
    return rows


def _row(line: str, at: int, place: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{place} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{place} is not a JSON object")
    row = {key: str(found[key]).strip() for key in ("question", "answer") if found.get(key) is not None}
    if not row.get("question"):
        raise ValueError(f"{place} has no text under the key 'question'")
    return {"row": at, **row}
