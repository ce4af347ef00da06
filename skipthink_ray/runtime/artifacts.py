"""Folders on local or remote storage, and the rules that make a stage repeatable.

A stage writes one folder: config.json first, `_DONE` last. Running it again with the same config does
nothing. A different config in the same place is an error that names the difference. A folder without `_DONE`
is incomplete: the stage runs again and keeps only its training checkpoints. Formats are JSON, Parquet and
safetensors; nothing here is unpickled.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet
from pyarrow import fs

ROW_GROUP = 64
"""Rows per row group of a table. An actor processes one row group at a time."""
CONFIG, DONE, CHECKPOINTS = "config.json", "_DONE", "checkpoints"
LOCK = "_RUNNING.json"
"""Names the process that writes a folder. Names of other files of lock.py begin with this one."""


@dataclass(frozen=True)
class Folder:
    """A folder on a file system. `path` is for the file system; `uri` is for messages to the user."""

    filesystem: fs.FileSystem
    path: str
    uri: str

    @classmethod
    def open(cls, uri: str) -> "Folder":
        """A folder by path or URI. Raises ValueError for a URI that pyarrow cannot open."""
        if "://" not in uri:
            path = os.path.abspath(Path(uri).expanduser())
            return cls(fs.LocalFileSystem(), path, path)
        try:
            filesystem, path = fs.FileSystem.from_uri(uri)
        except (pa.ArrowInvalid, OSError) as error:
            raise ValueError(f"cannot open '{uri}': {error}") from error
        return cls(filesystem, path, uri)

    @property
    def is_local(self) -> bool:
        return isinstance(self.filesystem, fs.LocalFileSystem)

    def child(self, name: str) -> "Folder":
        start, query = self._start_and_query()
        return Folder(self.filesystem, f"{self.path}/{name}", f"{start}/{name}{query}")

    @property
    def name(self) -> str:
        return self.path.rstrip("/").rpartition("/")[2]

    @property
    def parent(self) -> "Folder":
        path = self.path.rstrip("/").rpartition("/")[0] or "/"
        start, query = self._start_and_query()
        return Folder(self.filesystem, path, f"{start.rpartition('/')[0] or '/'}{query}")

    def _start_and_query(self) -> tuple[str, str]:
        """The URI without a slash at its end, and its query with the `?`. A path has no query."""
        start, mark, query = self.uri.partition("?") if "://" in self.uri else (self.uri, "", "")
        return start.rstrip("/"), f"{mark}{query}"

    def exists(self, name: str = "") -> bool:
        return self.filesystem.get_file_info(f"{self.path}/{name}".rstrip("/")).type != fs.FileType.NotFound

    def create(self) -> "Folder":
        self.filesystem.create_dir(self.path, recursive=True)
        return self

    def delete(self, name: str) -> None:
        info = self.filesystem.get_file_info(f"{self.path}/{name}")
        if info.type == fs.FileType.Directory:
            self.filesystem.delete_dir(info.path)
        elif info.type == fs.FileType.File:
            self.filesystem.delete_file(info.path)

    def names(self) -> list[str]:
        return sorted(
            info.base_name
            for info in self.filesystem.get_file_info(fs.FileSelector(self.path, allow_not_found=True))
        )

    def write_text(self, name: str, text: str) -> None:
        """Write a file. On a local disk the write is atomic."""
        self.create()
        target = f"{self.path}/{name}"
        partial = f"{target}.part" if self.is_local else target
        with self.filesystem.open_output_stream(partial) as stream:
            stream.write(text.encode())
        if self.is_local:
            self.filesystem.move(partial, target)

    def read_text(self, name: str) -> str:
        with self.filesystem.open_input_stream(f"{self.path}/{name}") as stream:
            return stream.read().decode()

    def write_json(self, name: str, value: Any) -> None:
        self.write_text(name, json.dumps(value, indent=1, ensure_ascii=False) + "\n")

    def read_json(self, name: str) -> Any:
        return json.loads(self.read_text(name))

    def write_table(self, name: str, table: pa.Table) -> None:
        self.child(name).create()
        pyarrow.parquet.write_table(
            table, f"{self.path}/{name}/part-0.parquet", filesystem=self.filesystem, row_group_size=ROW_GROUP
        )

    def table(self, name: str) -> pyarrow.dataset.Dataset:
        """A table as a lazy pyarrow data set over its Parquet files."""
        files = self.filesystem.get_file_info(fs.FileSelector(f"{self.path}/{name}"))
        paths = sorted(info.path for info in files if info.path.endswith(".parquet"))
        return pyarrow.dataset.dataset(paths, filesystem=self.filesystem, format="parquet")

    def upload(self, local: Path, name: str) -> None:
        """Copy a local folder to storage as `name`, replacing whatever is there."""
        self.delete(name)
        self.child(name).create()
        fs.copy_files(
            str(local),
            f"{self.path}/{name}",
            source_filesystem=fs.LocalFileSystem(),
            destination_filesystem=self.filesystem,
        )

    @contextmanager
    def local(self, name: str = "") -> Iterator[Path]:
        """A subfolder, or this folder, as a local path.

        On remote storage this is a copy that lasts for the `with` block.
        """
        if self.is_local:
            yield Path(self.path) / name
            return
        with TemporaryDirectory() as copy:
            fs.copy_files(
                f"{self.path}/{name}".rstrip("/"),
                copy,
                source_filesystem=self.filesystem,
                destination_filesystem=fs.LocalFileSystem(),
            )
            yield Path(copy)


def digest(identity: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


def is_finished(folder: Folder, identity: dict[str, Any]) -> bool:
    """Whether the artifact is complete and was made from `identity`. ValueError if its config is damaged."""
    return folder.exists(DONE) and _made_from(folder) == identity


def _made_from(folder: Folder) -> dict[str, Any] | None:
    """The identity that an artifact was begun with, or None if there is no artifact."""
    if not folder.exists(CONFIG):
        return None
    try:
        return folder.read_json(CONFIG)
    except ValueError as error:
        raise ValueError(
            f"{folder.child(CONFIG).uri} is damaged ({error}); delete that folder to make the artifact again"
        ) from error


def is_done(folder: Folder, identity: dict[str, Any], instead: str) -> bool:
    """Whether the artifact is finished.

    Raises ValueError if another configuration made it; `instead` is the advice in that message.
    """
    made_from = _made_from(folder)
    if made_from is None:
        return False
    differences = list(_differences(made_from, identity))
    if differences:
        raise ValueError(
            f"{folder.uri} was made with another configuration: {'; '.join(differences[:5])}. "
            f"{instead}, or delete that folder to make it again."
        )
    return folder.exists(DONE)


def begin(folder: Folder, identity: dict[str, Any]) -> None:
    """Clear an incomplete artifact except for its training checkpoints, and write its config.

    Raises ValueError as `refuse_foreign` does.
    """
    refuse_foreign(folder)
    for name in folder.names():
        if not _is_kept(name):
            folder.delete(name)
    folder.write_json(CONFIG, identity)


def refuse_foreign(folder: Folder) -> None:
    """Raises ValueError if the folder holds files that no stage wrote, because `begin` would delete them.

    A stage writes its config first. So files without a config come from elsewhere.
    """
    names = folder.names()
    foreign = [name for name in names if not _is_kept(name)]
    if foreign and CONFIG not in names:
        raise ValueError(
            f"{folder.uri} is not an artifact, but holds {', '.join(foreign[:3])}. "
            "Nothing was touched; name a new or an empty folder"
        )


def _is_kept(name: str) -> bool:
    """Whether a file or folder stays when an incomplete artifact is cleared."""
    return name in (CONFIG, CHECKPOINTS) or name.startswith(LOCK)


def finish(folder: Folder, summary: dict[str, Any]) -> None:
    """Write the stage's summary, mark the artifact as complete, and delete its checkpoints."""
    folder.write_json("summary.json", summary)
    folder.write_text(DONE, "")
    folder.delete(CHECKPOINTS)


def refuse_lost_rows(stage: str, expected: int, written: int) -> None:
    """Raises RuntimeError unless a stage has written all its rows where this process reads them."""
    if written != expected:
        raise RuntimeError(
            f"{stage}: {expected} rows gave {written}; do all nodes write to the same storage path?"
        )


def _differences(there: Any, here: Any, key: str = "") -> Iterator[str]:
    if isinstance(there, dict) and isinstance(here, dict):
        for name in [*there, *(name for name in here if name not in there)]:
            yield from _differences(there.get(name), here.get(name), f"{key}.{name}" if key else name)
    elif there != here:
        yield f"{key} was {json.dumps(there)}, now {json.dumps(here)}"
