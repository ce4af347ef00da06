"""Processes that start at once on a real S3 server with slow and uneven answers: exactly one writes."""

import os
import random
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from benchmarks.servers import free_ports
from skipthink_ray.runtime.artifacts import LOCK, Folder
from tests.conftest import LONG
from tests.s3 import LOGIN, address, moto_server, s3_server

pytestmark = LONG
RACERS, ROUNDS, DELAY_S = 4, 5, 1.0
WRITER = """
import sys
from skipthink_ray.runtime.artifacts import Folder
from skipthink_ray.runtime.lock import only_writer

folder = Folder.open(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
try:
    with only_writer(folder):
        print("writes", flush=True)
        sys.stdin.readline()
except ValueError as error:
    print(error, flush=True)
"""


@contextmanager
def _slow(port: int) -> Iterator[int]:
    """A port that leads to `port`. Every piece of data takes up to DELAY_S seconds on its way."""
    server, delays = socket.create_server(("127.0.0.1", 0)), random.Random(0)

    def pass_on(source: socket.socket, target: socket.socket) -> None:
        while data := _received(source):
            time.sleep(delays.choice((0.0, 0.05, delays.uniform(0, DELAY_S))))
            with suppress(OSError):  # the other end is gone
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def accept() -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:  # closed at the end of the block
                return
            behind = socket.create_connection(("127.0.0.1", port))
            for pair in ((client, behind), (behind, client)):
                threading.Thread(target=pass_on, args=pair, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield server.getsockname()[1]
    finally:
        server.close()


def _received(source: socket.socket) -> bytes:
    try:
        return source.recv(1 << 16)
    except OSError:
        return b""


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    assert select.select([process.stdout], [], [], 600)[0], "no answer for ten minutes"
    return process.stdout.readline().strip()


def _race(uri: str) -> list[str]:
    """What each of several processes says that want to write the folder at the same time."""
    command = [sys.executable, "-c", WRITER, uri]
    racers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(RACERS)
    ]
    try:
        for racer in racers:
            assert _line(racer) == "ready"
        _press_enter(racers)
        said = [_line(racer) for racer in racers]
        _press_enter([racer for racer, words in zip(racers, said, strict=True) if words == "writes"])
        assert [racer.wait(60) for racer in racers] == [0] * RACERS
        return said
    finally:
        for racer in racers:
            racer.kill()


def _press_enter(racers: list[subprocess.Popen[str]]) -> None:
    for racer in racers:
        assert racer.stdin
        racer.stdin.write("\n")
        racer.stdin.flush()


def test_exactly_one_of_several_processes_writes_a_folder_of_a_slow_s3_server(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    assert request.config.cache
    program = moto_server(request.config.cache)
    for name, value in LOGIN.items():
        monkeypatch.setitem(os.environ, name, value)
    (port,) = free_ports(1)
    with s3_server(program, tmp_path / "s3.txt", "127.0.0.1", port), _slow(port) as slow_port:
        for number in range(ROUNDS):
            uri = address(f"http://127.0.0.1:{slow_port}", f"runs/{number}")
            folder = Folder.open(uri)
            if number % 2:  # a dead process of this host left its lock
                dead = {"host": socket.gethostname(), "pid": 2**22 + 1, "id": "0" * 32}
                folder.write_json(LOCK, {**dead, "name": "run", "job": None})
            said = _race(uri)
            assert said.count("writes") == 1, said
            others = [words for words in said if words != "writes"]
            assert all("another run started" in words or "is being written" in words for words in others)
            assert folder.names() == [], "no lock and no claim is left"
