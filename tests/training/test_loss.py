"""Ways to save memory change neither the loss nor the gradients of a micro-batch."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM, GPT2Config, GPT2LMHeadModel, PreTrainedModel

from skipthink_ray.config import ClusterConfig, OptimConfig, TrainConfig
from skipthink_ray.method.markup import Item, MarkerIds
from skipthink_ray.models import heads
from skipthink_ray.models.batching import collate
from skipthink_ray.training import loss
from skipthink_ray.training.backend import start_engine
from skipthink_ray.training.engine import Engine
from skipthink_ray.training.loss import SummedLoss
from skipthink_ray.training.markers import attach
from tests.toys import tiny_llama

ITEMS = [Item([1, 2, 3], [4, 45, 6, 7, 8, 0]), Item([46], [3, 0]), Item([5, 6], [7, 1, 2, 3, 4, 5, 6, 7, 0])]
POSITIONS = 5
SLICES = [5, 5, 5, 2]
"""Positions in each slice of the 17 targets."""
ROUNDING = 2e-6
MARKERS = MarkerIds(stages=(45, 46), answer=47, skip=48, thought=49, eos=0)


def _gpt2() -> PreTrainedModel:
    torch.manual_seed(0)
    shape = {"vocab_size": 50, "n_embd": 16, "n_layer": 2, "n_head": 2, "initializer_range": 0.2}
    return GPT2LMHeadModel(GPT2Config(**shape, attn_pdrop=0.0, embd_pdrop=0.0, resid_pdrop=0.0))


def _gemma2() -> PreTrainedModel:
    """A model that caps its logits."""
    torch.manual_seed(0)
    shape = {"vocab_size": 50, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    shape |= {"num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 8}
    return Gemma2ForCausalLM(Gemma2Config(**shape, final_logit_softcapping=2.0, initializer_range=0.3))


def _batch() -> dict[str, torch.Tensor]:
    return collate(ITEMS, 0, torch.device("cpu"))


def _loss_and_gradients(model: Any, **options: bool) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    total = SummedLoss(model.train(), **options)(**_batch())
    total.backward()
    return total.detach(), {name: weight.grad for name, weight in model.named_parameters()}


def _assert_same(left, right) -> None:
    torch.testing.assert_close(left[0], right[0], rtol=ROUNDING, atol=0)
    assert left[1].keys() == right[1].keys()
    for name, gradient in left[1].items():
        torch.testing.assert_close(gradient, right[1][name], rtol=0, atol=ROUNDING * 17)


@pytest.fixture
def counted(monkeypatch) -> Iterator[Callable[[Any], list[int]]]:
    """Requires slices. The function records how many positions a model's head gets in each call."""

    def record(model: Any) -> list[int]:
        sizes: list[int] = []
        model.get_output_embeddings().register_forward_hook(
            lambda _, inputs, __: sizes.append(inputs[0].shape[:-1].numel())
        )
        return sizes

    monkeypatch.setattr(heads, "SLICE_LOGITS", POSITIONS * 50)
    with monkeypatch.context() as patched:
        patched.setattr(loss, "WHOLE_LOGITS", 17 * 50 - 1)
        yield record


@pytest.mark.parametrize("make", [tiny_llama, _gpt2])
def test_slices_give_the_same_loss_and_gradients(make, counted):
    model = make()
    whole = _loss_and_gradients(copy.deepcopy(model), may_slice=False)
    sliced = SummedLoss(model)
    sizes = counted(model)
    total = sliced(**_batch())
    assert sizes == SLICES
    total.backward()
    assert sizes[4:] == SLICES[::-1], "each slice is made again for the backward pass"
    _assert_same(whole, (total.detach(), {name: weight.grad for name, weight in model.named_parameters()}))


def test_one_target_less_makes_all_logits_at_once(counted, monkeypatch):
    monkeypatch.setattr(loss, "WHOLE_LOGITS", 17 * 50)
    model = tiny_llama()
    with_loss = SummedLoss(model)
    sizes = counted(model)
    with_loss(**_batch())
    assert sizes == [17]


def test_markers_of_their_own_rate_take_part_in_slices(counted):
    optim = OptimConfig(lr=0.01, marker_lr_stds=2.0)
    found = []
    for may_slice in (False, True):
        model = tiny_llama()
        attach(model, MARKERS, optim)
        found.append(_loss_and_gradients(model, may_slice=may_slice))
    _assert_same(*found)
    assert any("marker" in name and gradient.abs().max() > 0 for name, gradient in found[1][1].items())


def test_a_model_that_caps_its_logits_is_not_sliced(counted):
    model = _gemma2()
    assert not SummedLoss(model).slices
    whole = _loss_and_gradients(copy.deepcopy(model), may_slice=False)
    _assert_same(whole, _loss_and_gradients(model))


def _updates(engine: Engine) -> tuple[list[float], int]:
    """The losses of three updates, and how many numbers autograd kept for the backward passes."""
    kept = 0

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal kept
        kept += tensor.numel()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        return [float(engine.update([_batch()], 17, 0.01)) for _ in range(3)], kept


def test_gradient_checkpointing_keeps_the_inputs_of_layers_and_gives_the_same_updates():
    (losses, kept), (sparing_losses, sparing_kept) = (
        _updates(start_engine(_gpt2(), TrainConfig(), ClusterConfig(gradient_checkpointing=on), "ddp"))
        for on in (False, True)
    )
    assert sparing_losses == pytest.approx(losses, abs=ROUNDING)
    assert sparing_kept < kept / 2
