"""The engine on DeepSpeed, with ZeRO 0 to 3."""

import os
from collections.abc import Iterator
from typing import Any

import torch
from transformers import PreTrainedModel

from skipthink_ray.config import ClusterConfig, TrainConfig
from skipthink_ray.training.deepspeed import deepspeed_config, load_communication_op
from skipthink_ray.training.engine import (
    MicroBatch,
    adamw,
    set_lr,
    total_of_ranks,
    world,
)
from skipthink_ray.training.loss import SummedLoss
from skipthink_ray.training.markers import Markers


class DeepSpeedEngine:
    """DeepSpeed with ZeRO. torch.distributed must be initialised (Ray Train does it)."""

    def __init__(
        self,
        model: PreTrainedModel,
        train: TrainConfig,
        cluster: ClusterConfig,
        markers: Markers | None = None,
    ) -> None:
        os.environ.setdefault("LOCAL_RANK", str(model.device.index or 0))
        import deepspeed  # slow (seconds) and writes log lines, so only if used

        if model.device.type == "cpu" and not cluster.use_gpu:
            load_communication_op()
        config = deepspeed_config(train, cluster, world(), model.num_parameters())
        loss = SummedLoss(model, may_slice=cluster.zero != 3)
        if cluster.zero == 3:
            _shard(model, config)
        self.adamw = adamw(model, train.optim, markers)
        self.engine: Any = deepspeed.initialize(
            model=loss,
            optimizer=self.adamw,
            config=config,
            dist_init_required=False,
        )[0]
        self.model = self.engine.module.model
        self.zero_stage = cluster.zero
        self.linked = False

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        return self.adamw

    def update(self, micro_batches: list[MicroBatch], num_targets: int, lr: float) -> torch.Tensor:
        set_lr(self.engine.optimizer, lr)
        total = torch.zeros((), device=micro_batches[0]["labels"].device)
        for number, batch in enumerate(micro_batches, start=1):
            self.engine.set_gradient_accumulation_boundary(number == len(micro_batches))
            loss = self.engine(**batch) / num_targets
            self.engine.backward(loss * world())
            total += loss.detach()
        self.engine.step()
        if not self.linked:
            self._link_states()
        if self.engine.skipped_steps:  # DeepSpeed silently skips a step if a gradient is not finite
            total.fill_(torch.nan)
        return total_of_ranks(total)

    def _link_states(self) -> None:
        """Tell DeepSpeed where to find the optimiser states of every parameter group.

        ZeRO 1 and 2 look for them after the first group's first step. The states of the other groups do not
        exist by then.
        """
        from deepspeed.utils import lazy_init_hp_params_optimizer_state

        if self.zero_stage in (1, 2):
            zero = self.engine.optimizer
            for group, partition in zip(zero.bit16_groups, zero.single_partition_of_fp32_groups, strict=True):
                lazy_init_hp_params_optimizer_state(group, partition, zero.optimizer.state)
        self.linked = True

    def state(self, name: str, parameter: torch.nn.Parameter, key: str | None) -> torch.Tensor:
        from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

        value = (
            safe_get_full_fp32_param(parameter)
            if key is None
            else safe_get_full_optimizer_state(parameter, key)
        )
        if value is None:  # ZeRO-0 keeps parameters and states in torch's own places
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


def _shard(model: PreTrainedModel, config: dict[str, Any]) -> None:
    """Move a model to the device of this rank, and split each of its parameters over the ranks.

    That happens parameter by parameter, so no GPU ever holds the whole model. `Init` wants a module, so it
    gets the first parameter in one; the generator moves each of the others just before it is split.
    """
    import deepspeed
    from deepspeed.accelerator import get_accelerator

    accelerator: Any = get_accelerator()
    device: str = accelerator.device_name(int(os.environ["LOCAL_RANK"]))
    dtype = torch.bfloat16 if config["bf16"]["enabled"] else torch.float32
    parameters = _moved(model, device, dtype)
    first: Any = next(parameters)
    deepspeed.zero.Init(module=torch.nn.ParameterList([first]), config_dict_or_path=config)
    first.convert_to_zero_parameters(parameters)
    for buffer in model.buffers():
        buffer.data = buffer.data.to(device)


def _moved(model: PreTrainedModel, device: str, dtype: torch.dtype) -> Iterator[torch.nn.Parameter]:
    for parameter in model.parameters():
        parameter.data = parameter.data.to(device).to(dtype)
        yield parameter
