"""One writer per folder, on storage that several machines share.

A lock file in the folder names the writer, which refreshes it. Another process takes over a stale lock. The
lock is a file with a heartbeat, because operating-system locks do not work on S3 or NFS.

Of several processes that start at once, exactly one gets the lock (`_create`, `_win`). Ages are measured by
the storage's clock, because the clocks of machines differ.
"""

import json
import logging
import os
import random
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from pyarrow import fs

from skipthink_ray.runtime.artifacts import LOCK, Folder
from skipthink_ray.runtime.job import job_name

log = logging.getLogger(__name__)
REFRESH_S, STALE_S, SETTLE_S, POLL_S = 10.0, 60.0, 0.3, 1.0
SEEMED_DEAD = f"because this one did not refresh its lock for {STALE_S:.0f} s"
CLAIM = f"{LOCK}."
"""How the names of claims begin. The id of the process follows."""
_CLOCKS: dict[str, float] = {}
"""By folder: the storage's time when this machine's monotonic clock is at 0."""
_ENDS: list[Callable[[str], None]] = []
"""At most one function; see `end_if_superseded`."""
TRIES = 8
"""How often a process claims a folder that others claim at the same time."""


@dataclass(frozen=True)
class Lease:
    """The right to write a folder, for as long as its heartbeat is not interrupted."""

    folder: Folder
    owner: dict[str, Any]

    def check(self) -> None:
        """Raises RuntimeError if another process has taken over, because this one seemed dead."""
        if (_read(self.folder) or {}).get("id") != self.owner["id"]:
            raise RuntimeError(f"{self.folder.uri}: another process took over, {SEEMED_DEAD}")


@contextmanager
def only_writer(folder: Folder, instead: str = "choose another --name") -> Iterator[None]:
    """Lock a folder for the `with` block. Raises ValueError if another live run has locked it.

    `instead` is the advice in that message.
    """
    holder = _read(folder)
    if holder and _is_alive(folder, holder):
        raise ValueError(
            f"{folder.uri} is being written by {_who(holder)}. "
            f"Wait for it, or stop it; {instead}. (If that run is dead, try again in {STALE_S:.0f} s.)"
        )
    owner = _claim(folder, "", holder)
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
        if holder and _is_alive(folder, holder):
            if holder["id"] != told:
                say(f"waiting for run '{holder['name']}' ({_who(holder)}), which makes it")
                told = holder["id"]
            pause(POLL_S)
        elif owner := _claim(folder, name, holder):
            with _held(folder, owner):
                yield None if is_made() else Lease(folder, owner)
            return
    yield None


def is_locked(folder: Folder) -> bool:
    """Whether a live process writes the folder."""
    holder = _read(folder)
    return holder is not None and _is_alive(folder, holder)


def _claim(folder: Folder, name: str, dead: dict[str, Any] | None) -> dict[str, Any] | None:
    """Lock a folder that nobody or a dead holder has locked. Returns the owner; None if another one wins."""
    owner = {"host": socket.gethostname(), "pid": os.getpid(), "id": uuid.uuid4().hex, "name": name}
    owner["job"] = job_name()
    folder.create()
    won = (_create if folder.is_local else _win)(folder, owner, dead)
    return owner if won else None


def _create(folder: Folder, owner: dict[str, Any], dead: dict[str, Any] | None) -> bool:
    """On a disk or NFS: create the lock file, which fails if it exists. Returns whether that succeeded."""
    lock = Path(folder.path) / LOCK
    if dead and not _remove(lock, dead["id"]):
        return False
    try:
        with lock.open("x") as file:
            json.dump(owner, file)
    except FileExistsError:
        return False
    time.sleep(SETTLE_S)  # another process may have taken this lock for the dead one; it puts it back
    return (_read(folder) or {}).get("id") == owner["id"]


def _remove(lock: Path, dead: str) -> bool:
    """Remove the lock of a dead holder. Returns False if it was not the dead holder's any more."""
    aside = lock.with_name(f"{CLAIM}{uuid.uuid4().hex}")
    try:
        lock.rename(aside)
    except FileNotFoundError:  # another process has removed it
        return True
    try:
        if _parsed(aside.read_text())["id"] == dead:
            return True
        os.link(aside, lock)
    except OSError:  # a third process has locked the folder; the second one notices, see `_create`
        log.warning("could not put back %s", lock, exc_info=True)
    finally:
        aside.unlink()
    return False


