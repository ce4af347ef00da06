"""Starts real model servers for tests: `transformers serve` and llama.cpp's."""

import re
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
    with _running([*words, "--device", "cpu"], folder.with_name(f"{folder.name}.log")) as process:
        _wait_for(f"http://127.0.0.1:{port}/health", process)
        yield f"http://127.0.0.1:{port}/v1"


@contextmanager
def served_by_llama_cpp(model: Path) -> Iterator[str]:
    """URL of llama.cpp's server with a GGUF model. Its log is written next to the file."""
    log = model.with_suffix(".log")
    with _running([sys.executable, "-m", "tests.llama_cpp", str(model)], log) as process:
        while not (found := re.search(r"^address (http\S+)$", log.read_text(), re.MULTILINE)):
            assert process.poll() is None, log.read_text()
            time.sleep(0.2)
        yield f"{found[1]}/v1"


@contextmanager
def _running(words: list[str], log_file: Path) -> Iterator[subprocess.Popen[bytes]]:
    with open(log_file, "w") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        assert process.poll() is None, "the server ended; see its log"
        try:
            urlopen(url, timeout=1).close()
            return
        except URLError:
            time.sleep(0.2)
