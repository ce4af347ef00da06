"""SIGKILL for the driver while it trains and while actors work.

The same command resumes and ends with the same artifacts.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.dataset as dataset
import pytest
from safetensors.torch import load_file

from tests.commands import stages_command
from tests.conftest import ROOT

STAGES = ("rationales", "samples", "base", "cwt", "skips", "stt", "evaluation", "report")
TRAINING = ("base", "cwt", "stt")
KILLED = ("cwt", "skips")
"""A run trains base beside cwt, so one kill hits both; stt trains as they do, and evaluation runs on actors
as skips does. tests/test_teacher.py kills in rationales."""
MADE = {"run": STAGES, "some stages": ("rationales", "samples", "cwt", "skips")}
"""The stages that are made, by `skipthink run` or by their own commands."""
OPTIONS = (
    "--rationales.train-questions 240 --rationales.test-questions 24 --cluster.num-workers 1 "
    "--cluster.backend ddp --cluster.num-actors 1 --student.width 32 --student.layers 1 "
    "--base.batch-size 16 --cwt.batch-size 16 --cwt.epochs 3 --stt.batch-size 16 "
    "--cwt.optim.lr 3e-3 --base.optim.lr 3e-3 --stt.optim.lr 3e-3 "
    "--evaluation.latency-questions 3 --evaluation.bootstrap-samples 50 --evaluation.max-new-tokens 48"
).split()


def _words(command: str, storage: Path) -> list[str]:
    options = ["--name", "run", *OPTIONS]
    if command != "run":
        return stages_command(storage, options, *MADE[command])
    return [sys.executable, "-m", "skipthink_ray.cli", "run", "--storage-path", str(storage), *options]


def _finish(command: str, storage: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(_words(command, storage), cwd=ROOT, capture_output=True, text=True, timeout=1500)


def _kill_in(stage: str, command: str, storage: Path) -> None:
    """Start the command and kill its driver during `stage`; in training, after it wrote a checkpoint."""
    folder = storage / "run" / stage
    known = _checkpoints(folder)
    driver = subprocess.Popen(
        _words(command, storage), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 600  # a busy machine
    try:
        while not _is_under_way(stage, MADE[command], folder, known):
            assert driver.poll() is None, f"the run ended before {stage} could be killed"
            assert time.monotonic() < deadline, f"{stage} did not start"
            time.sleep(0.05)
    finally:  # a driver that is left running would slow down all later tests
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    assert not (folder / "_DONE").exists(), f"{stage} was finished before the kill"


def _checkpoints(folder: Path) -> set[Path]:
    return {*folder.glob("checkpoints/checkpoint_*/state.json")}


def _is_under_way(stage: str, stages: tuple[str, ...], folder: Path, known: set[Path]) -> bool:
    base = folder.parent / "base"
    if stage == "cwt" and "base" in stages and not (_checkpoints(base) or (base / "_DONE").exists()):
        return False
    if stage in TRAINING:
        return bool(_checkpoints(folder) - known)
    return (folder / "config.json").exists()


def _table(folder: Path, name: str, columns: list[str] | None = None):
    return dataset.dataset(folder / name, format="parquet").to_table(columns=columns)


def _answers(run: Path):
    table = _table(run / "evaluation", "answers", ["row", "mode", "text", "right", "tokens"])
    return table.sort_by([("row", "ascending"), ("mode", "ascending")])


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("command", ["some stages", pytest.param("run", marks=pytest.mark.long)])
def test_a_run_killed_in_two_stages_ends_with_the_artifacts_of_an_undisturbed_one(tmp_path, command):
    calm, killed, stages = tmp_path / "calm", tmp_path / "killed with späces", MADE[command]
    assert _finish(command, calm).returncode == 0
    finished: dict[str, float] = {}
    for stage in KILLED:
        _kill_in(stage, command, killed)
        for done in finished:
            assert os.path.getmtime(killed / "run" / done / "_DONE") == finished[done], (
                f"{done} was made again"
            )
        finished = {
            done: os.path.getmtime(file)
            for done in stages
            if (file := killed / "run" / done / "_DONE").exists()
        }
    last = _finish(command, killed)
    assert last.returncode == 0, last.stdout + last.stderr
    for stage in {*TRAINING} & {*stages}:
        one, other = (folder / "run" / stage for folder in (calm, killed))
        assert _table(one, "history").equals(_table(other, "history")), stage
        weights, again = (load_file(folder / "student" / "model.safetensors") for folder in (one, other))
        assert all(weights[name].equal(again[name]) for name in weights), stage
    one, other = calm / "run", killed / "run"
    assert _table(one / "cwt", "samples").equals(_table(other / "cwt", "samples"))
    skips = [_table(folder / "skips", "skips").sort_by("row") for folder in (one, other)]
    assert skips[0].equals(skips[1])
    if command == "run":
        assert _answers(one).equals(_answers(other))
        _assert_one_tracked_run(killed)
        _assert_a_finished_run_is_a_no_op(killed)


def _assert_one_tracked_run(storage: Path) -> None:
    """MLflow has one parent run, one child per stage, and no duplicate loss steps."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{storage}/mlflow.db")
    experiment = client.get_experiment_by_name("skipthink")
    assert experiment
    runs = client.search_runs([experiment.experiment_id])
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parents[0].info.run_id]
    assert len(parents) == 1
    assert sorted(run.info.run_name for run in children) == sorted(STAGES)
    assert {run.info.status for run in runs} == {"FINISHED"}
    for stage in TRAINING:
        child = next(run for run in children if run.info.run_name == stage)
        steps = sorted(
            metric.step for metric in client.get_metric_history(child.info.run_id, f"{stage}/loss_nats")
        )
        assert steps == list(range(len(steps)))
        assert len(steps) == json.loads((storage / "run" / stage / "summary.json").read_text())["updates"]
        epochs = json.loads((storage / "run" / stage / "epochs.json").read_text())
        ends = sorted(
            metric.step for metric in client.get_metric_history(child.info.run_id, f"{stage}/items")
        )
        assert len(ends) == len({*ends}) == len(epochs)
        assert ends[-1] == steps[-1]


def _assert_a_finished_run_is_a_no_op(storage: Path) -> None:
    before = {
        file: file.stat().st_mtime_ns
        for file in (storage / "run").rglob("*")
        if file.is_file() and file.suffix != ".log"
    }
    started = time.monotonic()
    again = _finish("run", storage)
    assert again.returncode == 0
    assert "Nothing to do" in again.stdout
    assert time.monotonic() - started < 15
    assert before == {file: file.stat().st_mtime_ns for file in before}
