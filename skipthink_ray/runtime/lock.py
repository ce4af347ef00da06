"""One writer per run.

A lock file in the run's folder names the writer, which refreshes it. Another run takes over a stale lock.
"""

import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from skipthink_ray.runtime.artifacts import LOCK, Folder

log = logging.getLogger(__name__)
REFRESH_S, STALE_S, SETTLE_S = 10.0, 60.0, 0.3


@contextmanager
def only_writer(folder: Folder, instead: str = "choose another --name") -> Iterator[None]:
    """Lock a folder for the `with` block. Raises ValueError if another live run has locked it.

    `instead` is the advice in that message. The lock is a file with a heartbeat, because operating-system
    locks do not work on S3 or NFS.
    """
    owner = {"host": socket.gethostname(), "pid": os.getpid(), "id": uuid.uuid4().hex}
    holder = _read(folder)
    if holder and _is_alive(holder):
        raise ValueError(
            f"{folder.uri} is being written by process {holder['pid']} on {holder['host']}. "
            f"Wait for it, or stop it; {instead}. (If that run is dead, try again in {STALE_S:.0f} s.)"
        )
    _write(folder, owner)
    time.sleep(SETTLE_S)  # if two runs start at once, the last writer continues
    if (_read(folder) or {}).get("id") != owner["id"]:
        raise ValueError(f"{folder.uri}: another run started at the same time; it continues, this one stops")
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
    except (ValueError, FileNotFoundError):  # the file is incomplete or being replaced
        return None


def _is_alive(holder: dict[str, Any]) -> bool:
    if time.time() - float(holder["seen"]) >= STALE_S:
        return False
    return holder["host"] != socket.gethostname() or _process_exists(int(holder["pid"]))


def _process_exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
