"""Jobs on a real cluster with its dashboard, and a local run that trains beside it."""

import json
import os
import secrets
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

import pytest

from benchmarks.servers import free_ports
from tests.processes import Started, start

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1800)]
BASE = (
    "--rationales.train-questions 24 --rationales.test-questions 8 --student.width 16 --student.heads 2 "
    "--student.layers 1 --cluster.num-workers 1 --cluster.num-actors 1 --cluster.backend ddp"
).split()
LONG, SHORT = ["--updates", "1000000"], ["--updates", "2"]
TRAINS = " updates epoch "
RAY = str(Path(sys.executable).parent / "ray")


@dataclass(frozen=True)
class Cluster:
    """A cluster that `ray start` made, and a local run that trained when it started."""

    environment: dict[str, str]
    folder: Path
    local: Started

    def start(self, name: str, *command: str) -> Started:
        return start(self.folder / f"{name}.txt", self.environment, *command)

    def submit(self, job: str, name: str, *options: str) -> Started:
        """Submit the stage base, of which all inputs are made."""
        submit = f"job submit --runtime-env runtime_env.yaml --working-dir . --submission-id {job}".split()
        entry = ["python", "-m", "jobs.base", "--storage-path", str(self.folder), "--name", name, *BASE]
        return self.start(job, RAY, *submit, "--", *entry, *options)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder, ray_folder = tmp_path_factory.mktemp("jobs"), mkdtemp(prefix="ray", dir="/tmp")
    gcs, dashboard, agent, client = free_ports(4)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "RAY_TMPDIR": ray_folder, "PYTHONUNBUFFERED": "1"}
    environment.pop("RAY_ADDRESS", None)
    (Path(ray_folder) / "ray").mkdir()
    (Path(ray_folder) / "ray/ray_current_cluster").write_text("127.0.0.1:1")  # a dead cluster
    run = [sys.executable, "-m", "skipthink_ray.cli", "run", "--storage-path", str(folder), "--name", "local"]
    options = [*LONG, "--cwt.search.method", "average", "--base.optim.lr", "1e-4"]
    local = start(folder / "local.txt", environment, *run, *BASE, *options)
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    words = (
        f"start --head --block --num-cpus 1 --port {gcs} --dashboard-port {dashboard} --disable-usage-stats "
        f"--dashboard-agent-listen-port {agent} --ray-client-server-port {client}"
    )
    head = None
    try:
        local.wait_for(TRAINS)
        for _ in range(8):  # on a busy machine, Ray gives up after 30 s
            head = start(folder / "head.txt", environment | token, RAY, *words.split())
            if head.says("Ray runtime started"):
                break
        address = {"RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{dashboard}"}
        yield Cluster(environment | token | address, folder, local)
    finally:
        for one in (local, head):
            if one and one.process.poll() is None:
                os.killpg(one.process.pid, signal.SIGTERM)
                one.end()
        rmtree(ray_folder, ignore_errors=True)


def _statuses(folder: Path, run: str, *stages: str) -> set[str]:
    """The states in MLflow of a run and of some of its stages."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiment = client.get_experiment_by_name("skipthink")
    assert experiment
    runs = client.search_runs([experiment.experiment_id])
    parents = [one.info.run_id for one in runs if one.info.run_name == run]
    children = [one for one in runs if one.data.tags.get("mlflow.parentRunId") in parents]
    assert {*stages} <= {one.info.run_name for one in children}
    return {
        one.info.status
        for one in runs
        if one.info.run_id in parents or (one in children and one.info.run_name in stages)
    }


def test_a_local_run_trains_on_beside_a_cluster_whose_jobs_wait_stop_and_continue(cluster: Cluster):
    _a_local_run_trains_on(cluster)
    _jobs_wait_for_room_name_each_other_and_continue_after_a_stop(cluster)


def _a_local_run_trains_on(cluster: Cluster) -> None:
    local = cluster.local
    local.wait_for(TRAINS, local.wait_for(TRAINS, len(local.text())) + 1)
    local.process.terminate()
    assert local.end() == 143
    assert "terminated; run the same command again to continue" in local.text()
    assert "a worker failed" not in local.text()
    assert _statuses(cluster.folder, "local", "base", "cwt") == {"KILLED"}
    assert not [*cluster.folder.rglob("_RUNNING.json")], "both stages and the run released their locks"


def _jobs_wait_for_room_name_each_other_and_continue_after_a_stop(cluster: Cluster) -> None:
    first = cluster.submit("first", "run", *LONG)
    first.wait_for(TRAINS)
    other, second = cluster.submit("other", "other", *SHORT), cluster.submit("second", "run", *LONG)
    other.wait_for("waiting for 1 CPU, 0 of 1 free: room for 0 of 1 processes; other jobs use the rest")
    assert second.end() == 1
    assert "is being written by job 'first'" in second.text()
    assert cluster.start("stop", RAY, "job", "stop", "first").end() == 0
    first.end()
    assert "terminated; submit the same job again to continue" in first.text()
    assert not (cluster.folder / "run/_RUNNING.json").exists()
    assert _statuses(cluster.folder, "run", "base") == {"KILLED"}
    saved = _updates(cluster.folder)
    assert saved
    assert other.end() == 0, other.text()
    assert f"Ray dashboard: {cluster.environment['RAY_API_SERVER_ADDRESS']}" in other.text()
    again = cluster.submit("again", "run", *LONG)
    line = again.wait_for(TRAINS)
    count = again.text()[:line].splitlines()[-1].split()[1]
    assert int(count.partition("/")[0]) >= max(saved)
    assert cluster.start("stop", RAY, "job", "stop", "again").end() == 0


def _updates(folder: Path) -> list[int]:
    """The updates at which the run's checkpoints were saved."""
    files = (folder / "run/base/checkpoints").glob("checkpoint_*/state.json")
    return [json.loads(file.read_text())["update"] for file in files]
