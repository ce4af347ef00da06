"""What the training loop does besides training: it reports progress to the driver and saves checkpoints."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

import ray.train
from ray.train import CheckpointUploadMode

from skipthink_ray.config import ClusterConfig
from skipthink_ray.method.samples import Samples
from skipthink_ray.rows import tracked, tracked_epochs
from skipthink_ray.runtime.board import Board
from skipthink_ray.training.checkpoint import GivenUp, Progress, save_checkpoint
from skipthink_ray.training.engine import Engine, any_rank, rank
from skipthink_ray.training.loop import Hooks, Job

POST_EVERY_S = 1.0
"""Seconds between two posts of the number of updates. So slow updates are reported one by one."""
LOOK_EVERY_S = 2.0
"""Seconds between two looks at whether a node is about to leave, or the driver stops the stage. All ranks
wait for each other there."""
SILENCE_S = 10.0
"""Seconds after which a chunk search is announced."""
CHECKPOINT_SHARE = 0.1
"""Largest share of a run's time that checkpoints may take. Short epochs share one."""


class Saver:
    """Saves checkpoints when they are due. The clock of rank 0 decides for all ranks.

    A checkpoint is due at the end of an epoch, and `checkpoint_every_s` seconds after the last one within an
    epoch. Both wait until checkpoints take no more than CHECKPOINT_SHARE of the time, and until the last one
    is on storage: training goes on while Ray Train uploads it. A node that announces its end (a spot node, or
    `ray drain-node`) does not wait, nor does a driver that stops the stage: its workers end after the
    checkpoint. The last update needs none, because the student is exported next.
    """

    def __init__(
        self, engine: Engine, cluster: ClusterConfig, updates: int, board: Board | None = None
    ) -> None:
        self.engine, self.every_s, self.updates = engine, cluster.checkpoint_every_s, updates
        self.board = board
        self.saved = time.monotonic()
        self.next_look = self.affordable = 0.0
        self.uploading: Path | None = None
        """The folder of the last checkpoint, on rank 0. Ray Train deletes it after the upload."""
        self.leaving: set[str] = set()
        """Nodes whose end is announced, and for which a checkpoint was saved."""

    def at_end_of_epoch(self, progress: Progress, samples: Samples) -> None:
        if progress.update == self.updates:
            return
        if _decided(self._may_save(self.affordable)):
            self._save(progress, samples)
        else:
            self._look(progress, samples)

    def in_epoch(self, progress: Progress, samples: Samples) -> None:
        if _decided(self._may_save(max(self.saved + self.every_s, self.affordable))):
            self._save(progress, samples)
        else:
            self._look(progress, samples)

    def _may_save(self, due: float) -> bool:
        return time.monotonic() >= due and not (self.uploading and self.uploading.exists())

    def _look(self, progress: Progress, samples: Samples) -> None:
        """Save a checkpoint if a node is about to leave. If the stage is stopped, raise GivenUp after one."""
        if not _decided(time.monotonic() >= self.next_look):
            return
        self.next_look = time.monotonic() + LOOK_EVERY_S
        stopped = self.board.why_given_up() if self.board else ""
        if any_rank(bool(stopped)):
            self._save(progress, samples, at_once=True)
            raise GivenUp(stopped)
        notice = ray.train.get_preemption_info()
        nodes = set(notice.preempted_node_ids) if notice else set[str]()
        if nodes - self.leaving:  # the same answer on every rank
            self.leaving |= nodes
            self._save(progress, samples, at_once=True)

    def _save(self, progress: Progress, samples: Samples, at_once: bool = False) -> None:
        """at_once: wait until the checkpoint is on storage."""
        started = time.monotonic()
        mode = CheckpointUploadMode.SYNC if at_once else CheckpointUploadMode.ASYNC
        self.uploading = report_checkpoint(self.engine, progress, samples, mode)
        self.saved = time.monotonic()
        self.affordable = self.saved + (self.saved - started) * (1 / CHECKPOINT_SHARE - 1)


def _decided(mine: bool) -> bool:
    """What rank 0 says, on every rank."""
    return any_rank(rank() == 0 and mine)


def report_checkpoint(
    engine: Engine, progress: Progress, samples: Samples, mode: CheckpointUploadMode
) -> Path | None:
    """Save a checkpoint and hand it to Ray Train. Every rank must call this.

    Returns the folder on rank 0, which Ray Train deletes when the checkpoint is on storage.
    """
    folder = Path(mkdtemp(prefix="skipthink-checkpoint-")) if rank() == 0 else Path()
    try:
        save_checkpoint(folder, engine, progress, samples)
        ray.train.report(
            {"update": progress.update, "epoch": progress.epoch},
            checkpoint=ray.train.Checkpoint.from_directory(str(folder)) if rank() == 0 else None,
            checkpoint_upload_mode=mode,
            delete_local_checkpoint_after_upload=True,
        )
    except Exception:
        if rank() == 0:
            rmtree(folder, ignore_errors=True)
        raise
    return folder if rank() == 0 else None


def hooks(job: Job, saver: Saver, board: Board | None, is_watched: bool) -> Hooks:
    """board: on rank 0. is_watched: whether the driver may give the stage up."""

    def on_updates(progress: Progress, rows: list[dict[str, Any]]) -> None:
        if board:
            loss = sum(row["loss_nats"] for row in rows) / len(rows)
            board.post(progress.update, job.updates, f"epoch {progress.epoch + 1} loss {loss:.3f}")
            board.log(tracked(job.stage, rows))
        if is_watched:
            reason = board.why_given_up() if board else ""
            if any_rank(bool(reason)):
                raise GivenUp(reason)

    def on_epoch(progress: Progress, samples: Samples) -> None:
        if board:
            board.log(tracked_epochs(job.stage, progress.epochs, progress.update)[-1:])
        saver.at_end_of_epoch(progress, samples)

    search = partial(_announced, board) if board else lambda _: nullcontext()
    return Hooks(on_updates, on_epoch, _poster(board), saver.in_epoch, search)


@contextmanager
def _announced(board: Board, progress: Progress) -> Iterator[None]:
    """Say that chunks are searched, unless the search ends soon."""
    said = f"searching the chunks of epoch {progress.epoch + 1}; this can take minutes"
    timer = threading.Timer(SILENCE_S, board.say, (said,))
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _poster(board: Board | None) -> Callable[[Progress], None]:
    posted = 0.0

    def on_update(progress: Progress) -> None:
        nonlocal posted
        if board and time.monotonic() - posted > POST_EVERY_S:
            posted = time.monotonic()
            board.reach(progress.update)

    return on_update
