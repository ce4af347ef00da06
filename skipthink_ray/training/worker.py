"""What runs on every rank of a training run: load, train, save checkpoints, export."""

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import ray
import ray.train
import torch
from ray.train.torch import get_device

from skipthink_ray.method.modes import UNMARKED
from skipthink_ray.method.samples import Samples
from skipthink_ray.models.batching import collate
from skipthink_ray.models.student import Student, load_student, with_stages
from skipthink_ray.rows import SKIP_SCHEMA
from skipthink_ray.runtime.board import Board
from skipthink_ray.training.backend import choose_backend, start_engine
from skipthink_ray.training.checkpoint import (
    GivenUp,
    NonFiniteLoss,
    Progress,
    load_checkpoint,
    load_weights,
    save_checkpoint,
)
from skipthink_ray.training.engine import Engine, any_rank, rank
from skipthink_ray.training.export import export
from skipthink_ray.training.loop import Hooks, Job, train
from skipthink_ray.training.markers import attach

if TYPE_CHECKING:
    from skipthink_ray.training.launch import Request  # which imports this module

POST_EVERY_S = 1.0
"""Seconds between two posts of the number of updates. So slow updates are reported one by one."""
CHECKPOINT_SHARE = 0.1
"""Largest share of a run's time that checkpoints may take. Short epochs share one."""


def work(arguments: dict[str, Any]) -> dict[str, Any]:
    """Runs on every rank. Returns the summary, or {"failed": why} if a restart would fail again."""
    request: Request = arguments["request"]
    cluster = request.config.cluster
    torch.set_num_threads(max(1, int(cluster.cpus_per_worker)))
    board: Board | None = arguments["board"] if rank() == 0 else None
    backend, remark = choose_backend(cluster)
    if board and remark:
        board.say(remark)
    samples, progress = Samples(ray.get(arguments["tokens"])), Progress()
    job = Job(
        request.stage,
        request.train_config,
        request.updates,
        request.config.seed,
        cluster.accumulation,
        _kept(request, samples),
    )
    student = _student(request)
    student.model.to(get_device())
    markers = attach(student.model, student.ids, request.train_config.optim)
    checkpoint = ray.train.get_checkpoint()
    if checkpoint:
        with checkpoint.as_directory() as saved:
            load_weights(Path(saved), student.model)
            engine = start_engine(student.model, request.train_config, cluster, backend, markers)
            empty = collate([], student.pad_id, next(engine.model.parameters()).device)
            engine.update([empty] * cluster.accumulation, 1, lr=0.0)  # creates the optimiser states
            progress, samples = load_checkpoint(Path(saved), engine, samples)
    else:
        engine = start_engine(student.model, request.train_config, cluster, backend, markers)
    if board:  # a killed driver may not have tracked these steps; the tracker ignores known ones
        board.log(_tracked(job, progress.history))
    try:
        samples = train(
            job, samples, student, engine, progress, _hooks(job, engine, board, arguments["board"].is_watched)
        )
    except NonFiniteLoss as error:
        return {"failed": str(error)}
    except GivenUp as error:
        return {"given_up": str(error)}
    fresh = _student(request) if rank() == 0 else None
    return export(request, fresh, engine, samples, progress, backend)


def _student(request: "Request") -> Student:
    """The student to start from, with stage markers unless its items have no markers."""
    with request.student.local("student") as folder:
        student = load_student(folder)
    if request.stage in UNMARKED or student.ids.stages:  # stt may start from cwt
        return student
    config = request.config
    return with_stages(student, request.num_chunks, config.student.marker_start, config.seed, config.cwt)


def _kept(request: "Request", samples: Samples) -> np.ndarray | None:
    """Chunks that skip items show, [R, M]; None in base and cwt."""
    if request.skips is None:
        return None
    skips = request.skips.table("skips").to_table(columns=SKIP_SCHEMA.names).sort_by("row")
    if not skips["row"].equals(samples.table["row"]):
        raise RuntimeError(f"{request.skips.uri}: its rows differ from those of {request.samples.uri}")
    return np.array(skips["kept"].to_pylist(), dtype=bool)


def _tracked(job: Job, rows: list[dict[str, Any]]) -> list[tuple[int, dict[str, float]]]:
    """History rows as (step, metrics) for the tracker."""
    names = ("loss_nats", "target_tokens", "lr")
    return [(row["update"], {f"{job.stage}/{name}": row[name] for name in names}) for row in rows]


def _hooks(job: Job, engine: Engine, board: Board | None, is_watched: bool) -> Hooks:
    posted = next_checkpoint = 0.0

    def on_update(progress: Progress) -> None:
        nonlocal posted
        if board and time.monotonic() - posted > POST_EVERY_S:
            posted = time.monotonic()
            board.reach(progress.update)

    def on_updates(progress: Progress, rows: list[dict[str, Any]]) -> None:
        if board:
            loss = sum(row["loss_nats"] for row in rows) / len(rows)
            board.post(progress.update, job.updates, f"epoch {progress.epoch + 1} loss {loss:.3f}")
            board.log(_tracked(job, rows))
        if is_watched:
            reason = board.why_given_up() if board else ""
            if any_rank(bool(reason)):
                raise GivenUp(reason)

    def on_epoch(progress: Progress, samples: Samples) -> None:
        nonlocal next_checkpoint
        if board:
            numbers = {
                f"{job.stage}/{key}": float(value)
                for key, value in progress.epochs[-1].items()
                if key != "epoch"
            }
            board.log([(progress.update - 1, numbers)])
        started = time.monotonic()
        is_due = started >= next_checkpoint or progress.update == job.updates
        if any_rank(rank() == 0 and is_due):  # the clock of rank 0 decides for all
            _report_checkpoint(engine, progress, samples)
            ended = time.monotonic()
            next_checkpoint = ended + (ended - started) * (1 / CHECKPOINT_SHARE - 1)

    return Hooks(on_updates, on_epoch, on_update)


def _report_checkpoint(engine: Engine, progress: Progress, samples: Samples) -> None:
    with TemporaryDirectory() as folder:
        save_checkpoint(Path(folder), engine, progress, samples)
        saved = ray.train.Checkpoint.from_directory(folder) if rank() == 0 else None
        ray.train.report({"update": progress.update, "epoch": progress.epoch}, checkpoint=saved)
