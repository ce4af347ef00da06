"""Joins or starts a Ray cluster, and checks early whether a stage fits on it."""

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping

import ray
import ray.data
import ray.util.client
from ray.autoscaler.sdk import request_resources

from skipthink_ray.config import ClusterConfig

log = logging.getLogger(__name__)
BLOCK_BYTES = 8 << 20
"""Maximum size of a Ray Data block, and so of a task's input and of a file. With Ray's default of 128 MiB, a
few tasks would process all of a million rows, and the other workers would be idle."""
SAY_AFTER_S, SAY_EVERY_S, POLL_S = 5.0, 300.0, 0.5
"""When `wait_until_free` speaks for the first time and again, and how often it looks."""


class NoRoom(RuntimeError):
    """The cluster did not place a stage's workers in time."""


def connect(config: ClusterConfig) -> None:
    """Join the cluster of the submitted job, of `address` or of RAY_ADDRESS; otherwise start a local one.

    Without an address, `ray.init` would join whatever /tmp/ray/ray_current_cluster names, even a dead cluster
    or that of another user; `local` always starts a new one.

    A Ray Train report waits for the controller's poll interval, which is 2 s by default. Arrow's default
    allocator keeps memory after a read; the system allocator returns it. Ray replaces the SIGTERM handler by
    one that aborts the process if it needs more than 3 s to end; the old one is put back.
    """
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
    os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", str(max(120.0, config.wait_s)))
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    data = ray.data.DataContext.get_current()
    data.execution_options.preserve_order = True  # the same rows in the same files on every run
    data.target_max_block_size = BLOCK_BYTES
    data.enable_progress_bars = False
    data.use_datasource_v2 = False  # it starts four actors for each read, which cost 8 s of CPU
    if ray.is_initialized():  # in a trial of Ray Tune
        return
    address = config.address or os.environ.get("RAY_ADDRESS")
    if not address:  # a local cluster is not preempted; the watcher costs a process per training run
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
    _probe(address)
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        if address:
            ray.init(address=address, log_to_driver=True, logging_level=logging.WARNING)
        else:
            ray.init("local", include_dashboard=False, log_to_driver=True, logging_level=logging.WARNING)
    except ConnectionError as error:
        raise ValueError(
            f"cluster.address or RAY_ADDRESS: no Ray cluster answers at '{address}': {error}"
        ) from error
    if callable(on_sigterm) and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, on_sigterm)


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
    """Leave the cluster. A cluster that `connect` started stops."""
    if ray.is_initialized():
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


def wait_until_free(
    config: ClusterConfig,
    processes: int,
    say: Callable[[str], None],
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Wait while others use the CPUs or GPUs for `processes` workers or actors. Says so, again after minutes.

    Returns at once if the cluster has shrunk: an autoscaler adds nodes only if something requests them.
    """
    say_at = time.monotonic() + SAY_AFTER_S
    while room(config) >= processes > _slots(ray.available_resources(), config):
        if time.monotonic() >= say_at:
            say_at = time.monotonic() + SAY_EVERY_S
            say(f"waiting for {processes} x {_each(config)}; {_free(config)} free, others use the rest")
        pause(POLL_S)


def _free(config: ClusterConfig) -> str:
    free, total = ray.available_resources(), ray.cluster_resources()
    kinds = ("CPU", "GPU") if config.use_gpu else ("CPU",)
    return " and ".join(f"{free.get(kind, 0):g} of {total.get(kind, 0):g} {kind}" for kind in kinds)


def require(
    what: str,
    config: ClusterConfig,
    processes: int,
    lower: str = "cluster.num_workers / cluster.num_actors",
    wait: str = "cluster.wait_s",
) -> None:
    """Raises ValueError, with the cluster's resources, if it cannot place `processes` workers or actors.

    An autoscaling cluster has `wait_s` seconds to grow first. For the message, `lower` names the options that
    set the number of processes, and `wait` the one that sets `wait_s`.
    """
    deadline = time.monotonic() + config.wait_s
    if config.wait_s:  # an autoscaler grows only on request
        bundle = {"CPU": config.cpus_per_worker, **({"GPU": 1} if config.use_gpu else {})}
        request_resources(bundles=[bundle] * processes)
    while True:
        placed = room(config)
        if placed >= processes:
            return
        if time.monotonic() >= deadline:
            break
        time.sleep(min(2.0, config.wait_s))
    have = ray.cluster_resources()
    raise ValueError(
        f"{what} needs {processes} processes of {_each(config)} each, but this cluster has "
        f"{have.get('CPU', 0):g} CPU and {have.get('GPU', 0):g} GPU and can place {placed}. "
        f"Lower {lower} or the CPUs of each, add nodes, or set {wait} for an autoscaler."
    )


def room(config: ClusterConfig) -> int:
    """The number of workers or actors that fit on the cluster at once."""
    return sum(_slots(node["Resources"], config) for node in ray.nodes() if node["Alive"])


def _each(config: ClusterConfig) -> str:
    return f"{config.cpus_per_worker:g} CPU" + (" and 1 GPU" if config.use_gpu else "")


def _slots(resources: Mapping[str, float], config: ClusterConfig) -> int:
    by_cpu = int(resources.get("CPU", 0) / config.cpus_per_worker)
    return min(by_cpu, int(resources.get("GPU", 0))) if config.use_gpu else by_cpu
