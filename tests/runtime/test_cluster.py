"""Starts of a local cluster, and requests to an autoscaler.

tests/test_autoscaler.py makes such requests on a real cluster.
"""

import pytest

from skipthink_ray.config import ClusterConfig
from skipthink_ray.runtime import cluster

NODES = [{"CPU": 1.0}] * 2


def test_a_stage_that_waits_asks_again_for_what_another_request_may_have_replaced(
    monkeypatch: pytest.MonkeyPatch,
):
    asked, said = [], []
    rooms = iter([0, 1, 2])
    monkeypatch.setattr(cluster, "request_resources", lambda bundles: asked.append(bundles))
    monkeypatch.setattr(cluster, "room", lambda config: next(rooms))
    monkeypatch.setattr(cluster.ray, "cluster_resources", dict)
    monkeypatch.setattr(cluster.time, "sleep", lambda seconds: None)
    cluster.request(NODES)
    cluster.require(cluster.Need("cwt", 2), ClusterConfig(wait_s=60), said.append)
    assert asked == [NODES] * 3
    assert said == [
        "cwt needs 2 processes of 1 CPU each; this cluster has 0 CPU and 0 GPU. Waiting up to 60 s for nodes"
    ]
    cluster.release()
    assert asked[3:] == [[]]
    cluster.release()
    assert len(asked) == 4, "there is nothing to take back any more"


def test_a_local_cluster_that_starts_slowly_is_started_again(monkeypatch: pytest.MonkeyPatch):
    starts = []

    def start(*words: str, **options: object) -> str:
        starts.append(words)
        if len(starts) < 3:
            raise Exception("The current node timed out during startup.")
        return "started"

    monkeypatch.setattr(cluster.ray, "init", start)
    assert cluster._start_local() == "started"
    starts.clear()
    with pytest.raises(ValueError, match="this machine is too busy: Ray did not start within 30 s"):
        cluster._start_local(attempts=2)
    assert starts == [("local",)] * 2
