"""The training loop of base, cwt and stt. Uses torch but not Ray; `Hooks` connects it to its caller.

An epoch searches chunks (cwt only), lists the items, plans the updates and runs them. Order, dropout and
chunks are functions of (seed, epoch, update), so a run resumed from a checkpoint equals one that never
stopped.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from skipthink_ray.config import CwtConfig, TrainConfig
from skipthink_ray.models.batching import collate
from skipthink_ray.models.student import Student
from skipthink_ray.rows import Samples
from skipthink_ray.training.batches import (
    Items,
    Stage,
    build_item,
    epoch_items,
    padding_share,
    plan_updates,
    share_of,
)
from skipthink_ray.training.checkpoint import NonFiniteLoss, Progress
from skipthink_ray.training.engine import Engine, MicroBatch, rank, world
from skipthink_ray.training.rechunk import rechunk
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
    accumulation: int = 1


@dataclass(frozen=True)
class Hooks:
    """Callbacks. All ranks call them together."""

    on_updates: Callable[[Progress, list[dict[str, Any]]], None]
    """Called every few updates, with the history rows since the last call."""
    on_epoch: Callable[[Progress, np.ndarray], None]
    """Called at the end of each epoch and of the run, with ends_RM; writes the checkpoint."""
    on_update: Callable[[Progress], None] = lambda _: None
    """Called after every update, before its loss is known. It must not wait for the device."""


def train(
    job: Job,
    samples: Samples,
    kept_RM: np.ndarray,
    student: Student,
    engine: Engine,
    progress: Progress,
    ends_RM: np.ndarray,
    hooks: Hooks,
) -> np.ndarray:
    """Train from `progress` up to `job.updates` updates. Returns the final chunk ends.

    `kept_RM`: the chunks that skip items keep (stt). Raises NonFiniteLoss on all ranks together.
    """
    while progress.update < job.updates:
        started = time.perf_counter()
        if progress.position == 0:
            ends_RM = _search_chunks(job, samples, student, engine, progress, ends_RM)
        rng = np.random.default_rng((job.seed, progress.epoch))
        items = epoch_items(job.stage, job.config, samples, ends_RM, kept_RM, rng, len(student.ids.start))
        updates = plan_updates(items, job.config, rng)
        if not updates:
            raise ValueError(f"{job.stage}: there are no samples to train on")
        if progress.position == 0:
            padding = padding_share(items, updates, world(), job.accumulation)
            progress.epochs[-1] |= {
                "items": len(items.row_I),
                "updates": len(updates),
                "padding_share": padding,
            }
        updates = updates[progress.position : progress.position + job.updates - progress.update]
        _run_updates(job, samples, student, engine, progress, ends_RM, items, updates, hooks)
        progress.epoch, progress.position = progress.epoch + 1, 0
        seconds = time.perf_counter() - started
        progress.seconds += seconds
        if "search_s" in progress.epochs[-1]:
            progress.epochs[-1].setdefault("search_share", progress.epochs[-1]["search_s"] / seconds)
        hooks.on_epoch(progress, ends_RM)
    return ends_RM


def _search_chunks(
    job: Job, samples: Samples, student: Student, engine: Engine, progress: Progress, ends_RM: np.ndarray
) -> np.ndarray:
    """Chunk search before a cwt epoch (the paper's SBC). Other stages keep their chunks."""
    record: dict[str, Any] = {"epoch": progress.epoch}
    progress.epochs.append(record)
    if not isinstance(job.config, CwtConfig) or job.config.search.method == "average":
        return ends_RM
    if progress.epoch % job.config.search.refresh_every_epochs:
        return ends_RM
    started = time.perf_counter()
    seed, bf16 = (job.seed, progress.epoch), job.config.precision == "bf16"
    result = rechunk(engine.model, student.ids, samples, ends_RM, job.config.search, seed, bf16)
    seconds = time.perf_counter() - started
    progress.search_seconds += seconds
    record |= {**result.record(), "search_s": seconds}
    return result.ends_RM


def _run_updates(
    job: Job,
    samples: Samples,
    student: Student,
    engine: Engine,
    progress: Progress,
    ends_RM: np.ndarray,
    items: Items,
    updates: list[np.ndarray],
    hooks: Hooks,
) -> None:
    engine.model.train()
    fresh: list[tuple[dict[str, Any], torch.Tensor]] = []
    for number, update in enumerate(updates):
        torch.manual_seed(hash((job.seed, progress.update, rank())))  # dropout
        micro_batches: list[MicroBatch] = [
            collate(
                [build_item(items, item, samples, ends_RM, student.ids) for item in share],
                student.pad_id,
                _device(engine),
            )
            for share in share_of(update, rank(), world(), job.accumulation)
        ]
        num_targets = int(items.targets_I[update].sum())
        lr = learning_rate(job.config.optim, progress.update, job.updates)
        loss = engine.update(micro_batches, num_targets, lr)
        row = {"update": progress.update, "epoch": progress.epoch, "target_tokens": num_targets, "lr": lr}
        fresh.append((row, loss))
        progress.update, progress.position = progress.update + 1, progress.position + 1
        progress.target_tokens += num_targets
        progress.item_tokens += int(items.tokens_I[update].sum())
        hooks.on_update(progress)
        if len(fresh) == CHECK_EVERY_UPDATES or number == len(updates) - 1:
            _check(progress, fresh, hooks)
            fresh = []


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
