"""Chooses DeepSpeed or DDP, and starts its engine.

On CPU, DeepSpeed compiles a communication op at start and needs build tools.
"""

import importlib.util
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import torch

from skipthink_ray.config import ClusterConfig, TrainConfig
from skipthink_ray.training.deepspeed import use_own_tools
from skipthink_ray.training.deepspeed_engine import DeepSpeedEngine
from skipthink_ray.training.engine import DataParallelEngine, Engine, any_rank, world
from skipthink_ray.training.markers import Markers
from skipthink_ray.training.states import needed

CONTAINER_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
"""Where Linux says how many bytes a container may use, in versions 2 and 1 of its control groups."""


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


def choose_backend(cluster: ClusterConfig, train: TrainConfig, size: int) -> tuple[str, str | None]:
    """The backend and an optional notice for the user, the same on every rank.

    Raises RuntimeError if the configuration requires DeepSpeed and it cannot start.
    :param size: parameters of the student
    """
    if cluster.backend == "ddp":
        return "ddp", None
    if cluster.chooses_backend and not any_rank(_needs_deepspeed(cluster, train, size)):
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


def _needs_deepspeed(cluster: ClusterConfig, train: TrainConfig, size: int) -> bool:
    """Whether the student takes more than half of this worker's memory under DDP, and less with DeepSpeed."""
    if cluster.use_gpu:
        memory = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
    else:
        memory = memory_bytes() / int(os.environ.get("LOCAL_WORLD_SIZE", world()))  # Ray Train sets it
    with_ddp = cluster.model_copy(update={"backend": "ddp"})
    ddp_bytes = sum(needed(size, train, with_ddp).values())
    return ddp_bytes > memory / 2 and sum(needed(size, train, cluster).values()) < ddp_bytes


def memory_bytes() -> int:
    """The memory of this machine, or of the container that this process runs in.

    Ray has such a function too, but it is private, and this module works without Ray.
    """
    machine = psutil.virtual_memory().total
    for file in CONTAINER_LIMITS:
        with suppress(OSError, ValueError):  # without a limit, the file says `max`
            return min(machine, int(file.read_text()))
    return machine


def start_engine(
    model: Any, train: TrainConfig, cluster: ClusterConfig, backend: str, markers: Markers | None = None
) -> Engine:
    """Wrap a model for training in this process, alone or as a rank of torch.distributed.

    backend: deepspeed or ddp. markers: the result of `markers.attach` for this model.
    """
    if train.precision == "bf16" and backend == "ddp":
        model.to(torch.float32)  # autocast keeps fp32 master weights
    if cluster.gradient_checkpointing:
        model.activation_checkpointing_enable()
    if backend == "deepspeed":
        return DeepSpeedEngine(model, train, cluster, markers)
    return DataParallelEngine(model, train, markers)
