"""What every rank does around the training loop: when it writes checkpoints."""

from typing import Any

import pytest

from skipthink_ray.config import TrainConfig
from skipthink_ray.training import worker
from skipthink_ray.training.checkpoint import Progress
from skipthink_ray.training.loop import Job


class Clock:
    """A clock that stands still unless it is told how long something took."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


def _saved_at(monkeypatch: pytest.MonkeyPatch, epochs: int, epoch_s: float, checkpoint_s: float) -> list[int]:
    """The epochs after which a run of `epochs` updates, one per epoch, writes a checkpoint."""
    clock, saved = Clock(), list[int]()

    def report(_engine: Any, progress: Progress, _samples: Any) -> None:
        clock.now += checkpoint_s
        saved.append(progress.epoch)

    monkeypatch.setattr(worker, "time", clock)
    monkeypatch.setattr(worker, "_report_checkpoint", report)
    engine: Any = None
    samples: Any = None
    hooks = worker._hooks(Job("base", TrainConfig(), updates=epochs, seed=0), engine, None, is_watched=False)
    for epoch in range(1, epochs + 1):
        clock.now += epoch_s
        hooks.on_epoch(Progress(update=epoch, epoch=epoch), samples)
    return saved


def test_checkpoints_of_short_epochs_take_a_tenth_of_the_time(monkeypatch):
    saved = _saved_at(monkeypatch, epochs=95, epoch_s=1.0, checkpoint_s=1.0)
    assert saved == [1, 10, 19, 28, 37, 46, 55, 64, 73, 82, 91, 95]


def test_long_epochs_end_with_a_checkpoint_each(monkeypatch):
    assert _saved_at(monkeypatch, epochs=4, epoch_s=100.0, checkpoint_s=5.0) == [1, 2, 3, 4]
