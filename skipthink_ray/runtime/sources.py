"""Reads questions and rationales as Ray Data: JSON Lines, Parquet or a data set of the `datasets` library.

Files are split into pieces (a byte range of whole lines, or a row group) that the cluster's workers read. So
one large file is read in parallel and never held in memory as a whole. An unreadable row does not fail the
job: its `error` is set. Columns out: `row`, `raw` (the row as JSON text, or null), `error`.
"""

import codecs
import hashlib
import json
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import ray
from pyarrow import fs

from skipthink_ray.config import PipelineConfig, RationalesConfig
from skipthink_ray.runtime.artifacts import Folder
from skipthink_ray.tasks import task_of

PIECE_BYTES = 4 << 20
RAW_SCHEMA = pa.schema({"row": pa.int64(), "raw": pa.string(), "error": pa.string()})
_SUFFIXES = {".jsonl": "json", ".json": "json", ".ndjson": "json", ".parquet": "parquet"}


def find_files(config: RationalesConfig) -> list[Folder]:
    """The input files, sorted by name. Raises ValueError if there is none, or if one has an unknown type."""
    if not config.path:
        raise ValueError("rationales.path: name a JSON Lines or Parquet file, a folder of them, or a glob")
    root = Folder.open(config.path)
    if root.is_local:
        path = Path(root.path)
        found = [path] if path.exists() else sorted(path.parent.glob(path.name))
        found = [file for one in found for file in (sorted(one.iterdir()) if one.is_dir() else [one])]
        files = [Folder.open(str(file)) for file in found if file.is_file()]
    else:
        info = root.filesystem.get_file_info(root.path)
        inside = info.type == fs.FileType.Directory
        names = (
            sorted(i.path for i in root.filesystem.get_file_info(fs.FileSelector(root.path)))
            if inside
            else [info.path]
        )
        files = (
            [Folder(root.filesystem, name, name) for name in names]
            if info.type != fs.FileType.NotFound
            else []
        )
    if not files:
        raise ValueError(f"rationales.path: no such file: {config.path}")
    for file in files:
        _kind(file)
    return files


def _kind(file: Folder) -> str:
    suffix = Path(file.path).suffix.lower()
    if suffix not in _SUFFIXES:
        raise ValueError(
            f"{file.uri}: unknown file type '{suffix}'; expected .jsonl (JSON Lines) or .parquet"
        )
    return _SUFFIXES[suffix]


def fingerprint(files: list[Folder], source: RationalesConfig) -> list[str]:
    """Name and SHA-256 of every input file, so that changed data counts as a changed configuration.

    Raises ValueError if a file does not have the format of its suffix or lacks a required column.
    """
    names_and_digests = []
    for file in files:
        next(_pieces(file, source), None)
        with file.filesystem.open_input_stream(file.path) as stream:
            sha = hashlib.sha256()
            while block := stream.read(PIECE_BYTES):
                sha.update(block)
        names_and_digests.append(f"{Path(file.path).name} sha256:{sha.hexdigest()}")
    return names_and_digests


def read_files(files: list[Folder], source: RationalesConfig) -> "ray.data.Dataset":
    """The rows of the files as RAW_SCHEMA. `fingerprint` must have checked the files."""
    pieces: list[dict[str, Any]] = []
    first_row = 0
    for file in files:
        for piece in _pieces(file, source):
            pieces.append({"path": file.path, "first_row": first_row, **piece})
            first_row += piece["rows"]
    return ray.data.from_items(pieces).flat_map(
        _read_piece,  # pyright: ignore[reportArgumentType]  # ray's type knows no keyword arguments
        fn_kwargs={"filesystem": files[0].filesystem},
        num_cpus=0,
    )


def read_here(config: PipelineConfig) -> Iterator[dict[str, Any]]:
    """Yield the rows of a file or data set as RAW_SCHEMA, in this process and without a cluster."""
    if config.rationales.source == "file":
        first_row = 0
        for file in find_files(config.rationales):
            for piece in _pieces(file, config.rationales):
                yield from _read_piece({"path": file.path, "first_row": first_row, **piece}, file.filesystem)
                first_row += piece["rows"]
    else:
        for split, part in open_dataset(config).items():
            yield from (_as_raw({**row, "__row__": number}, split, config) for number, row in enumerate(part))


def read_dataset(config: PipelineConfig) -> "ray.data.Dataset":
    """A data set by Hub id or local folder, as RAW_SCHEMA. The name of the split becomes a column.

    Raises ValueError as `open_dataset` does.
    """
    first_row, parts = 0, []
    for split, part in open_dataset(config).items():
        numbered = part.add_column("__row__", list(range(first_row, first_row + len(part))))
        raw = ray.data.from_huggingface(numbered).map(
            _as_raw,  # pyright: ignore[reportArgumentType]
            fn_kwargs={"split": split, "config": config},
            num_cpus=0,
        )
        parts.append(raw)
        first_row += len(part)
    return parts[0].union(*parts[1:])


