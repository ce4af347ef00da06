"""Input files: JSON Lines (also compressed), one JSON value, or Parquet.

A file is split into pieces (a byte range of whole lines, or a row group) that the cluster's workers read. So
one large file is read in parallel and never held in memory as a whole. A compressed file or a JSON value is
one piece. An unreadable row does not fail the job: its `error` is set. Blank lines are skipped, but
they count in the row numbers: in a single file, a row number is a line number.
"""

import codecs
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
from pyarrow import fs

from skipthink_ray.config import PipelineConfig, RationalesConfig
from skipthink_ray.data.cells import raw_row, widened
from skipthink_ray.data.cleaning import SPLITS, require_columns
from skipthink_ray.runtime.artifacts import Folder
from skipthink_ray.tasks import task_of

PIECE_BYTES = 4 << 20
LARGEST_DOCUMENT_BYTES = 256 << 20
"""The largest file that may be one JSON value. One worker reads it as a whole."""
_known: dict[tuple[str, int, int], str] = {}
"""Digests by address, size and time of change. A sweep asks for the same files once per trial."""
FIRST_LINES = 100
"""Lines at the start of a file that are checked before Ray starts."""
_SUFFIXES = {".jsonl": "json", ".json": "json", ".ndjson": "json", ".parquet": "parquet"}
_COMPRESSED = (".gz", ".zst")
"""Suffixes of compressed JSON Lines, which pyarrow decompresses. One worker reads such a file as a whole."""


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
    suffixes = [suffix.lower() for suffix in Path(file.path).suffixes]
    compressed = bool(suffixes) and suffixes[-1] in _COMPRESSED
    suffix = next(reversed(suffixes[:-1] if compressed else suffixes), "")
    kind = _SUFFIXES.get(suffix)
    if kind is None or (compressed and kind == "parquet"):
        raise ValueError(
            f"{file.uri}: unknown file type '{''.join(suffixes[-2:])}'; expected .jsonl (JSON Lines), "
            ".jsonl.gz, .jsonl.zst, .json or .parquet"
        )
    return kind


def _is_compressed(file: Folder) -> bool:
    return Path(file.path).suffix.lower() in _COMPRESSED


def fingerprint(files: list[Folder], config: PipelineConfig) -> list[str]:
    """Name and SHA-256 of every input file, so that changed data counts as a changed configuration.

    Raises ValueError if a file does not have the format of its suffix or lacks a required column.
    """
    names_and_digests = []
    for file in files:
        require_columns(file.uri, first_rows(file), config.rationales, task_of(config))
        names_and_digests.append(f"{Path(file.path).name} sha256:{_sha256(file)}")
    return names_and_digests


def _sha256(file: Folder) -> str:
    """The SHA-256 of a file, read once per process as long as its size and time stay the same."""
    info = file.filesystem.get_file_info(file.path)
    key = file.uri, info.size, info.mtime_ns
    if key not in _known:
        with _readable(file), file.filesystem.open_input_stream(file.path) as stream:
            sha = hashlib.sha256()
            while block := stream.read(PIECE_BYTES):
                sha.update(block)
        _known[key] = sha.hexdigest()
    return _known[key]


@contextmanager
def _readable(file: Folder) -> Iterator[None]:
    """Turns the error of a damaged compressed file into a ValueError that names it."""
    try:
        yield
    except OSError as error:
        if not _is_compressed(file):
            raise
        raise ValueError(f"{file.uri}: cannot be decompressed: {error}") from error


def pieces_of(file: Folder) -> Iterator[dict[str, Any]]:
    """The pieces of a file that `fingerprint` has checked, each with its number of `rows`."""
    if _kind(file) == "parquet":
        metadata = _parquet(file).metadata
        for group in range(metadata.num_row_groups):
            yield {"group": group, "rows": metadata.row_group(group).num_rows}
    elif _is_document(file):
        yield {"document": True, "rows": len(_read_document(file.filesystem, file.path, file.uri))}
    elif _is_compressed(file):
        pieces = list(_line_pieces(file))
        yield {"offset": 0, **{name: sum(piece[name] for piece in pieces) for name in ("bytes", "rows")}}
    else:
        yield from _line_pieces(file)


def _is_document(file: Folder) -> bool:
    """Whether the file is one JSON value: an array of rows, or an object with the array `examples`."""
    with _readable(file), file.filesystem.open_input_stream(file.path) as stream:
        block = stream.read(PIECE_BYTES).removeprefix(codecs.BOM_UTF8).lstrip()
    if block.startswith(b"["):
        return True
    if ".json" not in Path(file.path).suffixes or not block.startswith(b"{"):
        return False
    first, _, others = block.partition(b"\n")
    try:
        value = json.loads(first)
    except (ValueError, RecursionError):  # the object does not end on the first line
        return b'"examples"' in block
    return isinstance(value.get("examples"), list) and not others.strip()


def _read_document(filesystem: fs.FileSystem, path: str, uri: str) -> list[Any]:
    size = filesystem.get_file_info(path).size or 0
    if size > LARGEST_DOCUMENT_BYTES:
        raise ValueError(
            f"{uri}: one JSON value of {size >> 20} MiB, which one worker must read as a whole; "
            "convert it to JSON Lines with `jq -c '.[]'`"
        )
    with filesystem.open_input_stream(path) as stream:
        text = stream.read()
    try:
        rows = json.loads(text.removeprefix(codecs.BOM_UTF8))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{uri}: neither JSON Lines nor one valid JSON value: {error}") from error
    rows = rows.get("examples") if isinstance(rows, dict) else rows
    if not (isinstance(rows, list) and any(isinstance(row, dict) for row in rows)):
        raise ValueError(f"{uri}: the JSON array holds no objects")
    return rows


