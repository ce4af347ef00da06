"""Starts `transformers serve` for tests."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """URL of `transformers serve` with the model of a folder. Its log is written next to the folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [
        str(Path(sys.executable).with_name("transformers")),
        "serve",
        str(folder),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    log_file = folder.with_name(f"{folder.name}.log")
    with open(log_file, "w") as log:
        server = subprocess.Popen([*words, "--device", "cpu"], stdout=log, stderr=log)
    try:
        for _ in range(600):
            assert server.poll() is None, log_file.read_text()
            try:
                urlopen(f"http://127.0.0.1:{port}/health", timeout=1).close()
                break
            except URLError:
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.wait()
