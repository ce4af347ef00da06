"""Questions and rationales as Ray Data, from files or a data set of the `datasets` library.

Columns out: `row`, `raw` (the row as JSON text, or null), `error`, `split` (from the file's
name, or null).
"""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray

from skipthink_ray.config import PipelineConfig
from skipthink_ray.data.cells import raw_row
from skipthink_ray.data.cleaning import plain_columns, require_columns
from skipthink_ray.data.input_files import (
    column_types,
    find_files,
    first_rows,
    pieces_of,
    read_piece,
    splits_of,
)
from skipthink_ray.runtime.artifacts import Folder
from skipthink_ray.tasks import task_of

RAW_SCHEMA = pa.schema({"row": pa.int64(), "raw": pa.string(), "error": pa.string(), "split": pa.string()})
ALONE = ""
"""Stands for the split of a data set that has only one; its rows are then split like those of a file."""


def remarks(config: PipelineConfig) -> list[str]:
    """A line for each input file whose rows are converted from the form of a benchmark's own files."""
    task, plain, said = task_of(config), plain_columns(config.rationales), []
    for file in find_files(config.rationales) if config.rationales.source == "file" else []:
        rows = first_rows(file)
        forms = [task.form_of(row, plain) for row in rows]
        if form := next(filter(None, forms), None):
            said.append(f"{Path(file.path).name}: {form.name}; its rows are converted to plain columns")
    return said


def read_files(files: list[Folder]) -> "ray.data.Dataset":
    """The rows of the files as RAW_SCHEMA. `fingerprint` must have checked the files."""
    pieces = list(_pieces(files))
    return ray.data.from_items(pieces).flat_map(
        read_piece,  # pyright: ignore[reportArgumentType]  # ray's type knows no keyword arguments
        fn_kwargs={"filesystem": files[0].filesystem},
        num_cpus=0,
    )


def _pieces(files: list[Folder]) -> Iterator[dict[str, Any]]:
    """The pieces of all files, with path, number of the first row, and the split in the file's name."""
    first_row = 0
    for file, split in zip(files, splits_of(files), strict=True):
        for piece in pieces_of(file):
            yield {"path": file.path, "first_row": first_row, "split": split, **piece}
            first_row += piece["rows"]


def read_here(config: PipelineConfig) -> Iterator[dict[str, Any]]:
    """Yield the rows of a file or data set as RAW_SCHEMA, in this process and without a cluster."""
    if config.rationales.source == "file":
        files = find_files(config.rationales)
        for piece in _pieces(files):
            yield from read_piece(piece, files[0].filesystem)
    else:
        for split, part in open_dataset(config).items():
            labels = _labels(part)
            yield from (
                _as_raw({**row, "__row__": number}, split, config, labels) for number, row in enumerate(part)
            )


def first_rows_here(
    config: PipelineConfig, at_most: int
) -> Iterator[tuple[str, dict[str, str], list[dict[str, Any]]]]:
    """(name, types of the columns, first rows) of each file or split; rows as RAW_SCHEMA.

    The types are empty for JSON. Reads in this process, without a cluster.
    """
    if config.rationales.source == "file":
        files = find_files(config.rationales)
        for file, told in zip(files, splits_of(files), strict=True):
            start = {"path": file.path, "first_row": 0, "split": told}
            piece = start | next(pieces_of(file), {"rows": 0})
            rows = islice(read_piece(piece, file.filesystem), at_most) if piece["rows"] else ()
            yield Path(file.path).name, column_types(file), list(rows)
    else:
        for split, part in open_dataset(config).items():
            types = {name: str(getattr(kind, "dtype", kind)) for name, kind in part.features.items()}
            first = part.select(range(min(at_most, len(part))))
            labels = _labels(part)
            rows = [_as_raw({**row, "__row__": at}, split, config, labels) for at, row in enumerate(first)]
            yield f"split {split}" if split else "its only split", types, rows


