"""Checks of every node before a run: shared storage, versions, disks, and room that is free."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import ray

from skipthink_ray.config import ClusterConfig
from skipthink_ray.runtime import cluster, nodes
from skipthink_ray.runtime.artifacts import Folder
from skipthink_ray.runtime.job import JOB
from skipthink_ray.runtime.nodes import Node, Ticket, check_disks, check_nodes, look
from skipthink_ray.runtime.storage import absolute
from skipthink_ray.runtime.waiting import free_room, wait_for_room

RAY = str(Path(sys.executable).with_name("ray"))


def _node(name: str, **seen: object) -> Node:
    mine = look(Ticket(Folder.open("/"), "", ()))
    return Node(name, name, {"object_store_memory": float(nodes.STORE_BYTES)}, replace(mine, **seen))


def test_a_relative_path_in_a_ray_job_is_refused_with_what_to_pass(monkeypatch):
    assert absolute("runs", "storage_path") == os.path.abspath("runs")
    monkeypatch.setenv(JOB, "{}")
    assert absolute("/mnt/runs", "storage_path") == "/mnt/runs"
    assert absolute("s3://b/runs?region=x", "storage_path") == "s3://b/runs?region=x"
    with pytest.raises(
        ValueError, match=r"storage_path: 'runs' is relative.*--storage-path s3://BUCKET/runs"
    ):
        absolute("runs", "storage_path")


def test_a_node_without_the_nonce_writes_nothing(tmp_path):
    ticket = Ticket(Folder.open(str(tmp_path / "place")), "nonce", ())
    assert look(ticket, "me").faults == ("it does not have what the driver has just written there",)
    assert not (tmp_path / "place").exists()


def test_a_node_with_another_input_file_is_named(tmp_path):
    (tmp_path / "driver").write_text("nonce")
    (tmp_path / "rows.jsonl").write_text("{}")
    file = Folder.open(str(tmp_path / "rows.jsonl"))
    assert look(Ticket(Folder.open(str(tmp_path)), "nonce", ((file, 2),)), "me").faults == ()
    assert (tmp_path / "me").read_text() == "nonce"
    faults = look(Ticket(Folder.open(str(tmp_path)), "nonce", ((file, 3),)), "me").faults
    assert faults == (f"its input file {file.uri} is missing or differs from the driver's",)


def test_another_version_on_a_node_is_named_with_both():
    mine = look(Ticket(Folder.open("/"), "", ()))
    assert {"Python", "ray", "torch", "transformers", "deepspeed", "skipthink_ray"} == {*mine.versions}
    nodes._refuse_versions([_node("a")], mine)
    other = _node("b", versions={**mine.versions, "torch": "1.0"})
    with pytest.raises(ValueError, match=f"node b has torch 1.0, the driver {mine.versions['torch']}"):
        nodes._refuse_versions([_node("a"), other], mine)


def test_a_full_disk_and_a_small_object_store_are_named_with_numbers(tmp_path):
    storage = Folder.open(str(tmp_path))
    check_disks([_node("a")], storage, 1, 1)
    with pytest.raises(
        ValueError, match=r"on node b has 3 MiB free, and a run with this student needs 9 MiB"
    ):
        check_disks([_node("a"), _node("b", free_bytes=3 << 20)], storage, 9 << 20, 1)
    with pytest.raises(ValueError, match=rf"storage_path: {tmp_path} has .* needs 1,099,511,627,776 MiB"):
        check_disks([_node("a")], storage, 1, 1 << 60)
    nodes._refuse_small_stores([_node("a")])
    small = replace(_node("c"), resources={"object_store_memory": float(80 << 20)})
    with pytest.raises(ValueError, match="node c has an object store of 80 MiB; a stage needs 128 MiB"):
        nodes._refuse_small_stores([small])


@pytest.fixture
def two_nodes(tmp_path: Path) -> Iterator[str]:
    """Address of a cluster of two real nodes. The second one has a tmpfs in place of `tmp_path/private`."""
    (tmp_path / "private").mkdir()
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-m", "true"]).returncode:
        pytest.skip("needs the right to create a mount namespace (unshare -m)")
    ray.init("local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    address = ray.get_runtime_context().gcs_address
    start = f"{RAY} start --address={address} --num-cpus=1 --block --log-style=record"
    command = f"mount -t tmpfs tmpfs {tmp_path}/private && exec {start}"
    with open(tmp_path / "node.log", "w") as log:
        second = subprocess.Popen(["unshare", "-m", "sh", "-c", command], stdout=log, stderr=log)
    try:
        for _ in range(120):
            if sum(node["Alive"] for node in ray.nodes()) == 2:
                break
            assert second.poll() is None, (tmp_path / "node.log").read_text()
            time.sleep(0.5)
        yield address
    finally:
        second.terminate()
        second.wait()
        cluster.disconnect()


@pytest.mark.ray
@pytest.mark.slow
def test_a_real_node_that_does_not_share_the_storage_is_named(two_nodes, tmp_path):
    """Also: what is free counts, and the wait for it ends when others are done."""
    shared, private = (Folder.open(str(tmp_path / name)) for name in ("shared", "private"))
    said = list[str]()
    assert len(check_nodes(shared, (), said.append, joined=True)) == 2
    assert shared.names() == []
    with pytest.raises(
        ValueError, match=r"storage_path: 1 of 2 nodes cannot work on .*/private: node \S+ .*"
    ):
        check_nodes(private, (), said.append, joined=True)
    assert private.names() == []

    config, pauses = ClusterConfig(), list[float]()
    busy = ray.remote(num_cpus=1)(_Busy).remote()
    ray.get(busy.ready.remote())
    assert (cluster.room(config), free_room(config)) == (2, 1)

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        time.sleep(seconds)
        if said:
            ray.kill(busy)

    wait_for_room(config, 2, said.append, pause)
    assert said == ["waiting for 2 CPU, 1 of 2 free: room for 1 of 2 processes; other jobs use the rest"]
    assert len(pauses) < 30


class _Busy:
    def ready(self) -> None: ...
