"""Our arms of bench_training.py inside Ray Train."""

from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import ray.train
import torch
from ray.train.torch import TorchConfig

from benchmarks import training_arms
from benchmarks.training_arms import ARMS, Arm, ours
from benchmarks.training_clock import Clock
from benchmarks.training_plan import Plan
from skipthink_ray.config import ClusterConfig
from skipthink_ray.runtime import cluster
from skipthink_ray.runtime.board import Board, start_boards
from skipthink_ray.training.engine import Engine, rank
from skipthink_ray.training.hooks import Saver, hooks
from skipthink_ray.training.loop import Hooks, Job
from skipthink_ray.training.trainer import Trainer


def in_ray(plan: Plan, arm: Arm, launched: float) -> None:
    """Our arm inside the project's trainer, with the hooks of a pipeline's training stage."""
    cluster.connect(ClusterConfig())
    with TemporaryDirectory() as storage:
        Trainer(
            _worker,
            train_loop_config={
                "folder": str(plan.folder),
                "arm": arm.name,
                "launched": launched,
                "board": Board(start_boards(), plan.setting.stage),
            },
            torch_config=TorchConfig(backend="gloo"),
            scaling_config=ray.train.ScalingConfig(
                num_workers=arm.workers, resources_per_worker={"CPU": arm.threads}
            ),
            run_config=ray.train.RunConfig(name="bench", storage_path=storage),
        ).fit()
    cluster.disconnect()


def _others() -> dict[int, float]:
    """CPU seconds of the driver and its cluster, but not of the training workers, by process id."""
    driver = next(one for one in psutil.Process().parents() if training_arms.__name__ in one.cmdline())
    seconds = dict[int, float]()
    for process in (driver, *driver.children(recursive=True)):
        with suppress(psutil.Error):  # it has ended
            if "RayTrainWorker" not in " ".join(process.cmdline()):
                seconds[process.pid] = sum(process.cpu_times()[:2])
    return seconds


def _worker(arguments: dict[str, Any]) -> None:
    """Runs on every rank."""
    plan, arm = Plan.read(Path(arguments["folder"])), ARMS[arguments["arm"]]
    torch.set_num_threads(arm.threads)
    clock = Clock(plan.setting, arguments["launched"], _others if rank() == 0 else dict)
    board = arguments["board"] if rank() == 0 else None

    def make_hooks(job: Job, engine: Engine, cluster: ClusterConfig) -> Hooks:
        saver = Saver(engine, cluster, job.updates + 1, board)  # so that the last update has a checkpoint
        return hooks(job, saver, board, is_watched=False)

    ours(plan, arm, clock, make_hooks)
    clock.write(plan.folder / f"{arm.name}-{rank()}.json")
