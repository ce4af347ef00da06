"""What turns a micro-batch into an optimiser step: DeepSpeed (ZeRO 0-3) or torch's DistributedDataParallel.

Both average gradients over the W ranks, and DeepSpeed also over the A micro-batches. The method wants the *sum* of the
token losses over the N target tokens of the whole update (method §2), so every micro-batch's summed loss is scaled by
W (and A) over N: gradients then equal those of one large batch, for any W and A.
"""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from skipthink_ray.config import ClusterConfig, OptimConfig, TrainConfig
from skipthink_ray.models.batching import IGNORE
from skipthink_ray.training.deepspeed import deepspeed_config

MicroBatch = dict[str, torch.Tensor]
Parameters = Iterator[tuple[str, torch.nn.Parameter]]


class Engine(Protocol):
    """A model on its way through training."""

    model: Any
    """The bare model; under ZeRO-3 its parameters are sharded, and every rank must call it together."""

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """torch's AdamW; under ZeRO its states are flat shards."""
        ...

    def update(self, micro_batches: list[MicroBatch], num_targets: int, lr: float) -> torch.Tensor:
        """One optimiser step. Returns the update's loss, nats per target token, the same on every rank; NaN for a broken gradient."""
        ...

    def state(self, name: str, parameter: torch.nn.Parameter, key: str | None) -> torch.Tensor:
        """The full fp32 parameter (key None) or optimiser state `exp_avg`, `exp_avg_sq`. Collective."""
        ...

    def set_state(self, parameter: torch.nn.Parameter, key: str | None, value: torch.Tensor) -> None:
        """Overwrite what `state` reads. Collective."""
        ...


def start_engine(model: Any, train: TrainConfig, cluster: ClusterConfig, backend: str) -> Engine:
    """Wrap a model for training in this process, alone or as a rank of torch.distributed. backend: deepspeed or ddp."""
    if train.precision == "bf16" and backend == "ddp":
        model.to(torch.float32)  # autocast keeps fp32 master weights
    return DeepSpeedEngine(model, train, cluster) if backend == "deepspeed" else DataParallelEngine(model, train)


def world() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def any_rank(mine: bool) -> bool:
    """Whether something holds on any rank."""
    if not dist.is_initialized():
        return mine
    flag = torch.tensor(int(mine), device="cuda" if dist.get_backend() == "nccl" else "cpu")
    dist.all_reduce(flag, op=dist.ReduceOp.MAX)
    return bool(flag)


def adamw(model: torch.nn.Module, optim: OptimConfig) -> torch.optim.AdamW:
    """torch's own AdamW on every device: DeepSpeed's fused one would be compiled first (112 s on a CPU)."""
    return torch.optim.AdamW(model.parameters(), lr=optim.lr, betas=(0.9, optim.beta2), weight_decay=optim.weight_decay)


def summed_loss(logits_BTV: torch.Tensor, labels_BT: torch.Tensor) -> torch.Tensor:
    """Cross-entropy summed over the target tokens, in nats."""
    targets = labels_BT[:, 1:]
    counted = targets != IGNORE
    return cross_entropy(logits_BTV[:, :-1][counted].float(), targets[counted], reduction="sum")


def _total(loss: torch.Tensor) -> torch.Tensor:
    if dist.is_initialized():
        dist.all_reduce(loss)
    return loss


