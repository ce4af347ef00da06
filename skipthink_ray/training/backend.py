"""Chooses DeepSpeed or DDP, and starts its engine.

On CPU, DeepSpeed compiles a communication op at start and needs build tools.
"""

import importlib.util
import os
import shutil
from typing import Any

import torch

from skipthink_ray.config import ClusterConfig, TrainConfig
from skipthink_ray.training.deepspeed import use_own_tools
from skipthink_ray.training.deepspeed_engine import DeepSpeedEngine
from skipthink_ray.training.engine import DataParallelEngine, Engine, any_rank
from skipthink_ray.training.markers import Markers


def deepspeed_problem(use_gpu: bool) -> str | None:
    """Why DeepSpeed cannot start in this process; None if it can."""
    if importlib.util.find_spec("deepspeed") is None:
        return "it is not installed"
    if use_gpu:
        return None
    use_own_tools()
    compiler = os.environ.get("CXX", "c++")
    if not shutil.which(compiler) and not shutil.which("g++"):
        return f"on CPU it needs a C++ compiler; neither {compiler} nor g++ is on PATH"
    return None if shutil.which("ninja") else "on CPU it needs ninja, which is not on PATH"


def choose_backend(cluster: ClusterConfig) -> tuple[str, str | None]:
    """The backend and an optional notice for the user, the same on every rank.

    Raises RuntimeError if the configuration requires DeepSpeed and it cannot start.
    """
    if cluster.backend == "ddp":
        return "ddp", None
    problem = deepspeed_problem(cluster.use_gpu)
    if any_rank(problem is not None):
        problem = problem or "another node has no C++ compiler or ninja"
        if cluster.backend == "deepspeed":
            raise RuntimeError(f"cluster.backend is deepspeed, but {problem}")
        if cluster.zero_stage == 3:
            raise RuntimeError(f"cluster.zero_stage is 3, but DeepSpeed cannot start: {problem}")
        return (
            "ddp",
            f"DeepSpeed cannot start here ({problem}); training uses torch's DistributedDataParallel instead",
        )
    return "deepspeed", None


def start_engine(
    model: Any, train: TrainConfig, cluster: ClusterConfig, backend: str, markers: Markers | None = None
) -> Engine:
    """Wrap a model for training in this process, alone or as a rank of torch.distributed.

    backend: deepspeed or ddp. markers: the result of `markers.attach` for this model.
    """
    if train.precision == "bf16" and backend == "ddp":
        model.to(torch.float32)  # autocast keeps fp32 master weights
    if backend == "deepspeed":
        return DeepSpeedEngine(model, train, cluster, markers)
    return DataParallelEngine(model, train, markers)