def _line_pieces(file: Folder) -> Iterator[dict[str, Any]]:
    """Byte ranges of about PIECE_BYTES that end at the end of a line."""
    with file.filesystem.open_input_stream(file.path) as stream:
        offset, rest = 0, b""
        while True:
            block = rest + stream.read(PIECE_BYTES)
            end = block.rfind(b"\n") + 1
            last = len(block) - len(rest) < PIECE_BYTES
            piece, rest = (block, b"") if last else (block[:end], block[end:])
            if piece:
                rows = piece.count(b"\n") + (not piece.endswith(b"\n"))
                yield {"offset": offset, "bytes": len(piece), "rows": rows}
            offset += len(piece)
            if last:
                return


def first_rows(file: Folder) -> list[dict[str, Any]]:
    """Some rows from the start of a file. Raises ValueError if it does not have the format of its suffix."""
    if _kind(file) == "parquet":
        parquet = _parquet(file)
        rows = next((batch.to_pylist() for batch in parquet.iter_batches(batch_size=FIRST_LINES)), [])
        return [_as_read(row) for row in rows] or [dict.fromkeys(parquet.schema_arrow.names)]
    if _is_document(file):
        rows = _read_document(file.filesystem, file.path, file.uri)[:FIRST_LINES]
        return [row for row in rows if isinstance(row, dict)]
    with _readable(file), file.filesystem.open_input_stream(file.path) as stream:
        return _first_objects(file.uri, stream.read(PIECE_BYTES))


def column_types(file: Folder) -> dict[str, str]:
    """Arrow's type of each column of a Parquet file; empty for JSON."""
    if _kind(file) != "parquet":
        return {}
    return {column.name: str(column.type) for column in _parquet(file).schema_arrow}


def _as_read(row: dict[str, Any]) -> dict[str, Any]:
    """The row as the stage will parse it, or only its columns if it cannot be read."""
    raw = raw_row(0, row)
    return dict.fromkeys(row) if raw["error"] else json.loads(raw["raw"])


def _parquet(file: Folder) -> pyarrow.parquet.ParquetFile:
    try:
        return pyarrow.parquet.ParquetFile(file.path, filesystem=file.filesystem)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{file.uri}: not a Parquet file: {error}") from error


def _first_objects(uri: str, block: bytes) -> list[dict[str, Any]]:
    """The objects among the first lines. Raises ValueError if there is none."""
    if not block.strip():
        raise ValueError(f"{uri}: the file is empty")
    if block.startswith(b"\x1f\x8b"):
        raise ValueError(f"{uri}: compressed with gzip, but not named so; name it {uri}.gz")
    objects = []
    for line in block.splitlines()[:FIRST_LINES]:
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            objects.append(value)
    if not objects:
        raise ValueError(
            f"{uri}: none of the first {min(FIRST_LINES, len(block.splitlines()))} lines is a JSON object; "
            "is it JSON Lines in UTF-8?"
        )
    return objects


def splits_of(files: list[Folder]) -> list[str | None]:
    """The split that the name of each file tells, as in `train.jsonl` beside `test.jsonl`.

    None for all of them unless each name tells one split, and the splits differ.
    """
    told = [
        {SPLITS[word] for word in re.split(r"[^a-z]+", Path(file.path).name.lower()) if word in SPLITS}
        for file in files
    ]
    clear = all(len(one) == 1 for one in told) and len(set.union(*told)) > 1
    return [next(iter(one)) if clear else None for one in told]


def read_piece(piece: dict[str, Any], filesystem: fs.FileSystem) -> Iterator[dict[str, Any]]:
    """The rows of a piece, RAW_SCHEMA."""
    for row in _read(piece, filesystem):
        yield {**row, "split": piece.get("split")}


def _read(piece: dict[str, Any], filesystem: fs.FileSystem) -> Iterator[dict[str, Any]]:
    path, first_row = piece["path"], piece["first_row"]
    if piece.get("document"):
        for number, row in enumerate(_read_document(filesystem, path, path), first_row):
            yield raw_row(number, row)
        return
    if piece.get("group") is not None:
        table = pyarrow.parquet.ParquetFile(path, filesystem=filesystem).read_row_group(piece["group"])
        for number, row in enumerate(widened(table).to_pylist(), first_row):
            yield raw_row(number, row)
        return
    compressed = Path(path).suffix.lower() in _COMPRESSED
    opened = filesystem.open_input_stream if compressed else filesystem.open_input_file
    with opened(path) as stream:
        if piece["offset"]:
            stream.seek(piece["offset"])
        lines = stream.read(piece["bytes"]).split(b"\n")
    if not piece["offset"]:
        lines[0] = lines[0].removeprefix(codecs.BOM_UTF8)
    for number, line in enumerate(lines[: piece["rows"]], first_row):
        if not line.strip():
            continue
        try:
            yield {"row": number, "raw": line.decode(), "error": None}
        except UnicodeDecodeError as error:
            fault = f"{error.reason} at byte {error.start}"
            yield {"row": number, "raw": line.decode(errors="backslashreplace"), "error": fault}
