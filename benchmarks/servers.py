"""A real MLflow server on loopback, for benchmarks and tests."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

START_S = 120.0
"""How long the server may take to answer on a busy machine."""


def free_ports(number: int) -> list[int]:
    """Ports of loopback that nothing listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@contextmanager
def mlflow_server(folder: Path, port: int) -> Iterator[str]:
    """URI of a server with its database (server.db), artifacts and log in a folder. The block ends it."""
    uri = f"http://127.0.0.1:{port}"
    words = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1"]
    words += ["--port", str(port), "--backend-store-uri", f"sqlite:///{folder}/server.db"]
    words += ["--artifacts-destination", str(folder / "server-artifacts")]
    with open(folder / "server.log", "ab") as log:
        server = subprocess.Popen(words, stdout=log, stderr=log, start_new_session=True)
    try:
        _wait_for(uri, server)
        yield uri
    finally:
        workers = psutil.Process(server.pid).children(recursive=True) if server.poll() is None else []
        with suppress(ProcessLookupError):  # it may not have started
            os.killpg(server.pid, signal.SIGKILL)  # on SIGTERM it waits for its clients
        server.wait()
        psutil.wait_procs(workers, timeout=10)  # until then, the port is in use


def _wait_for(uri: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and server.poll() is None:
        try:
            urllib.request.urlopen(f"{uri}/health", timeout=2).close()
            return
        except OSError:
            time.sleep(0.5)
    raise RuntimeError(f"the MLflow server at {uri} did not start")
