"""Jobs on a real cluster of three nodes with addresses of their own, and storage on an S3 server.

The head has no CPU for work, so the two ranks of a training run lie on different nodes.
"""

import os
import secrets
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from skipthink_ray.runtime.artifacts import Folder
from tests.conftest import LONG
from tests.machines import DISK, Machine, Network, network
from tests.processes import Started, start
from tests.s3 import LOGIN, address, moto_server, s3_server

pytestmark = LONG
OPTIONS = (
    "--preset tiny --task strategy_qa --updates 200 --cluster.num-workers 2 --cluster.num-actors 2 "
    "--rationales.train-questions 120 --report.samples 4 --tracking.backend off"
).split()
RAY = str(Path(sys.executable).parent / "ray")
SETTINGS = {"RAY_AUTH_MODE": "token", "RAY_TMPDIR": "/tmp", "RAY_worker_niceness": "0", **LOGIN}
STORE_BYTES, PORT = 200_000_000, 5000


@dataclass(frozen=True)
class Cluster:
    """Three nodes, and the S3 server that they reach."""

    environment: dict[str, str]
    machines: list[Machine]
    s3: str
    folder: Path

    def submit(self, job: str, storage: str, *options: str) -> Started:
        """Submit the whole pipeline, from outside of the three machines."""
        api = {"RAY_API_SERVER_ADDRESS": f"http://{self.machines[0].address}:8265"}
        words = f"job submit --runtime-env runtime_env.yaml --working-dir . --submission-id {job} --".split()
        entry = ["python", "-m", "jobs.pipeline", "--storage-path", storage, *options]
        return start(self.folder / f"{job}.txt", self.environment | api, RAY, *words, *entry)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("nodes")
    program = moto_server(request.config.cache)  # type: ignore[arg-type]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, **SETTINGS, "PATH": path, "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    environment.pop("RAY_ADDRESS", None)
    with network(folder, 3) as net, s3_server(program, folder / "s3.log", net.address, PORT) as url:
        _start_nodes(net, environment)
        yield Cluster(environment, net.machines, url, folder)


def _start_nodes(net: Network, environment: dict[str, str]) -> None:
    head, *others = net.machines
    here = f"--head --num-cpus 0 --dashboard-host {head.address} --disable-usage-stats"
    _start_node(head, environment, here)
    for one in others:
        _start_node(one, environment, f"--address {head.address}:6379 --num-cpus 1")


def _start_node(machine: Machine, environment: dict[str, str], words: str) -> None:
    more = f"--block --object-store-memory {STORE_BYTES} --node-ip-address {machine.address}"
    for _ in range(3):  # on a busy machine, Ray gives up after 30 s
        node = machine.start("node.log", environment, RAY, "start", *words.split(), *more.split())
        if node.says("Ray runtime started"):
            return
        machine.kill()
    raise AssertionError(node.text())


def _start_here(folder: Path) -> Started:
    """Start a run on one node, this machine."""
    command = [sys.executable, "-m", "skipthink_ray.cli", "run", "--storage-path", str(folder), *OPTIONS]
    return start(folder.with_suffix(".txt"), {**os.environ, "RAY_worker_niceness": "0"}, *command)


def _rows(storage: Folder, stage: str, name: str, *columns: str) -> list[dict[str, Any]]:
    """Rows of a stage's table, in their order."""
    digest = storage.read_json("tiny/run.json")["artifacts"][stage]
    table = storage.child(f"artifacts/{stage}/{digest}").table(name)
    return table.to_table(columns=[*columns] or None).sort_by("row").to_pylist()


def test_jobs_on_three_nodes(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name, value in LOGIN.items():
        monkeypatch.setenv(name, value)
    _storage_that_is_not_shared_is_refused(cluster)
    _a_wrong_option_fails_with_its_reason_last(cluster)
    _a_run_on_s3_equals_one_on_one_node(cluster, tmp_path / "here")


def _storage_that_is_not_shared_is_refused(cluster: Cluster) -> None:
    started = time.monotonic()
    job = cluster.submit("private", f"{DISK}/runs", *OPTIONS)
    assert job.end() == 1
    assert time.monotonic() - started < 60
    said = job.text()
    assert f"2 of 3 nodes cannot work on {DISK}/runs" in said
    assert all(f"node {one.address} ({one.name})" in said for one in cluster.machines[1:])
    assert "exit code 2" in said


def _a_wrong_option_fails_with_its_reason_last(cluster: Cluster) -> None:
    job = cluster.submit("wrong", address(cluster.s3, "runs"), *OPTIONS, "--cwt.batch-size", "0")
    assert job.end() == 1
    last = job.text().splitlines()[-8:]
    assert any("cwt.batch_size" in line for line in last), job.text()
    assert any("Job 'wrong' failed" in line for line in last), job.text()


def _a_run_on_s3_equals_one_on_one_node(cluster: Cluster, folder: Path) -> None:
    before = [one.files() for one in cluster.machines]
    job = cluster.submit("run", address(cluster.s3, "runs"), *OPTIONS)
    assert job.end() == 0, job.text()
    on_one_node = _start_here(folder)
    assert on_one_node.end() == 0, on_one_node.text()
    assert [one.files() for one in cluster.machines] == before
    stored, here = Folder.open(address(cluster.s3, "runs")), Folder.open(str(folder))
    (log,) = [name for name in stored.child("tiny").names() if name.endswith(".log")]
    assert stored.child("tiny").read_text(log)
    report = stored.child("tiny/report").child("report.html")
    assert report.exists()
    assert f"Report: {report.uri}" in job.text()
    for table in (("rationales", "rows"), ("cwt", "samples"), ("skips", "skips")):
        assert _rows(stored, *table) == _rows(here, *table), table
    assert {all(row["kept"]) for row in _rows(stored, "skips", "skips")} == {False, True}  # not trivial
