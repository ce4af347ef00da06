"""Ends the stages that run beside a failed one, or beside one that was interrupted.

A stage that trains runs in a thread of the driver, and Python cannot interrupt a thread. So its call of Ray
Train runs in a Ray task, which can be cancelled.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from skipthink_ray.runtime.cluster import environment, is_broken, is_local

POLL_S = 0.5
GRACE_S = 30.0
"""How long a stopped task may take to end by itself. Training saves a checkpoint first."""


class Stopped(BaseException):
    """Raised in a stage that `Stopper.stop` ends, or that was given up as hopeless.

    It is not an Exception, because the stage did not fail.
    """


class Stopper:
    """Shared by the stages of a run. `stop` may be called from any thread."""

    def __init__(self) -> None:
        self.stopped, self.lock = threading.Event(), threading.Lock()
        self.calls: list[tuple[Any, Callable[[], None] | None]] = []

    def check(self) -> None:
        """Raises Stopped after `stop`."""
        if self.stopped.is_set():
            raise Stopped

    def pause(self, seconds: float) -> None:
        """Sleep. Raises Stopped as soon as `stop` is called."""
        self.stopped.wait(seconds)
        self.check()

    def call(
        self, function: Callable[..., Any], *arguments: Any, ask: Callable[[], None] | None = None
    ) -> Any:
        """The result of a function in a Ray task on this node. Raises Stopped if `stop` ends the task.

        ask: asks the task to end by itself.
        """
        self.check()
        node: Any = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        # The address is for the PlacementGroupCleaner, which a local cluster lacks. There, tasks without
        # variables of their own share their processes with other tasks.
        found_by: Any = None if is_local() else {"env_vars": environment()}
        task: Any = ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=node, runtime_env=found_by)(
            function
        )
        with self.lock:
            self.check()
            call = task.remote(*arguments)
            self.calls.append((call, ask))
        try:
            return ray.get(call)
        except RayError:
            self.check()
            raise

    def stop(self) -> bool:
        """End the running tasks: those that can be asked get GRACE_S seconds, then the others are cancelled.

        Their workers are gone only after `cluster.disconnect`. A task that has just ended must not be
        cancelled: Ray then aborts this process.
        Returns False if the cluster is broken: the stages that wait for its tasks will not end.
        """
        with self.lock:
            self.stopped.set()
        if is_broken():
            return False
        running = self._running(0)
        asks = [ask for call, ask in self.calls if ask and call in running]
        with suppress(RayError):  # the cluster may be the reason for the stop
            for ask in asks:
                ask()
        deadline = time.monotonic() + (GRACE_S if asks else 0)
        while time.monotonic() < deadline and not is_broken() and self._running(POLL_S):
            pass
        for call in self._running(0):
            with suppress(RayError):
                ray.cancel(call, force=True)
        return not is_broken()

    def _running(self, wait_s: float) -> list[Any]:
        """The tasks that have not ended after some seconds."""
        calls = [call for call, _ in self.calls]
        with suppress(RayError):
            return ray.wait(calls, num_returns=len(calls), timeout=wait_s)[1] if calls else []
        return calls
