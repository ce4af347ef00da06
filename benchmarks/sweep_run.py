"""Runs sweeps of toy MultiArith with an MLflow server, and disturbs them while a trial trains."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import psutil
import yaml

from benchmarks.reliability_nodes import two_nodes
from benchmarks.reliability_run import end, victims
from benchmarks.servers import free_ports, mlflow_server

OUTAGE_S, LIMIT_S = 60.0, 1800.0
DIVERGES = 1e6
RATES = {"draw": {"cwt.optim.lr": {"choice": [0.005, 0.003, DIVERGES]}}, "search": {"kind": "grid"}}
HOPELESS = {
    "draw": {"cwt.optim.lr": {"choice": [0.005, 1e-9, 2e-9, 0.004]}},
    "search": {"kind": "grid"},
    "stop": {"at_shares": [0.1], "slack": 1.2},
}
OPTIONS = "--preset tiny --tasks multiarith --updates 400 --cluster.checkpoint-every-s 1".split()
PORT_FILE = "port"


def prepare(storage: Path) -> None:
    """An empty folder with the space and the port of the sweep's MLflow server."""
    shutil.rmtree(storage, ignore_errors=True)
    storage.mkdir()
    (storage / PORT_FILE).write_text(str(free_ports(1)[0]))


def uri_of(storage: Path) -> str:
    return f"http://127.0.0.1:{(storage / PORT_FILE).read_text()}"


def _server(storage: Path) -> AbstractContextManager[str]:
    return mlflow_server(storage, int((storage / PORT_FILE).read_text()))


def start(storage: Path, space: dict[str, Any], *options: str) -> subprocess.Popen[bytes]:
    """Start the sweep, or continue it. What it prints is appended to screen.txt."""
    (storage / "rates.yaml").write_text(yaml.safe_dump(space))
    words = [sys.executable, "-m", "skipthink_ray.cli", "tune", str(storage / "rates.yaml"), *OPTIONS]
    words += ["--storage-path", str(storage), "--tracking.uri", uri_of(storage), *options]
    with open(storage / "screen.txt", "ab") as screen:
        return subprocess.Popen(words, stdout=screen, stderr=screen)


def run_quietly(storage: Path) -> None:
    with _server(storage):
        code = start(storage, RATES).wait(LIMIT_S)
    if code != 1:  # the trial that diverges
        raise RuntimeError(f"the undisturbed sweep exited with {code}; see {storage / 'screen.txt'}")


def disturb(storage: Path, kind: str) -> dict[str, Any]:
    """Run a sweep and disturb it. Returns the exit codes of its processes, and the number of its trials."""
    codes = {"killed": _killed, "outage": _outage, "early": _early}[kind](storage)
    trials = [*storage.glob("sweeps/*/trials/*.json")]
    return {"exit_codes": codes, "trials": len(trials)}


def _checkpoints(storage: Path) -> set[Path]:
    return {*storage.glob("artifacts/cwt/*/checkpoints/checkpoint_*/state.json")}


def _killed(storage: Path) -> list[int]:
    with _server(storage):
        first = start(storage, RATES)
        _wait(lambda: bool(_checkpoints(storage)))
        end(psutil.Process(first.pid), with_children=True)
        first.wait()
        known, second = _checkpoints(storage), start(storage, RATES)
        tree = psutil.Process(second.pid)
        _wait(lambda: bool(_checkpoints(storage) - known and victims("worker", tree)))
        end(victims("worker", tree)[0], with_children=False)
        return [first.wait(), second.wait(LIMIT_S)]


def _outage(storage: Path) -> list[int]:
    with _server(storage):
        sweep = start(storage, RATES)
        _wait(lambda: bool(_checkpoints(storage)))
    time.sleep(OUTAGE_S)
    running = sweep.poll() is None
    with _server(storage):
        code = sweep.wait(LIMIT_S)
    if not running:
        raise RuntimeError("the sweep ended during the outage")
    return [code]


def _early(storage: Path) -> list[int]:
    """On a cluster that outlives the sweep, to see what the sweep leaves there."""
    with two_nodes(storage, is_needed=True) as nodes:
        assert nodes.address
        with _server(storage):
            code = start(storage, HOPELESS, "--cluster.address", nodes.address).wait(LIMIT_S)
        look = [sys.executable, "-m", "benchmarks.sweep_left", nodes.address]
        left = subprocess.run(look, check=True, stdout=subprocess.PIPE, text=True).stdout
        (storage / "left.json").write_text(left.splitlines()[-1])
    return [code]


def _wait(event: Callable[[], bool], limit_s: float = 600.0) -> None:
    deadline = time.monotonic() + limit_s
    while not event():
        if time.monotonic() > deadline:
            raise TimeoutError(f"nothing happened within {limit_s:.0f} s")
        time.sleep(0.1)
