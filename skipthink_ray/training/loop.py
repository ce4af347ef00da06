"""The training loop of base, cwt, stt and icot. Uses torch but not Ray; `Hooks` connects it to its caller.

An epoch searches chunks (cwt only), lists the items, plans the updates and runs them. Order, dropout and
chunks are functions of (seed, epoch, update), so a run resumed from a checkpoint equals one that never
stopped.
"""

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from skipthink_ray.config import CwtConfig, TrainConfig
from skipthink_ray.method.removal import Removal
from skipthink_ray.method.samples import Samples
from skipthink_ray.models.batching import collate
from skipthink_ray.models.student import Student
from skipthink_ray.training.batches import (
    WHOLE,
    Items,
    Split,
    Stage,
    build_item,
    epoch_items,
    padding_share,
    plan_updates,
    shares_of,
)
from skipthink_ray.training.checkpoint import NonFiniteLoss, Progress
from skipthink_ray.training.engine import Engine, MicroBatch, rank, world
from skipthink_ray.training.rechunk import rechunk
from skipthink_ray.training.removal import (
    plan_with_removal,
    removal_of,
    removal_record,
    reset_optimizer,
)
from skipthink_ray.training.schedule import learning_rate

CHECK_EVERY_UPDATES = 10
"""Updates between two checks of the loss. Each check waits for the device."""


@dataclass(frozen=True)
class Job:
    """What to train, and for how long."""

    stage: Stage
    config: TrainConfig
    updates: int
    seed: int
    split: Split = WHOLE
    kept_RM: np.ndarray | None = None
    """The chunks that skip items show (stt); None: all."""


@dataclass(frozen=True)
class Hooks:
    """Callbacks. All ranks call them together."""

    on_updates: Callable[[Progress, list[dict[str, Any]]], None]
    """Called every few updates, with the history rows since the last call."""
    on_epoch: Callable[[Progress, Samples], None]
    """Called at the end of each epoch and of the run, with its chunks; may write a checkpoint."""
    on_update: Callable[[Progress], None] = lambda _: None
    """Called after every update, before its loss is known. It must not wait for the device."""
    in_epoch: Callable[[Progress, Samples], None] = lambda *_: None
    """Called every few updates, but not at the end of an epoch; may write a checkpoint."""
    search: Callable[[Progress], AbstractContextManager[None]] = lambda _: nullcontext()
    """Surrounds a chunk search, which may take minutes."""


@dataclass(frozen=True)
class _Run:
    """What stays the same from the first update to the last."""

    job: Job
    student: Student
    engine: Engine
    progress: Progress
    hooks: Hooks
    removal: Removal | None
    """Of rationale tokens (icot only)."""


def train(
    job: Job, samples: Samples, student: Student, engine: Engine, progress: Progress, hooks: Hooks
) -> Samples:
    """Train from `progress` up to `job.updates` updates. Returns the samples with their final chunks.

    Raises NonFiniteLoss on all ranks together.
    """
    run = _Run(job, student, engine, progress, hooks, removal_of(job.config, samples))
    progress.start_clock()
    while progress.update < job.updates:
        if progress.position == 0:
            samples = _search_chunks(run, samples)
        rng = np.random.default_rng((job.seed, progress.epoch))
        items = epoch_items(job.stage, job.config, samples, rng, job.kept_RM, student.ids)
        if run.removal:
            first = progress.update - progress.position
            items, updates = plan_with_removal(items, samples, run.removal, first, rng)
        else:
            updates = plan_updates(items, job.config, rng)
        if not updates:
            raise ValueError(f"{job.stage}: there are no samples to train on")
        if progress.position == 0:
            padding = padding_share(items, updates, world(), job.split)
            progress.epochs[-1] |= {
                "items": len(items.row_I),
                "updates": len(updates),
                "padding_share": padding,
            }
            if run.removal:
                last = updates[: job.updates - progress.update][-1]
                progress.epochs[-1] |= removal_record(items, samples, last)
        updates = updates[progress.position : progress.position + job.updates - progress.update]
        _run_updates(run, samples, items, updates)
        progress.epoch, progress.position = progress.epoch + 1, 0
        progress.count_time()
        record = progress.epochs[-1]
        if "search_s" in record:
            record["search_share"] = record["search_s"] / record["seconds"]
        hooks.on_epoch(progress, samples)
        progress.start_clock()  # checkpoints do not count
    return samples


def _search_chunks(run: _Run, samples: Samples) -> Samples:
    """Chunk search before a cwt epoch (the paper's SBC). Other stages keep their chunks."""
    config, progress = run.job.config, run.progress
    record: dict[str, Any] = {"epoch": progress.epoch}
    progress.epochs.append(record)
    if not isinstance(config, CwtConfig) or config.search.method == "average":
        return samples
    if progress.epoch % config.search.refresh_every_epochs:
        return samples
    started = time.perf_counter()
    seed, bf16 = (run.job.seed, progress.epoch), config.precision == "bf16"
    with run.hooks.search(progress):
        result = rechunk(run.engine.model, run.student.ids, samples, config.search, seed, bf16)
    seconds = time.perf_counter() - started
    progress.search_seconds += seconds
    record |= {**result.record(), "search_s": seconds}
    return result.samples


def _run_updates(run: _Run, samples: Samples, items: Items, updates: list[np.ndarray]) -> None:
    job, student, engine, progress = run.job, run.student, run.engine, run.progress
    engine.model.train()
    fresh: list[tuple[dict[str, Any], torch.Tensor]] = []
    for number, update in enumerate(updates):
        torch.manual_seed(hash((job.seed, progress.update, rank())))  # a resumed run draws the same dropout
        micro_batches: list[MicroBatch] = [
            collate(
                [build_item(items, item, samples, student.ids) for item in share],
                student.pad_id,
                _device(engine),
            )
            for share in shares_of(update, items.tokens_I, world(), job.split)[rank()]
        ]
        num_targets = int(items.targets_I[update].sum())  # N, the denominator of the loss
        lr = learning_rate(job.config.optim, progress.update, job.updates)
        if run.removal and run.removal.grows(progress.update):
            reset_optimizer(engine)
        loss = engine.update(micro_batches, num_targets, lr)
        row = {"update": progress.update, "epoch": progress.epoch, "target_tokens": num_targets, "lr": lr}
        fresh.append((row, loss))
        progress.update, progress.position = progress.update + 1, progress.position + 1
        progress.target_tokens += num_targets
        progress.item_tokens += int(items.tokens_I[update].sum())
        run.hooks.on_update(progress)
        if len(fresh) == CHECK_EVERY_UPDATES or number == len(updates) - 1:
            _check(progress, fresh, run.hooks)
            fresh = []
            if number < len(updates) - 1:
                progress.count_time()
                run.hooks.in_epoch(progress, samples)
                progress.start_clock()


def _check(progress: Progress, fresh: list[tuple[dict[str, Any], torch.Tensor]], hooks: Hooks) -> None:
    rows = [{**row, "loss_nats": float(loss)} for row, loss in fresh]
    for row in rows:
        if not math.isfinite(row["loss_nats"]):
            raise NonFiniteLoss(
                f"the loss or its gradient became {row['loss_nats']} at update {row['update']} "
                f"(epoch {row['epoch']}, lr {row['lr']:g}). Lower the learning rate, warm up longer, or use "
                "fp32; the last checkpoint was written before this update"
            )
    progress.history.extend(rows)
    hooks.on_updates(progress, rows)


def _device(engine: Engine) -> torch.device:
    return next(engine.model.parameters()).device
