"""A job on a cluster without workers: its autoscaler starts nodes for the job, and ends them afterwards."""

import json
import os
import re
import secrets
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

import pytest

from benchmarks.reliability_nodes import end
from benchmarks.reliability_nodes import start as start_node
from benchmarks.servers import free_ports
from tests.processes import Started, start

NODES, IDLE_S, WAIT_S = 2, 6, 90.0
CONFIG = {
    "cluster_name": "fake",
    "max_workers": 4,
    "upscaling_speed": 1.0,
    "idle_timeout_minutes": IDLE_S / 60,
    "head_node_type": "ray.head.default",
    "available_node_types": {
        "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
        "worker": {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 4},
    },
    "auth": {},
    "file_mounts": {},
    "file_mounts_sync_continuously": False,
    **{key: [] for key in ("cluster_synced_files", "rsync_exclude", "rsync_filter")},
    **{f"{key}_commands": [] for key in ("initialization", "setup", "head_setup", "worker_setup")},
    **{f"{key}_start_ray_commands": [] for key in ("head", "worker")},
}
PROVIDER = {
    "type": "fake_multinode",
    "launch_multiple": True,
    "use_node_id_as_ip": True,  # all nodes have the same address
    "disable_node_updaters": True,
    "disable_launch_config_check": True,
}
"""Ray's own provider for tests: its nodes are processes of this machine."""
WATCH = """
import json, time, ray
from ray._private.ray_constants import AUTOSCALER_RESOURCE_REQUEST_CHANNEL as KEY
from ray.experimental.internal_kv import _internal_kv_get
ray.init("auto")
while True:
    cpus, asked = int(ray.cluster_resources().get("CPU", 0)), len(json.loads(_internal_kv_get(KEY) or "[]"))
    print(f"{cpus} CPUs, asked for {asked}", flush=True)
    time.sleep(0.5)
"""
OPTIONS = (
    "--rationales.train-questions 24 --rationales.test-questions 8 --tracking.backend off "
    f"--cluster.num-workers {NODES} --cluster.num-actors 1 --cluster.wait-s 120"
).split()


@contextmanager
def _autoscaling_cluster(folder: Path) -> Iterator[dict[str, str]]:
    """The environment in which a process finds the cluster."""
    place = mkdtemp(prefix="ray", dir="/tmp")
    gcs, dashboard, agent, client = free_ports(4)
    file = folder / "autoscaler.json"
    address = f"127.0.0.1:{gcs}"
    file.write_text(json.dumps({**CONFIG, "provider": PROVIDER | {"gcs_address": address}}))
    environment = {
        **os.environ,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_TMPDIR": place,
        "RAY_FAKE_CLUSTER": "1",
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
    }
    words = (
        f"--head --num-cpus 0 --autoscaling-config {file} --port {gcs} "
        f"--dashboard-port {dashboard} --dashboard-agent-listen-port {agent} "
        f"--ray-client-server-port {client}"
    )
    head = start_node(words, environment, folder / "head.txt")
    try:
        yield environment | {"RAY_ADDRESS": address, "PYTHONUNBUFFERED": "1"}
    finally:
        end(head)
        shutil.rmtree(place, ignore_errors=True)


def _looks(watcher: Started) -> list[tuple[int, int]]:
    """(CPUs, CPUs that the autoscaler is asked for) every half second. Ray prints into the same file."""
    found = re.findall(r"^(\d+) CPUs, asked for (\d+)$", watcher.text(), re.MULTILINE)
    return [(int(cpus), int(asked)) for cpus, asked in found]


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.long
def test_a_cluster_without_workers_grows_for_a_job_and_shrinks_after_it(tmp_path: Path):
    with _autoscaling_cluster(tmp_path) as environment:
        watcher = start(tmp_path / "cpus.txt", environment, sys.executable, "-c", WATCH)
        try:
            watcher.wait_for("0 CPUs, asked for 0")
            words = ["rationales", "--storage-path", str(tmp_path / "runs"), *OPTIONS]
            job = start(tmp_path / "job.txt", environment, sys.executable, "-m", "skipthink_ray.cli", *words)
            job.wait_for("Waiting up to 120 s for nodes")
            assert job.end() == 0, job.text()
            before = _looks(watcher)
            assert (NODES, NODES) in before, "it asks for the nodes of its largest stage, and they come"
            while len(after := _looks(watcher)[len(before) + 1 :]) < 4:
                assert watcher.process.poll() is None, watcher.text()
                time.sleep(0.1)
            assert {asked for _, asked in after} == {0}, "nothing is asked for once the job has ended"
            ended = time.monotonic()
            while _looks(watcher)[-1][0]:
                assert time.monotonic() - ended < WAIT_S, "the nodes stay"
                time.sleep(0.5)
        finally:
            watcher.process.kill()
            watcher.end()
