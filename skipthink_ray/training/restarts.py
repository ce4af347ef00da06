"""Restarts training after failures, from its newest checkpoint.

Ray Train can restart workers by itself, but it counts every failure of a run, and it restarts after failures
that would come again. Here a failure counts only if no checkpoint was saved since the last one.
"""

import re
import traceback
from collections.abc import Callable
from typing import Any

import ray.train
from ray.exceptions import OutOfMemoryError, RayActorError

from skipthink_ray.runtime.artifacts import Folder

WOULD_FAIL_AGAIN = re.compile(
    r"^(?:[\w.]+\.)?(?:ValueError|TypeError|KeyError|ImportError|OutOfMemoryError)\b"
)
"""The last line of a traceback, for failures that a restart would repeat."""
LESS_MEMORY = (
    "Set cluster.micro_batch_tokens or cluster.gradient_checkpointing, or lower batch_size of the stage"
)
OUT_OF_MEMORY = re.compile(r"CUDA out of memory|OutOfMemoryError|low on memory")
ENDS = {
    "running low on memory": "Ray ended it because its node was running low on memory",
    "its worker process has died": "its process died; the memory of its node may be full",
    "its node has died": "its node died",
}
"""Short words for the pages that Ray writes about an actor that died."""


def fit_with_restarts(
    trainer: Any, checkpoints: Folder, limit: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """Train with Ray Train's `trainer`. Returns the result of rank 0, or {"error" or "no_room": why}.

    A failure also has its traceback, under "trace".
    limit: the most failures in a row without a new checkpoint. say: receives a line for each restart.
    """
    failures, seen = 0, _names(checkpoints)
    while True:
        try:
            outcome = trainer.fit().return_value
        except ray.train.WorkerGroupError as error:
            saved = _names(checkpoints)
            failures, seen = (1 if saved - seen else failures + 1), saved
            reason = _reason(error)
            if failures > limit or any(map(_would_come_again, error.worker_failures.values())):
                return {"error": reason, "trace": traceback.format_exc()}
            traceback.print_exc()  # to the log
            where = "its last checkpoint" if saved else "the start"
            say(f"a worker failed ({reason}); training goes on from {where}, failure {failures} of {limit}")
        except ray.train.TrainingFailedError as error:
            kind = "no_room" if _waited(error) else "error"
            return {kind: _last_line(error), "trace": traceback.format_exc()}
        else:
            unknown = {"error": f"Ray Train returned {outcome!r}", "trace": ""}
            return outcome if isinstance(outcome, dict) else unknown


def _waited(error: Exception) -> bool:
    from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError

    return isinstance(getattr(error, "controller_failure", None), WorkerGroupStartupTimeoutError)


def _names(checkpoints: Folder) -> set[str]:
    return {name for name in checkpoints.names() if name.startswith("checkpoint_")}


def _reason(error: ray.train.WorkerGroupError) -> str:
    """Of the failures of the ranks, the one that a restart would repeat, or the first."""
    failures = [error.worker_failures[rank] for rank in sorted(error.worker_failures)] or [error]
    reason = _last_line(next((one for one in failures if _would_come_again(one)), failures[0]))
    if OUT_OF_MEMORY.search(reason):
        reason += f". {LESS_MEMORY}"
    return reason


def _would_come_again(failure: Exception) -> bool:
    return bool(WOULD_FAIL_AGAIN.match(_last_line(failure)))


def _last_line(failure: Exception) -> str:
    text = str(getattr(failure, "cause", failure)).strip() or repr(failure)
    if isinstance(failure, RayActorError | OutOfMemoryError):
        return next((end for words, end in ENDS.items() if words in text), text.splitlines()[0])
    return text.splitlines()[-1]