def open_dataset(config: PipelineConfig) -> dict[str, Any]:
    """`datasets.Dataset` by split, from `rationales.path` or else from the task's public data set.

    Raises ValueError if it cannot be loaded, or if it lacks a split or a column.
    """
    source = config.rationales
    if not source.path:
        return _open_public(config)
    parts = _load_dataset(source.path, {"name": source.dataset_config} if source.dataset_config else {})
    for part in parts.values():
        _require_columns(source.path, part.column_names, source)
    return parts


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


def _as_raw(row: dict[str, Any], split: str, config: PipelineConfig) -> dict[str, Any]:
    number, columns = row.pop("__row__"), config.rationales.columns
    if config.rationales.path:
        values = {columns.split: split, **row}
    else:
        values = {
            getattr(columns, name): value for name, value in task_of(config).read_public(row, split).items()
        }
    return {"row": number, "raw": json.dumps(values, ensure_ascii=False, default=str), "error": None}


def _pieces(file: Folder, source: RationalesConfig) -> Iterator[dict[str, Any]]:
    return _line_pieces(file, source) if _kind(file) == "json" else _row_groups(file, source)


def _line_pieces(file: Folder, source: RationalesConfig) -> Iterator[dict[str, Any]]:
    """Byte ranges of about PIECE_BYTES that end at the end of a line."""
    with file.filesystem.open_input_stream(file.path) as stream:
        offset, rest, checked = 0, b"", False
        while True:
            block = rest + stream.read(PIECE_BYTES)
            if not checked:
                _check_first_lines(file.uri, block, source)
                checked = True
            end = block.rfind(b"\n") + 1
            last = len(block) - len(rest) < PIECE_BYTES
            piece, rest = (block, b"") if last else (block[:end], block[end:])
            if piece:
                yield {
                    "offset": offset,
                    "bytes": len(piece),
                    "rows": piece.count(b"\n") + (not piece.endswith(b"\n")),
                }
            offset += len(piece)
            if last:
                return


def _check_first_lines(uri: str, block: bytes, source: RationalesConfig) -> None:
    if not block.strip():
        raise ValueError(f"{uri}: the file is empty")
    if block.startswith(b"\x1f\x8b"):
        raise ValueError(f"{uri}: compressed with gzip; unpack it first")
    if block.lstrip().startswith(b"["):
        raise ValueError(
            f"{uri}: a JSON array, not JSON Lines (one object per line); `jq -c '.[]'` converts it"
        )
    objects = []
    for line in block.splitlines()[:100]:
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            objects.append(value)
    if not objects:
        raise ValueError(
            f"{uri}: none of the first {min(100, len(block.splitlines()))} lines is a JSON object; "
            "is it JSON Lines in UTF-8?"
        )
    _require_columns(uri, sorted({name for value in objects for name in value}), source)


def _row_groups(file: Folder, source: RationalesConfig) -> Iterator[dict[str, Any]]:
    try:
        metadata = pyarrow.parquet.ParquetFile(file.path, filesystem=file.filesystem)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{file.uri}: not a Parquet file: {error}") from error
    _require_columns(file.uri, metadata.schema_arrow.names, source)
    for group in range(metadata.num_row_groups):
        yield {"group": group, "rows": metadata.metadata.row_group(group).num_rows}


def _require_columns(where: str, present: list[str], source: RationalesConfig) -> None:
    for field in (
        ("question", "answer", "rationale") if source.teacher.kind == "given" else ("question", "answer")
    ):
        wanted = getattr(source.columns, field)
        if wanted not in present:
            near = get_close_matches(wanted, present, n=1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            raise ValueError(
                f"{where}: no column '{wanted}' for the {field}; it has {', '.join(present)}.{hint} "
                f"Set rationales.columns.{field}."
            )


def _read_piece(piece: dict[str, Any], filesystem: fs.FileSystem) -> Iterator[dict[str, Any]]:
    if piece.get("group") is not None:
        table = pyarrow.parquet.ParquetFile(piece["path"], filesystem=filesystem).read_row_group(
            piece["group"]
        )
        for number, row in enumerate(table.to_pylist(), start=piece["first_row"]):
            yield {"row": number, "raw": json.dumps(row, ensure_ascii=False, default=str), "error": None}
        return
    with filesystem.open_input_file(piece["path"]) as stream:
        stream.seek(piece["offset"])
        lines = stream.read(piece["bytes"]).split(b"\n")
    if not piece["offset"]:
        lines[0] = lines[0].removeprefix(codecs.BOM_UTF8)
    for number, line in enumerate(lines[: piece["rows"]], start=piece["first_row"]):
        try:
            yield {"row": number, "raw": line.decode(), "error": None}
        except UnicodeDecodeError as error:
            fault = f"{error.reason} at byte {error.start}"
            yield {"row": number, "raw": line.decode(errors="backslashreplace"), "error": fault}
