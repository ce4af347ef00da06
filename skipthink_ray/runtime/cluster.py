"""Joins or starts a Ray cluster, and checks early whether a stage fits on it."""

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import ray
import ray.data
import ray.util.client
from ray.autoscaler.sdk import request_resources

from skipthink_ray.config import ClusterConfig

log = logging.getLogger(__name__)
BLOCK_BYTES = 8 << 20
"""Maximum size of a Ray Data block, and so of a task's input and of a file. With Ray's default of 128 MiB, a
few tasks would process all of a million rows, and the other workers would be idle."""
LOCAL_STARTS = 4
"""Attempts to start a local cluster."""
LOCAL = "SKIPTHINK_LOCAL_CLUSTER"
"""Environment variable of the processes of a cluster that `connect` started."""


class NoRoom(RuntimeError):
    """The cluster did not place a stage's workers in time."""


def connect(config: ClusterConfig) -> str:
    """Join the cluster of the submitted job, of `address` or of RAY_ADDRESS; otherwise start a local one.

    Returns the address of its dashboard, empty if it has none or was joined before.

    Without an address, `ray.init` would join whatever /tmp/ray/ray_current_cluster names, even a dead cluster
    or that of another user; `local` always starts a new one.

    Ray replaces the SIGTERM handler by one that aborts the process if it needs more than 3 s to end. The old
    one is put back.
    """
    # A report to Ray Train waits for the next check. Ray's default is 2 s.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
    os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", str(max(120.0, config.wait_s)))
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Arrow's own allocator keeps memory after a read; the system's returns it.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    # torch takes huge pages for large tensors. The kernel clears them faster than small ones (docs/speed.md).
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    data = ray.data.DataContext.get_current()
    data.execution_options.preserve_order = True  # the same rows in the same files on every run
    data.target_max_block_size = BLOCK_BYTES
    data.enable_progress_bars = False
    data.use_datasource_v2 = False  # it starts four actors for each read, which cost 8 s of CPU
    if ray.is_initialized():  # in a trial of Ray Tune
        return ""
    address = config.address or os.environ.get("RAY_ADDRESS")
    os.environ.pop(LOCAL, None)
    if not address:  # a local cluster is not preempted; the watcher costs a process per training run
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
        os.environ[LOCAL] = "1"
    _probe(address)
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        if address:
            there = ray.init(address=address, log_to_driver=True, logging_level=logging.WARNING)
        else:
            there = _start_local()
    except ConnectionError as error:
        raise ValueError(
            f"cluster.address or RAY_ADDRESS: no Ray cluster answers at '{address}': {error}"
        ) from error
    if callable(on_sigterm) and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, on_sigterm)
    return there.dashboard_url or ""


def _start_local(attempts: int = LOCAL_STARTS) -> Any:
    """Start a local cluster. On a busy machine a start may fail, because Ray waits only 30 s; then try again.

    Raises ValueError if the last attempt fails in this way.
    """
    try:
        return ray.init("local", include_dashboard=False, log_to_driver=True, logging_level=logging.WARNING)
    except Exception as error:  # Ray raises this class itself
        if "timed out during startup" not in str(error):
            raise
        if attempts == 1:
            raise ValueError(
                f"this machine is too busy: Ray did not start within 30 s, in {LOCAL_STARTS} attempts. "
                "Stop other programs, and run the same command again"
            ) from error
    log.warning("Ray did not start within 30 s, because this machine is busy; trying again")
    ray.shutdown()
    return _start_local(attempts - 1)


def _probe(address: str | None) -> None:
    """Raises ValueError within seconds if nothing listens at the address.

    `ray.init` would retry for minutes.
    """
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
    """Leave the cluster, and take back what was asked of its autoscaler.

    A cluster that `connect` started stops.
    """
    if ray.is_initialized():
        if not is_broken():
            release()
        ray.shutdown()


