"""What runs on every rank of a training run: load, train, save checkpoints, export."""

from pathlib import Path
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
from skipthink_ray.rows import SKIP_SCHEMA, tracked, tracked_epochs
from skipthink_ray.runtime.board import Board
from skipthink_ray.training.backend import choose_backend, start_engine
from skipthink_ray.training.batches import Split
from skipthink_ray.training.checkpoint import (
    GivenUp,
    NonFiniteLoss,
    Progress,
    load_checkpoint,
    load_weights,
)
from skipthink_ray.training.engine import rank
from skipthink_ray.training.export import export
from skipthink_ray.training.hooks import Saver, hooks
from skipthink_ray.training.loop import Job, train
from skipthink_ray.training.markers import attach
from skipthink_ray.training.node_copy import node_copy

if TYPE_CHECKING:
    from skipthink_ray.training.launch import Request  # which imports this module


def work(arguments: dict[str, Any]) -> dict[str, Any]:
    """Runs on every rank. Returns the summary, or {"failed": why} if a restart would fail again."""
    request: Request = arguments["request"]
    cluster = request.config.cluster
    torch.set_num_threads(max(1, int(cluster.cpus_per_worker)))
    board: Board | None = arguments["board"] if rank() == 0 else None
    samples, progress = Samples(ray.get(arguments["tokens"])), Progress()
    job = Job(
        request.stage,
        request.train_config,
        request.updates,
        request.config.seed,
        Split(cluster.accumulation, cluster.micro_batch_tokens),
        _kept(request, samples),
    )
    with node_copy(request.student, "student") as folder:
        student = _student(request, folder)
    backend, remark = choose_backend(cluster, request.train_config, student.model.num_parameters())
    sharded = backend == "deepspeed" and cluster.zero == 3
    if not sharded:  # ZeRO-3 moves its shards itself, as the device may be too small for the whole student
        student.model.to(get_device())
    if board and remark:
        board.say(remark)
    markers = attach(student.model, student.ids, request.train_config.optim)
    checkpoint = ray.train.get_checkpoint()
    if checkpoint:
        with checkpoint.as_directory() as saved:
            if rank() == 0 or not sharded:  # ZeRO-3 takes the weights of rank 0
                load_weights(Path(saved), student.model)
            engine = start_engine(student.model, request.train_config, cluster, backend, markers)
            empty = collate([], student.pad_id, next(engine.model.parameters()).device)
            engine.update([empty], 1, lr=0.0)  # creates the optimiser states
            progress, samples = load_checkpoint(Path(saved), engine, samples)
    else:
        engine = start_engine(student.model, request.train_config, cluster, backend, markers)
    if board:  # a killed driver may not have tracked these steps; the tracker ignores known ones
        board.log(tracked(job.stage, progress.history))
        board.log(tracked_epochs(job.stage, progress.epochs[: progress.epoch], progress.update))
    try:
        calls = hooks(job, Saver(engine, cluster, job.updates, board), board, arguments["board"].is_watched)
        samples = train(job, samples, student, engine, progress, calls)
    except NonFiniteLoss as error:
        return {"failed": str(error)}
    except GivenUp as error:
        return {"given_up": str(error)}
    fresh = None
    if rank() == 0:
        with request.student.local("student") as folder:
            fresh = _student(request, folder)
    return export(request, fresh, engine, samples, progress, backend)


def _student(request: "Request", folder: Path) -> Student:
    """The student to start from, with stage markers unless its items have no markers."""
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
