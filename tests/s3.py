"""An S3 server: moto's, in an environment of its own, because its requirements are not the project's."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from filelock import FileLock

from tests.processes import start

VERSION = "5.2.5"
BUCKET = "bucket"
LOGIN = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}


def moto_server(cache: pytest.Cache) -> str:
    """Path of the program, installed once into pytest's cache. Skips the test if that is not possible.

    The environment variable SKIPTHINK_MOTO_SERVER names an installed one.
    """
    if named := os.environ.get("SKIPTHINK_MOTO_SERVER"):
        return named
    folder = cache.mkdir(f"moto-{VERSION}")
    program, install = folder / "bin/moto_server", [str(folder / "bin/pip"), "install", "--quiet"]
    with FileLock(f"{folder}.lock"):
        if not (folder / "installed").exists():
            shutil.rmtree(folder)
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=120)
            words = [*install, "--disable-pip-version-check", f"moto[server]=={VERSION}"]
            done = subprocess.run(words, capture_output=True, text=True, timeout=300)
            if done.returncode:
                pytest.skip(f"cannot install moto's S3 server: {done.stderr.strip()[-300:]}")
            (folder / "installed").touch()
    return str(program)


@contextmanager
def s3_server(program: str, log: Path, host: str, port: int) -> Iterator[str]:
    """The URL of a running server with one empty bucket. Its content is gone at the end of the block."""
    server = start(log, {**os.environ}, program, "-H", host, "-p", str(port))
    url = f"http://{host}:{port}"
    try:
        _make_bucket(url)
        yield url
    finally:
        os.killpg(server.process.pid, signal.SIGTERM)
        server.end()


def _make_bucket(url: str) -> None:
    for _ in range(300):
        try:
            urlopen(Request(f"{url}/{BUCKET}", method="PUT"), timeout=5).close()
            return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"the S3 server at {url} did not start")


def address(url: str, folder: str) -> str:
    """The folder's URI, as a user writes it."""
    return f"s3://{BUCKET}/{folder}?endpoint_override={url.partition('://')[2]}&scheme=http"
