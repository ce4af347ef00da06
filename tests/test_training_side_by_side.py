"""base and cwt train at the same time on two CPUs, with the results of one after the other.

What ends such a run: Ctrl-C, and a failure of one of the two. SIGTERM is in tests/test_jobs.py.
"""

import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow.dataset as dataset
import pytest
from mlflow import MlflowClient
from safetensors.torch import load_file

from tests.commands import run_stages
from tests.conftest import ROOT, made_once

OPTIONS = (
    "--name run --rationales.train-questions 120 --rationales.test-questions 8 --student.width 16 "
    "--student.heads 2 --student.layers 1 --cwt.epochs 12 --cluster.num-workers 1 --cluster.num-actors 1 "
    "--cluster.backend ddp --evaluation.latency-questions 2 --evaluation.max-new-tokens 8 --report.samples 2"
).split()
PAIR = ("base", "cwt")
ONLY_PAIR = f"""
import sys
from skipthink_ray import cli
from skipthink_ray.settings import load_config

sys.exit(cli._run_pipeline(load_config("default", None, sys.argv[1:]), "a test", {PAIR}))
"""
RUN = ("-m", "skipthink_ray.cli", "run")
START_S = 900.0
"""How long the first checkpoint may take on a busy machine."""
pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storage path with the artifacts of rationales and samples, one for all processes of the tests."""
    options = [*OPTIONS, "--tracking.backend", "off"]
    return made_once(
        tmp_path_factory, "prepared", lambda storage: run_stages(storage, options, "rationales", "samples")
    )


def _copy(prepared: Path, storage: Path) -> Path:
    shutil.copytree(prepared / "artifacts", storage / "artifacts")
    return storage


@contextmanager
def _run(storage: Path, *options: str, program: Sequence[str] = RUN) -> Iterator[subprocess.Popen[str]]:
    """A run, killed if it is still there at the end of the block."""
    command = [sys.executable, *program, "--storage-path", str(storage), *OPTIONS]
    run = subprocess.Popen(
        [*command, *options],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.SIG_DFL
        ),  # a shell's background job ignores it
    )
    try:
        yield run
    finally:
        run.kill()


def _wait_for_checkpoints(storage: Path, run: subprocess.Popen[str], stages: Sequence[str]) -> None:
    """Return when all these stages have a checkpoint. Fails if one is finished before."""
    deadline = time.monotonic() + START_S
    while not all(any(storage.glob(f"run/{stage}/checkpoints/checkpoint_*/state.json")) for stage in stages):
        assert run.poll() is None, run.communicate()[0]
        assert time.monotonic() < deadline, f"{', '.join(stages)} did not train at the same time"
        time.sleep(0.05)
    assert not any((storage / "run" / stage / "_DONE").exists() for stage in stages)


def _statuses(storage: Path) -> dict[str | None, str]:
    """The status of each tracked run by name."""
    client = MlflowClient(f"sqlite:///{storage}/mlflow.db")
    experiment = client.get_experiment_by_name("skipthink")
    assert experiment
    return {run.info.run_name: run.info.status for run in client.search_runs([experiment.experiment_id])}


def _locks(storage: Path) -> Iterator[Path]:
    return storage.rglob("_RUNNING.json")


def test_a_pair_that_ctrl_c_ended_goes_on_and_ends_with_the_results_of_one_after_the_other(
    prepared, tmp_path
):
    together, one_by_one = _copy(prepared, tmp_path / "together"), _copy(prepared, tmp_path / "one by one")
    with _run(together) as run:
        _wait_for_checkpoints(together, run, PAIR)
        run.send_signal(signal.SIGINT)
        printed = run.communicate(timeout=300)[0]
    assert run.returncode == 130, printed
    assert _statuses(together) == dict.fromkeys(("run", *PAIR), "KILLED")
    assert not list(_locks(together))

    with _run(together, program=("-c", ONLY_PAIR)) as again:  # the other stages are not of interest
        printed = again.communicate(timeout=1500)[0]
    assert again.returncode == 0, printed
    assert set(_statuses(together).values()) == {"FINISHED"}
    run_stages(one_by_one, [*OPTIONS, "--tracking.backend", "off"], *PAIR)
    for stage in PAIR:
        one, other = (storage / "run" / stage for storage in (together, one_by_one))
        histories = [
            dataset.dataset(folder / "history", format="parquet").to_table() for folder in (one, other)
        ]
        assert histories[0].equals(histories[1]), stage
        weights, same = (load_file(folder / "student" / "model.safetensors") for folder in (one, other))
        assert all(weights[name].equal(same[name]) for name in weights), stage


def test_a_failure_of_one_ends_the_other_and_keeps_its_checkpoints(prepared, tmp_path):
    """base ends before cwt. It cannot write its folder `history`, because a file has that name."""
    storage = _copy(prepared, tmp_path / "storage")
    epochs = ("--match", "epochs", "--base.epochs", "60", "--cwt.epochs", "30")
    with _run(storage, *epochs, "--cluster.max-failures", "0") as run:
        _wait_for_checkpoints(storage, run, ["base"])
        (storage / "run" / "base" / "history").touch()
        printed = run.communicate(timeout=900)[0]
    assert run.returncode == 1, printed
    assert re.search(r"skipthink: failed: base failed: .*history", " ".join(printed.split())), printed
    assert "skips" not in printed
    assert _statuses(storage) == {"run": "FAILED", "base": "FAILED", "cwt": "KILLED"}
    assert any(storage.glob("run/cwt/checkpoints/checkpoint_*/state.json"))
    assert not list(_locks(storage))
