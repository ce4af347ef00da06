"""The teacher's answers on storage. Each answer is saved before it is used, so no question is paid for twice.

A folder of JSON Lines files, one per writing process (`answers-<id>.jsonl`). Each line is one answer with the
`key` of its request. A line that a crash cut short is ignored. The folder lies beside the runs, so that other
runs, other filters, and a run that was deleted and started again find the answers. Memory holds only the
location of each answer, about 200 bytes.
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
"""Run names cannot start with a dot, so no run uses this folder."""


def ledger_folder(config: PipelineConfig) -> Folder:
    """The folder with the answers of all teachers under a storage path."""
    return Folder.open(config.storage_path).child(FOLDER)


class Ledger:
    """Reads and adds the answers of a folder. Several processes may write at once, each to its own files."""

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
        """Add an answer. It is on storage when this returns. Thread-safe."""
        line = json.dumps({"key": key, **answer}, ensure_ascii=False).encode() + b"\n"
        known = bytes.fromhex(key)
        if not self.folder.is_local:  # objects cannot grow, so each answer is one object until `merge`
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
        """On an object store, join the answers since the last call in one object. A restart reads fewer."""
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
    """Key, byte offset and length of every complete answer in a file."""
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
    """The key of the answer in a line; None if the line is not an answer."""
    try:
        return bytes.fromhex(json.loads(line)["key"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