def read_dataset(config: PipelineConfig) -> "ray.data.Dataset":
    """A data set by Hub id or local folder, as RAW_SCHEMA. The name of the split becomes a column.

    Raises ValueError as `open_dataset` does.
    """
    first_row, parts = 0, []
    for split, part in open_dataset(config).items():
        numbered = part.add_column("__row__", list(range(first_row, first_row + len(part))))
        # from_huggingface would contact the Hub for each split; without a network that takes many seconds
        raw = ray.data.from_arrow(numbered.with_format("arrow")[:]).map(
            _as_raw,  # pyright: ignore[reportArgumentType]
            fn_kwargs={"split": split, "config": config, "labels": _labels(part)},
            num_cpus=0,
        )
        parts.append(raw)
        first_row += len(part)
    return parts[0].union(*parts[1:]) if len(parts) > 1 else parts[0]  # Ray cannot unite one


def open_dataset(config: PipelineConfig) -> dict[str, Any]:
    """`datasets.Dataset` by split, from `rationales.path` or else from the task's public data set.

    Raises ValueError if it cannot be loaded, or if it lacks a split or a column.
    """
    source = config.rationales
    if not source.path:
        return _open_public(config)
    parts = _load_dataset(source.path, {"name": source.dataset_config} if source.dataset_config else {})
    for part in parts.values():
        first = list(part.select(range(1))) if len(part) else [dict.fromkeys(part.column_names)]
        require_columns(source.path, first, source, task_of(config))
    return {ALONE: next(iter(parts.values()))} if len(parts) == 1 else parts


def _open_public(config: PipelineConfig) -> dict[str, Any]:
    task = task_of(config)
    public = task.public
    assert public
    assert public.hub_id  # tasks.check_source
    where = f"rationales.source: '{public.hub_id}', the data set of the task '{task.name}',"
    parts = _load_dataset(public.hub_id, public.arguments)
    if absent := [split for split in public.splits if split not in parts]:
        raise ValueError(f"{where} has no split {', '.join(absent)}; it has {', '.join(parts)}")
    parts = {split: parts[split] for split in public.splits}
    for part in parts.values():
        if absent := [name for name in public.needs if name not in part.column_names]:
            raise ValueError(
                f"{where} has no column {', '.join(absent)}; it has {', '.join(part.column_names)}"
            )
    if public.train_rows and len(parts["train"]) > public.train_rows:
        parts["train"] = parts["train"].shuffle(seed=0).select(range(public.train_rows))
    return parts


def _load_dataset(path: str, arguments: dict[str, str]) -> dict[str, Any]:
    import datasets

    try:
        if (Path(path) / "dataset_dict.json").is_file():  # written by `save_to_disk`
            loaded = datasets.DatasetDict.load_from_disk(path)
        else:
            loaded = datasets.load_dataset(path, **arguments)  # pyright: ignore[reportArgumentType, reportCallIssue]
        return {str(split): part for split, part in loaded.items()}
    except Exception as error:  # the Hub, loading scripts and parsers raise many types
        raise ValueError(
            f"rationales: `datasets` could not load '{path}' {arguments or ''}: {error}"
        ) from error


def _labels(part: Any) -> dict[str, list[str]]:
    return {name: list(kind.names) for name, kind in part.features.items() if hasattr(kind, "names")}


def _as_raw(
    row: dict[str, Any], split: str, config: PipelineConfig, labels: dict[str, list[str]]
) -> dict[str, Any]:
    """labels: the names of the classes of each ClassLabel column, which the row has as numbers."""
    number, columns = row.pop("__row__"), config.rationales.columns
    for name, names in labels.items():
        value = row[name]
        row[name] = names[value] if isinstance(value, int) and 0 <= value < len(names) else None
    if config.rationales.path:
        values = row if split == ALONE else {columns.split: split, **row}
    else:
        values = {
            getattr(columns, name): value for name, value in task_of(config).read_public(row, split).items()
        }
    return raw_row(number, values)
