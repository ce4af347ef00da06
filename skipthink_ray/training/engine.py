"""The engine that turns micro-batches into an optimiser step. This one is DistributedDataParallel.

DistributedDataParallel and DeepSpeed average gradients over the W ranks. The method divides the *sum* of the
token losses by the N target tokens of the whole update (method §2). So each micro-batch's summed loss is
multiplied by W and divided by N. The gradients then equal those of one large batch, for any number of ranks
and micro-batches.
"""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch
import torch.distributed as dist
from transformers import PreTrainedModel

from skipthink_ray.config import OptimConfig, TrainConfig
from skipthink_ray.training.loss import SummedLoss
from skipthink_ray.training.markers import Markers

MicroBatch = dict[str, torch.Tensor]
Parameters = Iterator[tuple[str, torch.nn.Parameter]]


class Engine(Protocol):
    """A model with its optimiser, wrapped for training."""

    model: Any
    """The bare model; under ZeRO-3 its parameters are sharded, and every rank must call it together."""

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """torch's AdamW; under ZeRO its states are flat shards."""
        ...

    def update(self, micro_batches: list[MicroBatch], num_targets: int, lr: float) -> torch.Tensor:
        """One optimiser step. Returns the update's loss in nats per target token, the same on every rank.

        The loss is NaN if a gradient is not finite.
        """
        ...

    def state(self, name: str, parameter: torch.nn.Parameter, key: str | None) -> torch.Tensor:
        """The full fp32 parameter (key None) or optimiser state `exp_avg`, `exp_avg_sq`. Collective."""
        ...

    def set_state(self, parameter: torch.nn.Parameter, key: str | None, value: torch.Tensor) -> None:
        """Overwrite what `state` reads. Collective."""
        ...


def world() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def any_rank(mine: bool) -> bool:
    """Whether `mine` is true on any rank."""
    if not dist.is_initialized():
        return mine
    flag = torch.tensor(int(mine), device="cuda" if dist.get_backend() == "nccl" else "cpu")
    dist.all_reduce(flag, op=dist.ReduceOp.MAX)
    return bool(flag)


def adamw(model: torch.nn.Module, optim: OptimConfig, markers: Markers | None) -> torch.optim.AdamW:
    """torch's fused AdamW on every device. DeepSpeed's needs compilation first (112 s on a CPU).

    `lr_scale` of a parameter group multiplies the learning rate of every update.
    """
    own = set(markers.rows) if markers else set()
    groups: list[dict[str, Any]] = [
        {"params": [parameter for parameter in model.parameters() if parameter not in own], "lr_scale": 1.0}
    ]
    if markers and markers.rows:
        groups.append({"params": list(markers.rows), "weight_decay": 0.0, "lr_scale": markers.lr_scale})
    return torch.optim.AdamW(
        groups, lr=optim.lr, betas=(0.9, optim.beta2), weight_decay=optim.weight_decay, fused=True
    )


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_scale"]


def total_of_ranks(loss: torch.Tensor) -> torch.Tensor:
    if dist.is_initialized():
        dist.all_reduce(loss)
    return loss


class DataParallelEngine:
    """torch's DistributedDataParallel, or the bare model if there is only one process."""

    def __init__(self, model: PreTrainedModel, train: TrainConfig, markers: Markers | None = None) -> None:
        self.model: Any = model
        self.clip_norm = train.optim.clip_norm
        self.bf16 = train.precision == "bf16"
        self.adamw = adamw(model, train.optim, markers)
        on_gpu = [model.device.index] if model.device.type == "cuda" else None
        self.parallel: Any = SummedLoss(model)
        if world() > 1:  # Ray Train initialises torch.distributed for one rank too
            self.parallel = torch.nn.parallel.DistributedDataParallel(
                self.parallel,
                on_gpu,
                gradient_as_bucket_view=True,  # saves a copy of the gradients
            )

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        return self.adamw

    def update(self, micro_batches: list[MicroBatch], num_targets: int, lr: float) -> torch.Tensor:
        total = torch.zeros((), device=micro_batches[0]["labels"].device)
        for number, batch in enumerate(micro_batches):
            with self._sync(last=number == len(micro_batches) - 1), self._autocast(total.device.type):
                loss = self.parallel(**batch) / num_targets
                (loss * world()).backward()
            total += loss.detach()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.clip_norm or math.inf)
        total = torch.where(norm.isfinite(), total, torch.nan)
        set_lr(self.optimizer, lr)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return total_of_ranks(total)

    def state(self, name: str, parameter: torch.nn.Parameter, key: str | None) -> torch.Tensor:
        return parameter.detach() if key is None else self.optimizer.state[parameter][key]

    def set_state(self, parameter: torch.nn.Parameter, key: str | None, value: torch.Tensor) -> None:
        (parameter.data if key is None else self.optimizer.state[parameter][key]).copy_(value)

    def _sync(self, last: bool) -> AbstractContextManager[Any]:
        ddp = isinstance(self.parallel, torch.nn.parallel.DistributedDataParallel)
        return nullcontext() if last or not ddp else self.parallel.no_sync()

    def _autocast(self, device_type: str) -> AbstractContextManager[Any]:
        return torch.autocast(device_type, torch.bfloat16) if self.bf16 else nullcontext()
