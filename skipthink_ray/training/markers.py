"""Separate parameters for the marker embeddings during training, so that they can have their own learning
rate.

A fine-tuning learning rate moves an embedding by a few thousandths. Markers start close together and would
stay close: the student could not distinguish `[answer]` from `[4]` (method §1). Scaling the gradient does
not help, as AdamW ignores its scale. So the marker rows need their own learning rate, and therefore their
own parameter.

`attach` adds that parameter, and hooks that use it in place of the matrix's rows for input and output.
`merge` writes it back. peft's trainable tokens do the same, but copy the whole embedding matrix twice per
forward pass.
Shape suffixes: B items, T tokens, N positions, K markers, D width, V vocabulary.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import embedding, linear
from torch.utils.hooks import RemovableHandle

from skipthink_ray.config import OptimConfig
from skipthink_ray.method.markup import MarkerIds

ROWS, NTH, IDS = "marker_rows", "marker_of_token", "marker_ids"
PROBE_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Markers:
    """The marker parameters of a model.

    `rows` holds one parameter [K, D] if the model ties its input and output embeddings, else two.
    """

    rows: tuple[torch.nn.Parameter, ...] = ()
    lr_scale: float = 1.0
    """Their learning rate as a multiple of the common one."""
    hooks: tuple[RemovableHandle, ...] = ()


def attach(model: Any, ids: MarkerIds, optim: OptimConfig) -> Markers:
    """Add marker parameters to a bare model, before an engine wraps it.

    The model must have the weights it had before training, also when a run resumes: the learning rate is
    measured in standard deviations of the initial embeddings. Raises ValueError if the model does more with
    an embedding than look up its row.
    """
    if optim.marker_lr_stds is None:
        return Markers()
    modules = (model.get_input_embeddings(), model.get_output_embeddings())
    index_K = torch.tensor(ids.markers, device=modules[0].weight.device)
    nth_V = torch.full((len(modules[0].weight),), -1, device=index_K.device)
    nth_V[index_K] = torch.arange(len(index_K), device=index_K.device)
    before, hooks = _logits(model, index_K[None]), []
    rows: dict[torch.nn.Parameter, torch.nn.Parameter] = {}
    for module, hook in zip(modules, (_read, _write), strict=True):
        weight = module.weight
        rows.setdefault(weight, torch.nn.Parameter(weight.detach()[index_K].clone()))
        module.register_parameter(ROWS, rows[weight])
        module.register_buffer(IDS, index_K, persistent=False)
        module.register_buffer(NTH, nth_V, persistent=False)
        hooks.append(module.register_forward_hook(hook))
    if not torch.allclose(before, _logits(model, index_K[None]), rtol=PROBE_TOLERANCE, atol=PROBE_TOLERANCE):
        raise ValueError(
            f"optim.marker_lr_stds: {type(model).__name__} does more with an embedding than look up its row, "
            "so its markers cannot have a learning rate of their own; set it to null, and train longer"
        )
    return Markers(
        tuple(rows.values()),
        optim.marker_lr_stds * _spread(modules[0].weight, index_K) / optim.lr,
        tuple(hooks),
    )


@torch.no_grad()
def merge(model: Any, markers: Markers) -> None:
    """Write the marker parameters back into the embeddings, and remove them and their hooks."""
    if not markers.rows:
        return
    for hook in markers.hooks:
        hook.remove()
    for module in (model.get_input_embeddings(), model.get_output_embeddings()):
        module.weight[getattr(module, IDS)] = getattr(module, ROWS).to(module.weight.dtype)
        for name in (ROWS, NTH, IDS):
            delattr(module, name)


def _read(module: Any, inputs: tuple[torch.Tensor, ...], embedded_BTD: torch.Tensor) -> torch.Tensor:
    nth_BT = getattr(module, NTH)[inputs[0]]
    rows_BTD = embedding(nth_BT.clamp(min=0), getattr(module, ROWS))
    return torch.where((nth_BT >= 0)[..., None], rows_BTD, embedded_BTD)


def _write(module: Any, inputs: tuple[torch.Tensor, ...], logits_NV: torch.Tensor) -> torch.Tensor:
    index = getattr(module, IDS)
    bias = None if module.bias is None else module.bias[index]  # keeps the common learning rate
    return logits_NV.index_copy(-1, index, linear(inputs[0], getattr(module, ROWS), bias).to(logits_NV.dtype))


@torch.no_grad()
def _logits(model: Any, ids_BT: torch.Tensor) -> torch.Tensor:
    training = model.training
    logits_BTV = model.eval()(input_ids=ids_BT, use_cache=False).logits
    model.train(training)
    return logits_BTV


def _spread(weight_VD: torch.Tensor, markers: torch.Tensor) -> float:
    """Standard deviation of the embedding entries around their mean row, without the markers."""
    ordinary = torch.ones(len(weight_VD), dtype=torch.bool, device=weight_VD.device)
    ordinary[markers] = False
    return float(weight_VD.detach()[ordinary].float().std(0, correction=0).square().mean().sqrt())
