"""One writer per run. A file in the run's folder says who writes; its owner refreshes it, and a stale one is taken over."""

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
    """Hold a folder for the length of the block. ValueError where another live run holds it, with what to do `instead`.

    A plain file with a heartbeat, because the storage may be S3 or NFS, where no lock of the operating system reaches.
    """
    owner = {"host": socket.gethostname(), "pid": os.getpid(), "id": uuid.uuid4().hex}
    holder = _read(folder)
    if holder and _is_alive(holder):
        raise ValueError(
            f"{folder.uri} is being written by process {holder['pid']} on {holder['host']}. Wait for it, or stop it; "
            f"{instead}. (If that run is dead, try again in {STALE_S:.0f} s.)"
        )
    _write(folder, owner)
    time.sleep(SETTLE_S)  # of two that start in the same moment, the one that wrote last goes on
    if (_read(folder) or {}).get("id") != owner["id"]:
        raise ValueError(f"{folder.uri}: another run started in the same moment; it goes on, this one stops")
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
