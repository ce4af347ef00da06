"""Exactly one process gets a lock: on a disk, on a slow object store, and if clocks differ."""

import json
import os
import random
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from pyarrow import fs

from skipthink_ray.runtime import lock
from skipthink_ray.runtime.artifacts import LOCK, Folder, begin
from skipthink_ray.runtime.lock import end_if_superseded, is_locked, only_writer

RACERS = 3
HOUR_S = 3600.0


class SlowStore(MemoryFileSystem):
    """An object store: an operation may take `delay_s`, and files replace each other."""

    store: dict[str, Any] = {}  # noqa: RUF012 (fsspec's own design)
    pseudo_dirs = [""]  # noqa: RUF012
    delay_s = 0.0
    clock_ahead_s = 0.0
    next_write_s = 0.0
    """Seconds that the next write takes. Of one machine, so it is set on an instance."""

    def _wait(self) -> None:
        time.sleep(random.choice((0, 0, 0.1, 1)) * self.delay_s)

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        self._wait()
        if mode == "wb":
            seconds, self.next_write_s = self.next_write_s, 0.0
            time.sleep(seconds)
        return super()._open(path, mode, **options)

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        self._wait()
        return self._dated(super().info(path, **options))

    def find(self, path: str, *arguments: Any, **options: Any) -> Any:
        self._wait()
        found = super().find(path, *arguments, **options)
        if isinstance(found, dict):
            return {name: self._dated(info) for name, info in found.items()}
        return found

    def _dated(self, info: dict[str, Any]) -> dict[str, Any]:
        """The same with pyarrow's name for the time, which fsspec gives in two types."""
        created = info.get("created")
        if created is None:
            return info
        seconds = created.timestamp() if isinstance(created, datetime) else created
        return {**info, "mtime": seconds + self.clock_ahead_s}


@pytest.fixture
def slow_store(monkeypatch: pytest.MonkeyPatch) -> Folder:
    monkeypatch.setattr(SlowStore, "store", {})
    monkeypatch.setattr(SlowStore, "pseudo_dirs", [""])
    monkeypatch.setattr(SlowStore, "delay_s", 0.1)
    return _folder(SlowStore(skip_instance_cache=True)).create()


def _folder(store: SlowStore) -> Folder:
    """The folder of the store as one machine sees it."""
    return Folder(fs.PyFileSystem(fs.FSSpecHandler(store)), "/runs/run", f"s3://{id(store)}/runs/run")


@pytest.fixture
def disk(tmp_path: Path) -> Folder:
    return Folder.open(str(tmp_path / "run")).create()


def _race(folder: Folder) -> tuple[int, list[str]]:
    """Several writers at once. Returns how many got the lock while another one had it or refused, and why."""
    ready, inside, most, refused = threading.Barrier(RACERS), 0, 0, list[str]()
    guard, over = threading.Lock(), threading.Event()

    def work(_: int) -> None:
        nonlocal inside, most
        ready.wait()
        try:
            with only_writer(folder):
                with guard:
                    inside += 1
                    most = max(most, inside)
                over.wait(20)
                with guard:
                    inside -= 1
        except ValueError as error:
            with guard:
                refused.append(str(error))
                if len(refused) == RACERS - 1:
                    over.set()

    with ThreadPoolExecutor(RACERS) as pool:
        list(pool.map(work, range(RACERS)))
    return most, refused


def _leave_lock(folder: Folder, **changes: Any) -> None:
    """A lock as a process on another host leaves it."""
    holder = {"host": "elsewhere", "pid": 1, "id": "0" * 32, "name": "run", "job": None, **changes}
    folder.write_json(LOCK, holder)


@pytest.mark.parametrize("storage", ["disk", "slow_store"])
@pytest.mark.parametrize("before", ["nobody", "a dead process"])
def test_of_writers_that_start_at_once_exactly_one_continues(storage, before, request, monkeypatch):
    folder: Folder = request.getfixturevalue(storage)
    monkeypatch.setattr(lock, "SETTLE_S", 0.05)
    for _ in range(2):
        if before == "a dead process":
            _leave_lock(folder, host=socket.gethostname(), pid=2**22 + 1)
        most, refused = _race(folder)
        assert most == 1
        assert len(refused) == RACERS - 1
        assert folder.names() == [], "no lock and no claim is left"


