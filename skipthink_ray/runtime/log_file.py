"""The log of a run, in its folder.

On a local disk all starts of a run append to one file. Remote storage cannot append, so there each start has
a log of its own. The process writes it to a temporary file, which is copied to the storage every minute and
at the end.
"""

import logging
import os
import shutil
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import gettempdir, mkdtemp

from skipthink_ray.config import PipelineConfig
from skipthink_ray.runtime.artifacts import Folder

log = logging.getLogger(__name__)
COPY_EVERY_S = 60.0
COPY_SHARE = 0.05
"""Largest share of the time that copies of a long log may take."""


@dataclass
class LogFile:
    """A local file to append to, and its copy on remote storage, if there is one."""

    path: Path
    copy: Folder | None = None
    """The folder of the copy, which has the same name as the file."""
    copied_bytes: int = -1
    lock: threading.Lock = field(default_factory=threading.Lock)

    def place(self) -> str:
        """Where a user finds the log now."""
        return self.copy.child(self.path.name).uri if self.copy and self.save() else str(self.path)

    def save(self) -> bool:
        """Copy the file to the storage, if it has grown. Returns False if that failed."""
        if self.copy is None:
            return True
        with self.lock:
            size = self.path.stat().st_size
            try:
                if size != self.copied_bytes:
                    _copy(self.path, self.copy)
            except OSError as error:
                log.warning("could not copy %s to %s: %s", self.path, self.copy.uri, error)
                return False
            self.copied_bytes = size
            return True


@contextmanager
def log_file(config: PipelineConfig, folder: str | None = None) -> Iterator[LogFile]:
    """The log of a run for the `with` block. folder: its place in the storage path; None: the run's folder.

    A local storage path that is not writable has it in the system's temporary folder instead.
    """
    storage, folder = Folder.open(config.storage_path), folder or config.name
    name = f"skipthink-{Path(folder).name}"
    if not storage.is_local:
        with copied(storage.child(folder), name) as file:
            yield file
    else:
        wanted = Path(storage.path) / folder
        place = wanted if _can_write(wanted) else Path(gettempdir())
        yield LogFile(place / f"{name}.log")


@contextmanager
def copied(folder: Folder, name: str) -> Iterator[LogFile]:
    """A log of this start on remote storage. The temporary file stays if it cannot be copied at the end."""
    start = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:4]}"
    file, stop = LogFile(Path(mkdtemp()) / f"{name}.{start}.log", folder), threading.Event()
    file.path.touch()
    thread = threading.Thread(target=_keep_copying, args=(file, stop), daemon=True)
    thread.start()
    try:
        yield file
    finally:
        stop.set()
        thread.join()
        if file.save():
            shutil.rmtree(file.path.parent)


def _keep_copying(file: LogFile, stop: threading.Event) -> None:
    pause = COPY_EVERY_S
    while not stop.wait(pause):
        started = time.monotonic()
        file.save()
        pause = max(COPY_EVERY_S, (time.monotonic() - started) / COPY_SHARE)


def _copy(path: Path, folder: Folder) -> None:
    with (
        open(path, "rb") as source,
        folder.create().filesystem.open_output_stream(f"{folder.path}/{path.name}") as target,
    ):
        shutil.copyfileobj(source, target, 1 << 20)


def _can_write(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)
