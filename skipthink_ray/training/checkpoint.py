"""Checkpoints without pickle, independent of ZeRO stage, world size and backend.

A checkpoint is a folder with weights.safetensors, exp_avg.safetensors and exp_avg_sq.safetensors (full fp32
tensors by parameter name), chunks.safetensors (ends_RM) and state.json. DeepSpeed's own checkpoints are not
used: loading them unpickles, and they depend on the number of workers and the ZeRO stage.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from skipthink_ray.method.samples import Samples
from skipthink_ray.training.engine import Engine, any_rank, rank


class GivenUp(RuntimeError):
    """The driver does not want the result any more."""


class NonFiniteLoss(RuntimeError):
    """The loss or a weight became NaN or infinite. The last checkpoint was written before that."""


KEYS: dict[str, str | None] = {"weights": None, "exp_avg": "exp_avg", "exp_avg_sq": "exp_avg_sq"}
CHUNKS = "chunks.safetensors"


@dataclass
class Progress:
    """The state of a training run. The next update is number `position` of epoch `epoch`."""

    update: int = 0
    epoch: int = 0
    position: int = 0
    target_tokens: int = 0
    item_tokens: int = 0
    seconds: float = 0.0
    search_seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)
    """One row per update, HISTORY_SCHEMA."""
    epochs: list[dict[str, Any]] = field(default_factory=list)
    """One record per epoch: boundaries moved, energy, padding, seconds."""

    def __post_init__(self) -> None:
        self.start_clock()

    def start_clock(self) -> None:
        """Count the time from now on."""
        self.counted_until = time.perf_counter()

    def count_time(self) -> None:
        """Add the time since the last call to the seconds of the run and of its current epoch."""
        now = time.perf_counter()
        spent, self.counted_until = now - self.counted_until, now
        self.seconds += spent
        self.epochs[-1]["seconds"] = self.epochs[-1].get("seconds", 0.0) + spent


def full_tensors(engine: Engine, key: str | None) -> Iterator[tuple[str, torch.Tensor]]:
    """All parameters (key None) or one optimiser state, one after the other. Collective.

    Rank 0 gets the name and the full fp32 value of each; the other ranks get none.
    """
    for name, parameter in engine.model.named_parameters():
        value = engine.state(name, parameter, key)
        if rank() == 0:
            yield name, value.float().cpu()


def save_checkpoint(folder: Path, engine: Engine, progress: Progress, samples: Samples) -> None:
    """Save a checkpoint; every rank must call this, and rank 0 writes.

    Rank 0 holds one copy of the student in fp32 at a time: its weights, then each of the two states.
    Raises NonFiniteLoss on every rank if a weight or optimiser state is NaN or infinite.
    """
    for file, key in KEYS.items():
        tensors = {name: value.contiguous().clone() for name, value in full_tensors(engine, key)}
        if _anywhere_broken(tensors):
            raise NonFiniteLoss(
                f"a weight is not finite after update {progress.update - 1}; lower the learning rate"
            )
        if rank() == 0:
            save_file(tensors, folder / f"{file}.safetensors")
        del tensors  # before the next ones are made
    if rank() == 0:
        ends_RM = samples.ends_RM.astype(np.int64)
        safetensors.numpy.save_file({"ends_RM": ends_RM}, folder / CHUNKS)
        (folder / "state.json").write_text(json.dumps({"adam_step": adam_step(engine), **asdict(progress)}))


def _anywhere_broken(tensors: dict[str, torch.Tensor]) -> bool:
    """Whether rank 0 has a NaN or infinite number; the same answer on every rank."""
    return any_rank(any(not bool(tensor.isfinite().all()) for tensor in tensors.values()))


def load_weights(folder: Path, model: torch.nn.Module) -> None:
    """Load a checkpoint's weights into a bare model, before an engine wraps it."""
    with safe_open(folder / "weights.safetensors", "pt") as saved, torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(saved.get_tensor(name))


def load_checkpoint(folder: Path, engine: Engine, samples: Samples) -> tuple[Progress, Samples]:
    """Overwrite the engine's fp32 weights and optimiser states. Returns the samples with the saved chunks.

    The states must exist: run one update at learning rate 0 first.
    """
    for file, key in KEYS.items():
        with safe_open(folder / f"{file}.safetensors", "pt") as saved:
            for name, parameter in engine.model.named_parameters():
                engine.set_state(parameter, key, saved.get_tensor(name).to(parameter.device))
    state = json.loads((folder / "state.json").read_text())
    set_adam_step(engine, state.pop("adam_step"))
    ends_RM = safetensors.numpy.load_file(folder / CHUNKS)["ends_RM"]
    return Progress(**state), samples.with_ends(ends_RM)


def adam_step(engine: Engine) -> float:
    return next((float(state["step"]) for state in engine.optimizer.state.values() if "step" in state), 0.0)


def set_adam_step(engine: Engine, step: float) -> None:
    for state in engine.optimizer.state.values():
        if "step" in state:
            state["step"] = (
                torch.full_like(state["step"], step) if torch.is_tensor(state["step"]) else int(step)
            )
