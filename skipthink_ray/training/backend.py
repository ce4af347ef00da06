"""Which engine can start here: DeepSpeed compiles a communication op when it starts on a CPU, so it needs tools."""

import importlib.util
import os
import shutil

from skipthink_ray.config import ClusterConfig
from skipthink_ray.training.engine import any_rank


def deepspeed_problem(use_gpu: bool) -> str | None:
    """Why DeepSpeed cannot start in this process; None where it can."""
    if importlib.util.find_spec("deepspeed") is None:
        return "it is not installed"
    if use_gpu:
        return None
    compiler = os.environ.get("CXX", "c++")
    if not shutil.which(compiler) and not shutil.which("g++"):
        return f"on a CPU it needs a C++ compiler, and none is on PATH ({compiler}, g++)"
    return None if shutil.which("ninja") else "on a CPU it needs ninja, and none is on PATH"


def choose_backend(cluster: ClusterConfig) -> tuple[str, str | None]:
    """(backend, what to say about it), the same on every rank. RuntimeError where DeepSpeed was asked for and cannot start."""
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
            f"DeepSpeed cannot start here ({problem}); training on torch's DistributedDataParallel instead",
        )
    return "deepspeed", None
