"""One writer per folder, on storage that several machines share.

A lock file in the folder names the writer, which refreshes it. Another process takes over a stale lock. The
lock is a file with a heartbeat, because operating-system locks do not work on S3 or NFS.
"""

import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psutil

from skipthink_ray.runtime.artifacts import LOCK, Folder
from skipthink_ray.runtime.job import job_name

log = logging.getLogger(__name__)
REFRESH_S, STALE_S, SETTLE_S, POLL_S = 10.0, 60.0, 0.3, 1.0


@dataclass(frozen=True)
class Lease:
    """The right to write a folder, for as long as its heartbeat is not interrupted."""

    folder: Folder
    owner: dict[str, Any]

    def check(self) -> None:
        """Raises RuntimeError if another process has taken over, because this one seemed dead."""
        if (_read(self.folder) or {}).get("id") != self.owner["id"]:
            raise RuntimeError(
                f"{self.folder.uri}: another process took over, because this one did not respond for "
                f"{STALE_S:.0f} s"
            )


@contextmanager
def only_writer(folder: Folder, instead: str = "choose another --name") -> Iterator[None]:
    """Lock a folder for the `with` block. Raises ValueError if another live run has locked it.

    `instead` is the advice in that message.
    """
    holder = _read(folder)
    if holder and _is_alive(holder):
        raise ValueError(
            f"{folder.uri} is being written by {_who(holder)}. "
            f"Wait for it, or stop it; {instead}. (If that run is dead, try again in {STALE_S:.0f} s.)"
        )
    owner = _claim(folder, "")
    if owner is None:
        raise ValueError(f"{folder.uri}: another run started at the same time; it continues, this one stops")
    with _held(folder, owner):
        yield


@contextmanager
def wait_or_lock(
    folder: Folder,
    is_made: Callable[[], bool],
    name: str,
    say: Callable[[str], None],
    pause: Callable[[float], None] = time.sleep,
) -> Iterator[Lease | None]:
    """Lock a folder for the `with` block, or yield None as soon as another process has made what it is for.

    Waits while another live process holds the lock, and says so once per holder.

    :param is_made: whether the folder is finished
    :param name: of this run, for the message of those that wait
    :param pause: sleeps for some seconds while it waits; may raise to give up
    """
    told = None
    while not is_made():
        holder = _read(folder)
        if holder and _is_alive(holder):
            if holder["id"] != told:
                say(f"waiting for run '{holder['name']}' ({_who(holder)}), which makes it")
                told = holder["id"]
            pause(POLL_S)
        elif owner := _claim(folder, name):
            with _held(folder, owner):
                yield None if is_made() else Lease(folder, owner)
            return
    yield None


def is_locked(folder: Folder) -> bool:
    """Whether a live process writes the folder."""
    holder = _read(folder)
    return holder is not None and _is_alive(holder)


def _claim(folder: Folder, name: str) -> dict[str, Any] | None:
    """Write a lock. Returns its owner, or None if another process did so at the same time and wins."""
    owner = {"host": socket.gethostname(), "pid": os.getpid(), "id": uuid.uuid4().hex, "name": name}
    owner["job"] = job_name()
    _write(folder, owner)
    time.sleep(SETTLE_S)  # if two processes start at once, the last writer continues
    return owner if (_read(folder) or {}).get("id") == owner["id"] else None


@contextmanager
def _held(folder: Folder, owner: dict[str, Any]) -> Iterator[None]:
    """Refresh the lock until the block ends, and delete it then."""
    stop = threading.Event()
    heart = threading.Thread(target=_beat, args=(folder, owner, stop), daemon=True)
    heart.start()
    try:
        yield
    finally:
        stop.set()
        heart.join()
        if (_read(folder) or {}).get("id") == owner["id"]:
            folder.delete(LOCK)


def _beat(folder: Folder, owner: dict[str, Any], stop: threading.Event) -> None:
    while not stop.wait(REFRESH_S):
        try:
            if (_read(folder) or owner)["id"] == owner["id"]:
                _write(folder, owner)
        except OSError:
            log.warning("could not refresh %s/%s; trying again", folder.uri, LOCK, exc_info=True)


def _write(folder: Folder, owner: dict[str, Any]) -> None:
    folder.write_json(LOCK, {**owner, "seen": time.time()})


def _read(folder: Folder) -> dict[str, Any] | None:
    try:
        return folder.read_json(LOCK) if folder.exists(LOCK) else None
    except (ValueError, FileNotFoundError):  # being replaced, or written half: nobody we could name
        return None


def _who(holder: dict[str, Any]) -> str:
    job = f"job '{holder['job']}', " if holder["job"] else ""
    return f"{job}process {holder['pid']} on {holder['host']}"


def _is_alive(holder: dict[str, Any]) -> bool:
    if time.time() - float(holder["seen"]) >= STALE_S:
        return False
    return holder["host"] != socket.gethostname() or _process_exists(int(holder["pid"]))


def _process_exists(pid: int) -> bool:
    """A zombie has ended, although its parent has not noticed: in a container, it may stay for good."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
