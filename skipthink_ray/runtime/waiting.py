"""Waits until the cluster has free room for a stage. What others use is not free, and the user is told."""

import time
from collections.abc import Callable

import ray
from ray._private.state import available_resources_per_node

from skipthink_ray.config import ClusterConfig
from skipthink_ray.runtime.cluster import bundle, room, slots

PATIENCE_S, REPEAT_S = 5.0, 300.0
"""Seconds until the first message, because the stage before has just ended, and between two messages."""
POLL_S = 1.0


def free_room(config: ClusterConfig) -> int:
    """The number of workers or actors for which the cluster has free room now."""
    alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
    free = available_resources_per_node()
    return sum(slots(resources, config) for node, resources in free.items() if node in alive)


def wait_for_room(
    config: ClusterConfig, processes: int, say: Callable[[str], None], pause: Callable[[float], None]
) -> None:
    """Return as soon as the cluster has free room for the processes. `say` receives what it waits for.

    Returns at once if the cluster is too small: then `cluster.require` refuses it, or waits for new nodes.
    pause: sleeps for some seconds; may raise to give up.
    """
    next_message = time.monotonic() + PATIENCE_S
    while room(config) >= processes > (free := free_room(config)):
        if time.monotonic() >= next_message:
            say(_message(config, processes, free))
            next_message = time.monotonic() + REPEAT_S
        pause(POLL_S)


def _message(config: ClusterConfig, processes: int, free: int) -> str:
    name = "GPU" if config.use_gpu else "CPU"
    wanted = bundle(config)[name] * processes
    has, left = ray.cluster_resources().get(name, 0), ray.available_resources().get(name, 0)
    return (
        f"waiting for {wanted:g} {name}, {left:g} of {has:g} free: room for {free} of {processes} processes; "
        "other jobs use the rest"
    )
