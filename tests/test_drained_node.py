"""A node announces its end, as a spot node does: its workers save a checkpoint, and lose nothing after it."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.dataset as dataset

from benchmarks.reliability_nodes import RAY, Nodes, two_nodes
from tests.commands import run_stages
from tests.conftest import LONG
from tests.processes import start

pytestmark = LONG
OPTIONS = (
    "--name run --rationales.train-questions 12000 --rationales.test-questions 8 --student.width 96 "
    "--student.heads 4 --student.layers 4 --base.batch-size 2 --base.epochs 1 --match epochs "
    "--cluster.num-workers 1 --cluster.checkpoint-every-s 3600 --cluster.wait-s 120 --tracking.backend off"
).split()
UPDATES = 5999
DEADLINE_S = 60
NODE_ID = (
    "import ray; ray.init('auto'); print(*[n['NodeID'] for n in ray.nodes() if n['Resources'].get('CPU')])"
)


def _environment(nodes: Nodes) -> dict[str, str]:
    return {**nodes.environment, "RAY_ADDRESS": str(nodes.address), "PYTHONUNBUFFERED": "1"}


def _node_with_cpus(nodes: Nodes) -> str:
    """Ray's ID of the only node with CPUs."""
    words = [sys.executable, "-c", NODE_ID]
    found = subprocess.run(words, env=_environment(nodes), check=True, capture_output=True, timeout=120)
    return found.stdout.decode().split()[-1]


def _announce_its_end(node: str, nodes: Nodes) -> None:
    """Drain a node, as a cloud's notice to a spot node does."""
    words = f"--reason DRAIN_NODE_REASON_PREEMPTION --deadline-remaining-seconds {DEADLINE_S}".split()
    words += ["--reason-message", "spot", "--node-id", node, "--address", str(nodes.address)]
    subprocess.run([RAY, "drain-node", *words], env=_environment(nodes), check=True, timeout=120)


def _saved(storage: Path) -> list[int]:
    """The updates of the checkpoints."""
    files = storage.glob("artifacts/base/*/checkpoints/checkpoint_*/state.json")
    return [json.loads(file.read_text())["update"] for file in files]


def test_a_node_that_is_drained_saves_a_checkpoint_before_its_deadline_and_training_goes_on(tmp_path: Path):
    storage = tmp_path / "runs"
    run_stages(storage, OPTIONS, "rationales", "samples")
    with two_nodes(storage, is_needed=True) as nodes:
        words = ["base", "--storage-path", str(storage), "--cluster.address", str(nodes.address), *OPTIONS]
        node = _node_with_cpus(nodes)
        run = start(
            tmp_path / "run.txt", _environment(nodes), sys.executable, "-m", "skipthink_ray.cli", *words
        )
        run.wait_for(f"/{UPDATES} updates")
        assert not _saved(storage), "its only epoch has no checkpoint"
        announced = time.monotonic()
        _announce_its_end(node, nodes)
        while not _saved(storage):
            assert run.process.poll() is None, run.text()
            assert time.monotonic() - announced < DEADLINE_S, f"no checkpoint\n{run.text()}"
            time.sleep(0.2)
        (update,) = _saved(storage)
        nodes.replace()
        assert run.end() == 0, run.text()
    assert 0 < update < UPDATES
    history = dataset.dataset([*storage.glob("artifacts/base/*/history/*.parquet")]).to_table()
    assert history["update"].to_pylist() == [*range(UPDATES)]
