"""What a teacher has answered, on storage before it counts, so that no question is ever paid for twice.

A folder of JSON Lines files, one per process that wrote (`answers-<id>.jsonl`), an object per answer with the `key` of its
request. A line that a crash cut short is no answer. The folder lies beside the runs, not in one: another run, another
filter, or a run that was deleted finds the answers again. In memory: the place of every answer, about 200 bytes each.
"""

import json
import os
import threading
import uuid
from collections.abc import Iterator
from typing import Any

from skipthink_ray.config import PipelineConfig
from skipthink_ray.runtime.artifacts import Folder

FOLDER = ".teacher"
"""No run can have this name."""


def ledger_folder(config: PipelineConfig) -> Folder:
    """Where the answers of all teachers of a storage path lie."""
    return Folder.open(config.storage_path).child(FOLDER)


class Ledger:
    """The answers of a folder, to read and to add to. Several processes may add at once, each to files of its own."""

    def __init__(self, folder: Folder, write_only: bool = False) -> None:
        self.folder = folder.create()
        self.mine, self.merged = f"answers-{uuid.uuid4().hex}", 0
        self.places: dict[bytes, tuple[str, int, int]] = {}
        self.unmerged: dict[bytes, bytes] = {}
        self.lock = threading.Lock()
        for name in folder.names() if not write_only else []:
            if name.endswith(".jsonl"):
                self.places |= {key: (name, start, size) for key, start, size in _places(folder, name)}

    def __contains__(self, key: str) -> bool:
        return bytes.fromhex(key) in self.places

    def __len__(self) -> int:
        return len(self.places)

    def read(self, key: str) -> dict[str, Any]:
        known = bytes.fromhex(key)
        if known in self.unmerged:
            return json.loads(self.unmerged[known])
        name, start, size = self.places[known]
        with self.folder.filesystem.open_input_file(f"{self.folder.path}/{name}") as file:
            file.seek(start)
            return json.loads(file.read(size))

    def write(self, key: str, answer: dict[str, Any]) -> None:
        """Add an answer; it is on storage when this returns. Threads may call it together."""
        line = json.dumps({"key": key, **answer}, ensure_ascii=False).encode() + b"\n"
        known = bytes.fromhex(key)
        if (
            not self.folder.is_local
        ):  # nothing can be appended to an object: each answer is one, until `merge`
            name = f"{self.mine}-{key}.jsonl"
            with self.folder.filesystem.open_output_stream(f"{self.folder.path}/{name}") as stream:
                stream.write(line)
            self.unmerged[known] = line
            self.places[known] = (name, 0, len(line))
            return
        name = f"{self.mine}.jsonl"
        with self.lock, open(f"{self.folder.path}/{name}", "ab") as file:
            start = file.tell()
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        self.places[known] = (name, start, len(line))

    def merge(self) -> None:
        """On an object store, put the answers since the last call into one object, so that a restart reads few."""
        if not self.unmerged:
            return
        singles = [self.places[known][0] for known in self.unmerged]
        name, start = f"{self.mine}-merged-{self.merged}.jsonl", 0
        with self.folder.filesystem.open_output_stream(f"{self.folder.path}/{name}") as stream:
            stream.write(b"".join(self.unmerged.values()))
        for known, line in self.unmerged.items():
            self.places[known] = (name, start, len(line))
            start += len(line)
        self.unmerged, self.merged = {}, self.merged + 1
        for single in singles:
            self.folder.delete(single)


def _places(folder: Folder, name: str) -> Iterator[tuple[bytes, int, int]]:
    """Key, first byte and length of every whole answer of a file."""
    start = 0
    with folder.filesystem.open_input_stream(f"{folder.path}/{name}") as stream:
        rest = b""
        while block := stream.read(1 << 20):
            *lines, rest = (rest + block).split(b"\n")
            for line in lines:
                key = _key(line)
                if key:
                    yield key, start, len(line) + 1
                start += len(line) + 1


def _key(line: bytes) -> bytes | None:
    """The key of an answer; None for a line that is none."""
    try:
        return bytes.fromhex(json.loads(line)["key"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
