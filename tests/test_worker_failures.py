"""Killed workers: training goes on from checkpoints inside its only epoch.

A killed progress actor loses no step.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pyarrow.dataset as dataset
import pytest
from mlflow import MlflowClient
from safetensors.torch import load_file

from tests.commands import run_stages
from tests.conftest import ROOT

OPTIONS = (
    "--name run --rationales.train-questions 160 --rationales.test-questions 8 --student.width 32 "
    "--student.heads 2 --student.layers 1 --cwt.batch-size 2 --cwt.epochs 1 --cluster.num-workers 1 "
    "--cluster.num-actors 1 --cluster.backend ddp --cluster.micro-batch-tokens 1"
).split()
FAILURES = 2
MAX_FAILURES = 1
"""Fewer than FAILURES: only failures in a row without a new checkpoint count."""


def _checkpoints(storage: Path) -> set[Path]:
    return {*storage.glob("run/cwt/checkpoints/checkpoint_*/state.json")}


def _kill(driver: psutil.Process, actor: str) -> None:
    """SIGKILL for the process of an actor, which Ray names in its title."""
    (process,) = [one for one in driver.children(recursive=True) if actor in _title(one)]
    os.kill(process.pid, signal.SIGKILL)


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _tracked_steps(storage: Path) -> list[int]:
    client = MlflowClient(f"sqlite:///{storage}/mlflow.db")
    (run,) = client.search_runs(["1"], "attributes.run_name = 'cwt'")
    assert run.info.status == "FINISHED"
    return [metric.step for metric in client.get_metric_history(run.info.run_id, "cwt/loss_nats")]


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_workers_killed_in_an_epoch_repeat_little_and_end_with_the_same_student(tmp_path: Path):
    killed, calm = tmp_path / "killed", tmp_path / "calm"
    command = [sys.executable, "-m", "skipthink_ray.cli", "cwt", "--storage-path", str(killed), *OPTIONS]
    options = ("--cluster.checkpoint-every-s", "1", "--cluster.max-failures", str(MAX_FAILURES))
    run_stages(calm, OPTIONS, "rationales", "samples", "cwt")
    for stage in ("rationales", "samples"):
        shutil.copytree(calm / "artifacts" / stage, killed / "artifacts" / stage)
    run = subprocess.Popen([*command, *options], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        for _ in range(FAILURES):
            known, deadline = _checkpoints(killed), time.monotonic() + 300
            while not _checkpoints(killed) - known:
                assert run.poll() is None, run.communicate()[0]
                assert time.monotonic() < deadline, "no checkpoint within the epoch"
                time.sleep(0.05)
            _kill(psutil.Process(run.pid), "RayTrainWorker")
            _kill(psutil.Process(run.pid), "_Boards")
        printed = run.communicate(timeout=600)[0]
    finally:
        run.kill()
    assert run.returncode == 0, printed
    assert " ".join(printed.split()).count("training goes on from its last checkpoint") == FAILURES, printed

    one, other = (
        dataset.dataset(storage / "run/cwt/history", format="parquet").to_table().to_pydict()
        for storage in (killed, calm)
    )
    assert one == other
    assert sorted(_tracked_steps(killed)) == one["update"]
    summary = json.loads((killed / "run/cwt/summary.json").read_text())
    assert summary["padding_share"] == 0, "with one token per micro-batch, each has one item"
    weights, again = (load_file(s / "run/cwt/student/model.safetensors") for s in (killed, calm))
    assert all(weights[name].equal(again[name]) for name in weights)