def environment() -> dict[str, str]:
    """The variable by which a process of the cluster finds it, although others run on the same machine.

    Ray's state API ignores the process's own connection. It asks the cluster of RAY_ADDRESS, or else any
    that it finds on the machine. If it finds another one, Ray Train's PlacementGroupCleaner does not find the
    controller of the training run there, takes it for dead, and kills the run's workers.
    """
    if ray.util.client.ray.is_connected():  # ray://: the driver does not know the address
        return {}
    return {"RAY_ADDRESS": ray.get_runtime_context().gcs_address}


def is_local() -> bool:
    """Whether `connect` started the cluster of this process. Such a cluster has no dashboard."""
    return LOCAL in os.environ


def is_broken() -> bool:
    """Whether a process of the cluster that `connect` started has ended. Calls of Ray may then never return.

    SIGTERM for a process group or a batch job reaches Ray's own processes too.
    """
    node = ray._private.worker._global_node
    return node is not None and any(kind in ("raylet", "gcs_server") for kind, _ in node.dead_processes())


def joined() -> bool:
    """Whether others have started nodes of the cluster, so that they may differ from this process."""
    node = ray._private.worker._global_node
    return node is None or not node.is_head() or len(ray.nodes()) > 1


def in_worker() -> bool:
    """Whether this process is an actor or a task of the cluster, such as a trial."""
    return ray.get_runtime_context().worker.mode == ray.WORKER_MODE


@dataclass(frozen=True)
class Need:
    """Workers or actors that a cluster must place at once, and the words for its message."""

    what: str
    processes: int
    lower: str = "cluster.num_workers / cluster.num_actors"
    """The options that set the number of processes."""
    wait: str = "cluster.wait_s"
    """The option that sets how long an autoscaler may take."""


_requested: list[dict[str, float]] = []
"""What this process has asked the autoscaler for."""


def request(bundles: list[dict[str, float]]) -> None:
    """Ask the autoscaler for room for all of these at once. It replaces what was asked before."""
    global _requested
    request_resources(bundles=bundles)
    _requested = bundles


def release() -> None:
    """Take the request back, so that idle nodes end. Otherwise it lasts until another process asks."""
    global _requested
    if _requested:
        request_resources(bundles=[])
    _requested = []


def bundle(config: ClusterConfig) -> dict[str, float]:
    """What one worker or actor needs."""
    return {"CPU": config.cpus_per_worker, **({"GPU": 1.0} if config.use_gpu else {})}


def require(need: Need, config: ClusterConfig, say: Callable[[str], None]) -> None:
    """Raises ValueError, with the cluster's resources, if it cannot place these workers or actors.

    An autoscaling cluster has `wait_s` seconds to grow first, and `say` receives what it waits for.
    """
    deadline, told = time.monotonic() + config.wait_s, False
    per = " and ".join(f"{number:g} {name}" for name, number in bundle(config).items())
    while True:
        placed, have = room(config), ray.cluster_resources()
        has = f"this cluster has {have.get('CPU', 0):g} CPU and {have.get('GPU', 0):g} GPU"
        wants = f"{need.what} needs {need.processes} processes of {per} each"
        if placed >= need.processes:
            return
        if time.monotonic() >= deadline:
            break
        if not told:
            say(f"{wants}; {has}. Waiting up to {config.wait_s:g} s for nodes")
            told = True
        if _requested:  # Ray Data asks for its own operators, which replaces our request
            request_resources(bundles=_requested)
        time.sleep(min(2.0, config.wait_s))
    raise ValueError(
        f"{wants}, but {has} and can place {placed}. Lower {need.lower} or the CPUs of each, add nodes, or "
        f"set {need.wait} for an autoscaler."
    )


def room(config: ClusterConfig) -> int:
    """The number of workers or actors that fit on the cluster at once."""
    return sum(slots(node["Resources"], config) for node in ray.nodes() if node["Alive"])


def slots(resources: Mapping[str, float], config: ClusterConfig) -> int:
    """The number of workers or actors that these resources of a node hold."""
    by_cpu = int(resources.get("CPU", 0) / config.cpus_per_worker)
    return min(by_cpu, int(resources.get("GPU", 0))) if config.use_gpu else by_cpu
