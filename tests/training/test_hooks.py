"""When the ranks of a training run save checkpoints."""

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from ray.train import CheckpointUploadMode

from skipthink_ray.config import ClusterConfig, CwtConfig
from skipthink_ray.training import hooks
from skipthink_ray.training.checkpoint import GivenUp, Progress
from skipthink_ray.training.hooks import Saver
from skipthink_ray.training.loop import Job

ASYNC, SYNC = CheckpointUploadMode.ASYNC, CheckpointUploadMode.SYNC


class Clock:
    """A clock that stands still unless it is told how long something took."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


class Notice:
    """That nodes end soon."""

    def __init__(self, *nodes: str) -> None:
        self.preempted_node_ids = list(nodes)


class Stopped:
    """A board on which the driver asked the stage to end."""

    def why_given_up(self) -> str:
        return "stopped"


def _saver(
    monkeypatch: pytest.MonkeyPatch,
    clock: Clock,
    saved: list[int],
    checkpoint_s: float,
    every_s: float,
    upload: Path | None = None,
    modes: list[CheckpointUploadMode] | None = None,
) -> Saver:
    """A saver that appends the update of each checkpoint to `saved`, and its mode to `modes`.

    upload: the folder that is uploaded in the background.
    """

    def report(_engine: Any, progress: Progress, _samples: Any, mode: CheckpointUploadMode) -> Path | None:
        clock.now += checkpoint_s
        saved.append(progress.update)
        if modes is not None:
            modes.append(mode)
        return upload

    monkeypatch.setattr(hooks, "time", clock)
    monkeypatch.setattr(hooks, "report_checkpoint", report)
    monkeypatch.setattr(hooks.ray.train, "get_preemption_info", lambda: None)
    engine: Any = None
    return Saver(engine, ClusterConfig(checkpoint_every_s=every_s), updates=95)


def _saved_after_epochs(
    monkeypatch: pytest.MonkeyPatch, epochs: int, epoch_s: float, checkpoint_s: float
) -> list[int]:
    """The epochs, of one update each, after which a run saves a checkpoint."""
    clock, saved, samples = Clock(), list[int](), cast(Any, None)
    saver = _saver(monkeypatch, clock, saved, checkpoint_s, every_s=1e9)
    for epoch in range(1, epochs + 1):
        clock.now += epoch_s
        saver.at_end_of_epoch(Progress(update=epoch, epoch=epoch), samples)
    return saved


def _saved_in_epoch(monkeypatch: pytest.MonkeyPatch, update_s: float, every_s: float) -> list[int]:
    """The updates of one epoch of 100 after which a checkpoint is saved, which takes 2 s."""
    clock, saved, samples = Clock(), list[int](), cast(Any, None)
    saver = _saver(monkeypatch, clock, saved, 2.0, every_s)
    for update in range(10, 100, 10):
        clock.now += 10 * update_s
        saver.in_epoch(Progress(update=update), samples)
    return saved


def test_checkpoints_of_short_epochs_take_a_tenth_of_the_time(monkeypatch):
    saved = _saved_after_epochs(monkeypatch, epochs=95, epoch_s=1.0, checkpoint_s=1.0)
    assert saved == [1, 10, 19, 28, 37, 46, 55, 64, 73, 82, 91]


def test_the_last_update_needs_no_checkpoint(monkeypatch):
    assert _saved_after_epochs(monkeypatch, epochs=95, epoch_s=100.0, checkpoint_s=1.0) == [*range(1, 95)]


def test_long_epochs_end_with_a_checkpoint_each(monkeypatch):
    assert _saved_after_epochs(monkeypatch, epochs=4, epoch_s=100.0, checkpoint_s=5.0) == [1, 2, 3, 4]


def test_a_long_epoch_has_checkpoints_inside_but_for_a_tenth_of_the_time_only(monkeypatch):
    assert _saved_in_epoch(monkeypatch, update_s=3.0, every_s=60.0) == [20, 40, 60, 80]
    assert _saved_in_epoch(monkeypatch, update_s=1.0, every_s=5.0) == [10, 30, 50, 70, 90]


def test_no_checkpoint_is_saved_while_the_last_one_is_uploaded_unless_a_node_ends_soon(monkeypatch, tmp_path):
    clock, saved, samples = Clock(), list[int](), cast(Any, None)
    upload, modes = tmp_path / "checkpoint", list[CheckpointUploadMode]()
    upload.mkdir()
    saver = _saver(monkeypatch, clock, saved, 1.0, 10.0, upload, modes)
    for update in (10, 20, 30, 40):
        clock.now += 60.0
        if update == 30:
            monkeypatch.setattr(hooks.ray.train, "get_preemption_info", lambda: Notice("a"))
        if update == 40:
            upload.rmdir()  # as Ray Train does after the upload
        saver.in_epoch(Progress(update=update), samples)
    assert saved == [10, 30, 40]
    assert modes == [ASYNC, SYNC, ASYNC]


def test_a_node_that_ends_soon_means_one_checkpoint_at_once(monkeypatch):
    clock, saved, samples = Clock(), list[int](), cast(Any, None)
    saver = _saver(monkeypatch, clock, saved, checkpoint_s=2.0, every_s=1e9)
    notices = [None, Notice("a"), Notice("a"), Notice("a", "b"), None]
    monkeypatch.setattr(hooks.ray.train, "get_preemption_info", lambda: notices.pop(0))
    for update in (10, 20, 30, 40, 50):
        clock.now += hooks.LOOK_EVERY_S
        saver.in_epoch(Progress(update=update), samples)
    assert saved == [20, 40]


def test_a_stopped_stage_saves_one_checkpoint_and_ends_also_if_its_epochs_are_short(monkeypatch):
    clock, saved, samples = Clock(), list[int](), cast(Any, None)
    saver = _saver(monkeypatch, clock, saved, checkpoint_s=2.0, every_s=1e9)
    saver.at_end_of_epoch(Progress(update=1), samples)
    saver.board = cast(Any, Stopped())
    clock.now += hooks.LOOK_EVERY_S
    with pytest.raises(GivenUp, match="stopped"):
        saver.at_end_of_epoch(Progress(update=2), samples)
    assert saved == [1, 2]


def test_a_long_chunk_search_is_announced_and_a_short_one_is_not(monkeypatch):
    said = list[str]()
    board = cast(Any, SimpleNamespace(say=said.append))
    job = Job("cwt", CwtConfig(), updates=10, seed=0)
    saver = cast(Any, SimpleNamespace(in_epoch=None))
    for patience, expected in ((60.0, 0), (0.01, 1)):
        monkeypatch.setattr(hooks, "SILENCE_S", patience)
        search = hooks.hooks(job, saver, board, is_watched=False).search
        with search(Progress()):
            time.sleep(0.2)
        assert len(said) == expected
    assert said == ["searching the chunks of epoch 1; this can take minutes"]