class DataParallelEngine:
    """torch's DistributedDataParallel, or the bare model in a single process."""

    def __init__(self, model: PreTrainedModel, train: TrainConfig) -> None:
        self.model: Any = model
        self.clip_norm = train.optim.clip_norm
        self.bf16 = train.precision == "bf16"
        self.adamw = adamw(model, train.optim)
        on_gpu = [model.device.index] if model.device.type == "cuda" else None
        wrap = dist.is_initialized()
        self.parallel: Any = torch.nn.parallel.DistributedDataParallel(model, on_gpu) if wrap else model

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        return self.adamw

    def update(self, micro_batches: list[MicroBatch], num_targets: int, lr: float) -> torch.Tensor:
        total = torch.zeros((), device=micro_batches[0]["labels"].device)
        for number, batch in enumerate(micro_batches):
            with self._sync(last=number == len(micro_batches) - 1), self._autocast(total.device.type):
                logits_BTV = self.parallel(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
                loss = summed_loss(logits_BTV, batch["labels"]) / num_targets
                (loss * world()).backward()
            total += loss.detach()
        if self.clip_norm:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.clip_norm)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.step()
        self.optimizer.zero_grad()
        return _total(total)

    def state(self, name: str, parameter: torch.nn.Parameter, key: str | None) -> torch.Tensor:
        return parameter.detach() if key is None else self.optimizer.state[parameter][key]

    def set_state(self, parameter: torch.nn.Parameter, key: str | None, value: torch.Tensor) -> None:
        (parameter.data if key is None else self.optimizer.state[parameter][key]).copy_(value)

    def _sync(self, last: bool) -> AbstractContextManager[Any]:
        ddp = isinstance(self.parallel, torch.nn.parallel.DistributedDataParallel)
        return nullcontext() if last or not ddp else self.parallel.no_sync()

    def _autocast(self, device_type: str) -> AbstractContextManager[Any]:
        return torch.autocast(device_type, torch.bfloat16) if self.bf16 else nullcontext()


class DeepSpeedEngine:
    """DeepSpeed with ZeRO. torch.distributed must be initialised (Ray Train does it)."""

    def __init__(self, model: PreTrainedModel, train: TrainConfig, cluster: ClusterConfig) -> None:
        os.environ.setdefault("LOCAL_RANK", str(model.device.index or 0))
        import deepspeed  # seconds, and a log line each: only where it is used

        self.accumulation = cluster.accumulation
        self.adamw = adamw(model, train.optim)
        self.engine: Any = deepspeed.initialize(
            model=model,  # pyright: ignore[reportArgumentType]
            optimizer=self.adamw,
            config=deepspeed_config(train, cluster, world()),
            dist_init_required=False,
        )[0]
        self.model = self.engine.module
        self.zero_stage = cluster.zero_stage

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        return self.adamw

    def update(self, micro_batches: list[MicroBatch], num_targets: int, lr: float) -> torch.Tensor:
        for group in self.engine.optimizer.param_groups:
            group["lr"] = lr
        total = torch.zeros((), device=micro_batches[0]["labels"].device)
        for batch in micro_batches:
            logits_BTV = self.engine(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
            loss = summed_loss(logits_BTV, batch["labels"]) / num_targets
            self.engine.backward(loss * (world() * self.accumulation))
            self.engine.step()
            total += loss.detach()
        if self.engine.skipped_steps:  # DeepSpeed leaves out a step whose gradient is not finite, and says nothing
            total.fill_(torch.nan)
        return _total(total)

    def state(self, name: str, parameter: torch.nn.Parameter, key: str | None) -> torch.Tensor:
        from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

        value = safe_get_full_fp32_param(parameter) if key is None else safe_get_full_optimizer_state(parameter, key)
        if value is None:  # ZeRO-0: DeepSpeed leaves parameters and states where torch puts them
            value = parameter.detach() if key is None else self.engine.optimizer.state[parameter][key]
        return value.view(getattr(parameter, "ds_shape", parameter.shape))

    def set_state(self, parameter: torch.nn.Parameter, key: str | None, value: torch.Tensor) -> None:
        from deepspeed.utils import safe_set_full_fp32_param, safe_set_full_optimizer_state

        if self.zero_stage == 0:
            (parameter.data if key is None else self.engine.optimizer.state[parameter][key]).copy_(value)
        elif key is None:
            safe_set_full_fp32_param(parameter, value)
        else:
            safe_set_full_optimizer_state(parameter, value, key)
