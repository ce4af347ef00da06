"""Starts a training run on Ray Train, and reports its result or why it failed.

This module imports neither torch nor transformers at its top: the driver and Ray Train's controller run it
too, and need no model. What runs on every rank is in `worker`.
"""

import os
from dataclasses import dataclass
from functools import partial
from typing import Any

import ray
import ray.train

from skipthink_ray.config import PipelineConfig, TrainConfig
from skipthink_ray.method.samples import COLUMNS, training_samples
from skipthink_ray.method.skipping import Fold
from skipthink_ray.rows import CHUNK_STEPS
from skipthink_ray.runtime.artifacts import CHECKPOINTS, Folder
from skipthink_ray.runtime.board import Board
from skipthink_ray.runtime.cluster import NoRoom
from skipthink_ray.runtime.console import say
from skipthink_ray.runtime.progress import StageLine
from skipthink_ray.runtime.stopping import Stopped, Stopper
from skipthink_ray.training.batches import Stage
from skipthink_ray.training.restarts import fit_with_restarts


class WouldFailAgain(RuntimeError):
    """Training failed for a reason that a restart does not remove."""


@dataclass(frozen=True)
class Request:
    """One training run, as sent to its workers."""

    stage: Stage
    config: PipelineConfig
    updates: int
    num_chunks: int
    """M; 1 for base and icot, which have no chunks."""
    samples: Folder
    """Artifact with the `samples` table."""
    student: Folder
    """Artifact with the `student` to start from."""
    skips: Folder | None
    """Artifact with the `skips` table (stt only)."""
    out: Folder
    held_out: Fold | None = None
    """Samples to leave out (for the cross-fitted gate)."""

    @property
    def train_config(self) -> TrainConfig:
        return getattr(self.config, self.stage)


def launch(request: Request, line: StageLine, stopper: Stopper) -> dict[str, Any]:
    """Train on the cluster, from the newest checkpoint if there is one.

    Raises RuntimeError with the worker's message if training fails, WouldFailAgain if the loss diverged,
    NoRoom if the cluster did not place the workers in time, and Stopped if `stopper` or the driver ends it.
    """
    ask = partial(line.board.give_up, "stopped")  # after a checkpoint, see `Saver`
    outcome = stopper.call(_fit, request, line.board, _environment(), ask=ask)
    if "no_room" in outcome:
        say(line.console, "the cluster did not place the workers in time; trying again", line.name)
        raise NoRoom(f"{request.stage} failed: {outcome['no_room']}")
    if "error" in outcome:
        trace = RuntimeError(f"on the cluster:\n{outcome['trace']}")
        raise RuntimeError(f"{request.stage} failed: {outcome['error']}") from trace
    if "given_up" in outcome:
        raise Stopped(outcome["given_up"])
    if "failed" in outcome:
        raise WouldFailAgain(
            f"{request.stage} stopped: {outcome['failed']}. Checkpoints: {request.out.child(CHECKPOINTS).uri}"
        )
    return outcome


def _environment() -> dict[str, str]:
    """The driver's settings of Ray Train, which the process that calls it passes on to the workers."""
    return {name: value for name, value in os.environ.items() if name.startswith("RAY_TRAIN_")}


def _fit(request: Request, board: Board, environment: dict[str, str]) -> dict[str, Any]:
    """Runs in a Ray task. Returns the result of rank 0 (see `worker.work`), or why Ray Train gave up."""
    from skipthink_ray.training.network import NodeTorchConfig  # imports torch
    from skipthink_ray.training.trainer import Trainer

    os.environ.update(environment)
    cluster = request.config.cluster
    samples = request.samples.table("samples")
    if request.skips:  # stt: the samples of cwt, with their chunks
        tokens = training_samples(samples, [*COLUMNS, CHUNK_STEPS.name])
    else:
        tokens = training_samples(samples, COLUMNS, request.held_out).in_average_chunks(request.num_chunks)
    trainer = Trainer(
        _worker,
        train_loop_config={
            "request": request,
            "tokens": ray.put(tokens.table),  # all ranks of a node map the same copy
            "board": board,
        },
        torch_config=NodeTorchConfig(backend="nccl" if cluster.use_gpu else "gloo"),
        scaling_config=ray.train.ScalingConfig(
            num_workers=cluster.num_workers,
            use_gpu=cluster.use_gpu,
            resources_per_worker={"CPU": cluster.cpus_per_worker, **({"GPU": 1} if cluster.use_gpu else {})},
        ),
        run_config=ray.train.RunConfig(
            name=CHECKPOINTS,  # Ray Train finds the checkpoints of an earlier run of this name
            storage_path=request.out.path,
            storage_filesystem=request.out.filesystem,
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=2),
            failure_config=ray.train.FailureConfig(controller_failure_limit=2),  # see `restarts`
        ),
    )
    return fit_with_restarts(trainer, request.out.child(CHECKPOINTS), cluster.max_failures, board.say)


def _worker(arguments: dict[str, Any]) -> dict[str, Any]:
    """Runs on every rank."""
    from skipthink_ray.training.worker import work

    return work(arguments)