def _win(folder: Folder, owner: dict[str, Any], dead: dict[str, Any] | None) -> bool:
    """On an object store, which cannot create a file only if it is new: claim the folder, then look.

    A process writes its claim, and lists the claims afterwards. If there is another one, it takes its own
    back and tries again later. So of two processes, at least one sees the other: both cannot go on. The
    winner writes the lock before it deletes its claim, and a process looks for the lock after it has listed
    the claims.
    """
    claim = f"{CLAIM}{owner['id']}"
    for attempt in range(TRIES):
        started = time.monotonic()
        folder.write_json(claim, owner)
        times = {name: at for name, at in _times(folder).items() if name.startswith(CLAIM)}
        now = times.pop(claim, None)  # None: another process deleted the claim, because it seemed dead
        alone = now is not None and all(now - at >= STALE_S for at in times.values())
        holder = _read(folder)
        is_free = holder is None or holder["id"] == (dead or {}).get("id")
        is_winner = is_free and alone and time.monotonic() - started < STALE_S / 2
        if is_winner:
            _write(folder, owner)
        for name in [claim, *(times if is_winner else ())]:
            folder.delete(name)
        if is_winner or not is_free:
            return is_winner
        time.sleep(random.uniform(0, 2**attempt) * max(SETTLE_S, time.monotonic() - started))
    return False


@contextmanager
def _held(folder: Folder, owner: dict[str, Any]) -> Iterator[None]:
    """Refresh the lock until the block ends or another process takes it over, and delete it at the end."""
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
    missing = 0
    while not stop.wait(REFRESH_S):
        try:
            holder = _read(folder)
            missing = missing + 1 if holder is None else 0
            if (holder and holder["id"] not in (owner["id"], "")) or missing > 1:  # "": a damaged file
                _lose(folder, holder)
                return
            if holder and holder["id"] == owner["id"]:
                _write(folder, owner)
        except OSError:
            log.warning("could not refresh %s/%s; trying again", folder.uri, LOCK, exc_info=True)


def end_if_superseded(end: Callable[[str], None]) -> None:
    """Call `end` with the reason as soon as another process takes over a folder that this one writes.

    It is called once at most, from a thread. Without it, only `Lease.check` notices, at the end of a stage.
    """
    _ENDS[:] = [end]


def _lose(folder: Folder, holder: dict[str, Any] | None) -> None:
    """holder: None if the lock is gone, because the process that took over has finished."""
    reason = f"{folder.uri}: {_who(holder) if holder else 'another process'} took over, {SEEMED_DEAD}"
    log.warning(reason)
    with suppress(IndexError):
        _ENDS.pop()(reason)


def _write(folder: Folder, owner: dict[str, Any]) -> None:
    folder.write_json(LOCK, owner)


def _read(folder: Folder) -> dict[str, Any] | None:
    """The holder of the lock; without names if its file is damaged. `seen` is when it was written."""
    try:
        (info,) = folder.filesystem.get_file_info([f"{folder.path}/{LOCK}"])
        if info.type != fs.FileType.File:
            return None
        return _parsed(folder.read_text(LOCK)) | {"seen": info.mtime.timestamp()}
    except FileNotFoundError:  # deleted just now
        return None


def _parsed(text: str) -> dict[str, Any]:
    unknown = {"host": "unknown", "pid": 0, "id": "", "name": "unknown", "job": None}
    try:
        found = json.loads(text)
    except ValueError:  # written only half
        found = None
    return found if isinstance(found, dict) and unknown.keys() <= found.keys() else unknown


def _times(folder: Folder) -> dict[str, float]:
    """When each file of a folder was written, by the storage's clock, in seconds."""
    listed = folder.filesystem.get_file_info(fs.FileSelector(folder.path, allow_not_found=True))
    return {info.base_name: info.mtime.timestamp() for info in listed if info.type == fs.FileType.File}


def _who(holder: dict[str, Any]) -> str:
    job = f"job '{holder['job']}', " if holder["job"] else ""
    return f"{job}process {holder['pid']} on {holder['host']}"


def _is_alive(folder: Folder, holder: dict[str, Any]) -> bool:
    if holder["host"] == socket.gethostname() and not _process_exists(int(holder["pid"])):
        return False
    return _now(folder) - holder["seen"] < STALE_S


def _now(folder: Folder) -> float:
    """The time by the storage's clock, which is read once per folder from a new file."""
    if folder.uri not in _CLOCKS:
        probe = f"{LOCK}-{uuid.uuid4().hex}"
        folder.write_text(probe, "")
        (info,) = folder.filesystem.get_file_info([f"{folder.path}/{probe}"])
        folder.delete(probe)
        _CLOCKS[folder.uri] = info.mtime.timestamp() - time.monotonic()
    return _CLOCKS[folder.uri] + time.monotonic()


def _process_exists(pid: int) -> bool:
    """A zombie has ended, although its parent has not noticed: in a container, it may stay for good."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