def test_a_write_that_arrives_late_takes_no_lock_from_another_writer(slow_store, monkeypatch):
    monkeypatch.setattr(SlowStore, "delay_s", 0.0)
    slow, late = SlowStore(skip_instance_cache=True), list[str]()
    slow.next_write_s = 2.0

    def start_slowly() -> None:
        try:
            with only_writer(_folder(slow)):
                late.append("continues")
        except ValueError as error:
            late.append(str(error))

    thread = threading.Thread(target=start_slowly)
    thread.start()
    while slow.next_write_s:  # until it has seen that nobody holds the lock, and writes
        time.sleep(0.01)
    with only_writer(slow_store):
        thread.join()
    assert len(late) == 1
    assert "another run started at the same time; it continues, this one stops" in late[0]


@pytest.mark.parametrize("ahead_s", [HOUR_S, -HOUR_S])
def test_clocks_that_differ_make_no_live_lock_stale(slow_store, monkeypatch, ahead_s):
    monkeypatch.setattr(SlowStore, "clock_ahead_s", ahead_s)
    _leave_lock(slow_store)
    assert is_locked(slow_store)
    with (
        pytest.raises(ValueError, match=r"is being written by process 1 on elsewhere"),
        only_writer(slow_store),
    ):
        pass


def _age(folder: Folder, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(Path(folder.path) / LOCK, (then, then))


@pytest.mark.parametrize("text", ["", "{", "7", '{"id": "x"}'])
def test_a_damaged_lock_holds_until_it_is_stale(disk, text):
    disk.write_text(LOCK, text)
    assert is_locked(disk)
    _age(disk, lock.STALE_S + 1)
    assert not is_locked(disk)
    with only_writer(disk):
        assert is_locked(disk)


def test_a_lock_of_another_host_is_stale_after_a_minute_without_a_heartbeat(disk):
    _leave_lock(disk)
    _age(disk, lock.STALE_S - 5)
    assert is_locked(disk)
    _age(disk, lock.STALE_S + 5)
    assert not is_locked(disk)


def test_the_heartbeat_keeps_a_lock_fresh(disk, monkeypatch):
    monkeypatch.setattr(lock, "REFRESH_S", 0.05)
    with only_writer(disk):
        _age(disk, HOUR_S)
        deadline = time.monotonic() + 20
        while not is_locked(disk):
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.fixture
def lost(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The reasons for which this process was told to end. Its heartbeats are fast."""
    reasons = list[str]()
    monkeypatch.setattr(lock, "REFRESH_S", 0.05)
    monkeypatch.setattr(lock, "_ENDS", [])
    end_if_superseded(reasons.append)
    return reasons


def _wait_for(lost: list[str]) -> str:
    deadline = time.monotonic() + 20
    while not lost:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return lost[0]


def test_a_writer_is_told_to_end_once_if_another_process_takes_over_its_folders(disk, lost):
    other = disk.child("other").create()
    with only_writer(disk), only_writer(other):
        disk.write_text(LOCK, "{")  # a damaged lock is nobody's
        time.sleep(0.5)
        assert not lost
        for folder in (disk, other):
            _leave_lock(folder)
        reason = _wait_for(lost)
        time.sleep(0.5)
    assert "process 1 on elsewhere took over, because this one did not refresh its lock" in reason
    assert len(lost) == 1
    assert disk.read_json(LOCK)["host"] == other.read_json(LOCK)["host"] == "elsewhere", "their locks stay"


def test_a_writer_is_told_to_end_if_the_process_that_took_over_has_finished(disk, lost):
    with only_writer(disk):
        disk.delete(LOCK)
        assert "another process took over" in _wait_for(lost)
    assert LOCK not in disk.names(), "it does not lock a folder again that another process has made"


def test_a_lock_that_is_put_back_at_once_was_not_lost(disk, lost, monkeypatch):
    monkeypatch.setattr(lock, "REFRESH_S", 0.5)
    with only_writer(disk):
        text = disk.read_text(LOCK)
        disk.delete(LOCK)
        time.sleep(0.3)
        disk.write_text(LOCK, text)
        time.sleep(1.5)
        assert not lost
        assert is_locked(disk)


def test_a_claim_that_a_dead_process_left_is_removed(slow_store, monkeypatch):
    monkeypatch.setattr(SlowStore, "delay_s", 0.0)
    slow_store.write_json(f"{lock.CLAIM}{'1' * 32}", {})
    (old,) = [file for name, file in SlowStore.store.items() if lock.CLAIM in name]
    old.created = datetime.fromtimestamp(time.time() - HOUR_S, UTC)
    with only_writer(slow_store):
        assert slow_store.names() == [LOCK]


def test_files_of_the_lock_are_not_foreign_and_stay_when_an_artifact_is_begun(disk):
    disk.write_text(f"{lock.CLAIM}{'1' * 32}", "")
    with only_writer(disk):
        begin(disk, {"stage": "cwt"})
        assert LOCK in disk.names()
        assert json.loads(disk.read_text("config.json")) == {"stage": "cwt"}
