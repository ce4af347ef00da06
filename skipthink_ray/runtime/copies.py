"""Local copies of folders on remote storage, shared by the processes of a machine."""

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def shared_copy(uri: str, download: Callable[[Path], object]) -> Iterator[Path]:
    """The local copy of a folder, which lasts for the `with` block.

    Processes that want the same folder at the same time share one copy: one downloads it, the others wait.
    The last one removes it. Files that are mapped into memory stay readable after that. A copy that a killed
    process left is never used, but downloaded again.

    Locks are flock's: they end with their process.
    """
    copy = _own_folder() / hashlib.sha256(uri.encode()).hexdigest()[:32]
    with open(f"{copy}.lock", "ab") as lock:
        while True:
            if _is_alone(lock):
                _download(copy, download)
            fcntl.flock(lock, fcntl.LOCK_SH)
            if copy.exists():  # otherwise the download of another process failed, or it has just left
                break
        try:
            yield copy
        finally:
            if _is_alone(lock):
                shutil.rmtree(copy)


def _own_folder() -> Path:
    """The folder of all copies, which nobody else may write."""
    folder = Path(tempfile.gettempdir()) / f"skipthink-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if status.st_uid != os.getuid() or status.st_mode & 0o077 or folder.is_symlink():
        raise PermissionError(
            f"{folder} must belong to you and be closed to other users, as students are downloaded to it; "
            "remove it, or set TMPDIR to another folder"
        )
    return folder


def _download(copy: Path, download: Callable[[Path], object]) -> None:
    partial = copy.with_suffix(".partial")
    for old in (copy, partial):
        shutil.rmtree(old, ignore_errors=True)
    partial.mkdir()
    try:
        download(partial)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    partial.rename(copy)


def _is_alone(lock: IO[bytes]) -> bool:
    """Take the lock for this process alone, unless others hold it. Gives up a shared lock in any case."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
