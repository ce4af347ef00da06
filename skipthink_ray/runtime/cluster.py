"""Joining or starting a Ray cluster, and saying at once what does not fit on it."""

import logging
import os
import socket
import sys
import time
from pathlib import Path

import ray
import ray.data
from ray.autoscaler.sdk import request_resources

from skipthink_ray.config import ClusterConfig

log = logging.getLogger(__name__)
BLOCK_BYTES = 8 << 20
"""Size that Ray Data keeps blocks to, and so what a task takes and a file holds; with Ray's 128 MiB a few tasks would have
all rows of a million, and other workers nothing to do."""


def connect(config: ClusterConfig) -> None:
    """Join the cluster of the submitted job, of RAY_ADDRESS or of `address`; else start one on this machine.

    The workers of a local cluster must find the tools of this environment (DeepSpeed's compiler calls ninja), so its
    bin folder goes on PATH first. A report of Ray Train costs its controller's poll interval: 2 s unless shortened.
    Arrow's own allocator keeps what a worker once read; the system's gives it back.
    """
    if ray.is_initialized():
        return
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
    os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", str(max(120.0, config.wait_s)))
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    data = ray.data.DataContext.get_current()
    data.execution_options.preserve_order = True  # the same rows in the same files, whatever finishes first
    data.target_max_block_size = BLOCK_BYTES
    data.enable_progress_bars = False
    address = config.address or os.environ.get("RAY_ADDRESS")
    _probe(address)
    try:
        if address:
            ray.init(address=address, log_to_driver=True, logging_level=logging.WARNING)
        else:
            ray.init(include_dashboard=False, log_to_driver=True, logging_level=logging.WARNING)
    except ConnectionError as error:
        raise ValueError(
            f"cluster.address or RAY_ADDRESS: no Ray cluster answers at '{address}': {error}"
        ) from error


def _probe(address: str | None) -> None:
    """ValueError within seconds where nobody listens at an address; `ray.init` alone would try for minutes."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if not (host and port.isdigit()):
        return
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError as error:
        raise ValueError(
            f"cluster.address or RAY_ADDRESS: no Ray cluster answers at '{address}': {error}"
        ) from error


def disconnect() -> None:
    """Leave the cluster; one that `connect` started ends with it."""
    if ray.is_initialized():
        ray.shutdown()


def require(
    what: str,
    config: ClusterConfig,
    processes: int,
    lower: str = "cluster.num_workers / cluster.num_actors",
    wait: str = "cluster.wait_s",
) -> None:
    """ValueError within seconds where `processes` workers or actors cannot be placed: what is needed, what there is.

    lower: the options that ask for so many, and wait: the one for `wait_s`. With that an autoscaling cluster is given
    that long to grow first.
    """
    deadline = time.monotonic() + config.wait_s
    if config.wait_s:  # an autoscaler grows only for what is asked of it
        bundle = {"CPU": config.cpus_per_worker, **({"GPU": 1} if config.use_gpu else {})}
        request_resources(bundles=[bundle] * processes)
    while True:
        placed = sum(_slots(node["Resources"], config) for node in ray.nodes() if node["Alive"])
        if placed >= processes:
            return
        if time.monotonic() >= deadline:
            break
        time.sleep(min(2.0, config.wait_s))
    have = ray.cluster_resources()
    per = f"{config.cpus_per_worker:g} CPU" + (" and 1 GPU" if config.use_gpu else "")
    raise ValueError(
        f"{what} needs {processes} processes of {per} each, but this cluster has {have.get('CPU', 0):g} CPU and "
        f"{have.get('GPU', 0):g} GPU and can place {placed}. Lower {lower} or the CPUs of each, add nodes, "
        f"or set {wait} for an autoscaler."
    )


def _slots(resources: dict[str, float], config: ClusterConfig) -> int:
    by_cpu = int(resources.get("CPU", 0) / config.cpus_per_worker)
    return min(by_cpu, int(resources.get("GPU", 0))) if config.use_gpu else by_cpu
