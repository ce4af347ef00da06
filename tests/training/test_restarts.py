"""Which failures of workers end a training run, and what the user reads about them."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import RayActorError
from ray.train import WorkerGroupError
from ray.train.v2._internal.exceptions import UserExceptionWithTraceback

from skipthink_ray.runtime.artifacts import Folder
from skipthink_ray.training.restarts import fit_with_restarts

DIED = RayActorError(
    error_msg="The actor died unexpectedly before finishing this task.\n\tclass_name: RayTrainWorker\n"
    "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR"
)


def _raised(error: Exception) -> Exception:
    """An exception of the training function, as Ray Train reports it."""
    name = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
    return UserExceptionWithTraceback(error, f"Traceback (most recent call last):\n  ...\n{name}: {error}\n")


class Trainer:
    """Fails once for each given failure, then succeeds. A failure may come after a new checkpoint."""

    def __init__(self, folder: Path, *failures: tuple[dict[int, Exception], bool]) -> None:
        self.folder, self.failures = folder, [*failures]

    def fit(self) -> Any:
        if not self.failures:
            return SimpleNamespace(return_value={"updates": 10})
        by_rank, saved = self.failures.pop(0)
        if saved:
            (self.folder / f"checkpoint_{len(self.failures)}").mkdir()
        raise WorkerGroupError("failed", by_rank)


@pytest.fixture
def fit(tmp_path: Path) -> Callable[..., tuple[dict[str, Any], list[str], int]]:
    """(outcome without its traceback, lines that were said, failures that were not reached)."""

    def fit(*failures: tuple[dict[int, Exception], bool], limit: int = 2):
        said: list[str] = []
        trainer = Trainer(tmp_path, *failures)
        outcome = fit_with_restarts(trainer, Folder.open(str(tmp_path)), limit, said.append)
        if "error" in outcome:
            assert "WorkerGroupError" in outcome.pop("trace")
        return outcome, said, len(trainer.failures)

    return fit


def test_only_failures_in_a_row_without_a_new_checkpoint_count(fit):
    outcome, said, _ = fit(*[({0: DIED}, saved) for saved in (True, False, True, False, True)])
    assert outcome == {"updates": 10}
    assert said[0] == (
        "a worker failed (its process died; the memory of its node may be full); training goes on from "
        "its last checkpoint, failure 1 of 2"
    )
    assert [line.rsplit(", ", 1)[1] for line in said] == [f"failure {n} of 2" for n in (1, 2, 1, 2, 1)]


def test_failures_without_progress_end_the_run(fit):
    outcome, said, left = fit(*[({0: DIED}, False)] * 5)
    assert outcome == {"error": "its process died; the memory of its node may be full"}
    assert [line.split("; ")[-1] for line in said] == [
        f"training goes on from the start, failure {n} of 2" for n in (1, 2)
    ]
    assert left == 2


def test_what_a_restart_would_repeat_is_not_tried_again_and_is_named_before_its_consequences(fit):
    wrong = _raised(ValueError("cwt.batch_size: 0 is too small"))
    outcome, said, left = fit(({0: _raised(RuntimeError("connection closed by peer")), 1: wrong}, True))
    assert (outcome, said, left) == ({"error": "ValueError: cwt.batch_size: 0 is too small"}, [], 0)


def test_a_full_gpu_is_named_with_the_settings_to_change(fit):
    import torch

    full = _raised(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    outcome, _, left = fit(({0: full}, True), ({0: DIED}, False))
    assert outcome["error"].endswith(
        "Set cluster.micro_batch_tokens or cluster.gradient_checkpointing, or lower batch_size of the stage"
    )
    assert "CUDA out of memory" in outcome["error"]
    assert left == 1
