"""The head of a model: the output embeddings that turn hidden states into logits.

A head can be applied to some positions only, and to slices of them, so that not all logits exist at once.
"""

from typing import Any
from weakref import WeakKeyDictionary

import torch

SLICE_LOGITS = 1 << 25
"""Logits per slice: 128 MiB in fp32. A vocabulary of 50,000 gives 671 positions, an efficient product."""
_PLAIN_HEADS: WeakKeyDictionary[torch.nn.Module, bool] = WeakKeyDictionary()


def hidden_states(model: Any, input_BT: torch.Tensor) -> torch.Tensor:
    """The input of the head, [B, T, D]."""
    return model.base_model(input_ids=input_BT, use_cache=False).last_hidden_state


@torch.no_grad()
def has_plain_head(model: Any) -> bool:
    """Whether the model's logits are its output embeddings applied to its last hidden state, bit for bit.

    That is false if logits are capped or scaled, or if there is a layer in between. This is tested on the
    model itself, once, with two tokens, and not looked up in a list of architectures.
    """
    if model not in _PLAIN_HEADS:
        training = model.training
        model.eval()
        probe = torch.tensor([[1, 2]], device=next(model.parameters()).device)
        logits_BTV, head = model(input_ids=probe, use_cache=False).logits, model.get_output_embeddings()
        _PLAIN_HEADS[model] = head is not None and torch.equal(head(hidden_states(model, probe)), logits_BTV)
        model.train(training)
    return _PLAIN_HEADS[model]


def positions_per_slice(model: Any) -> int:
    """How many positions have SLICE_LOGITS logits together."""
    return max(1, SLICE_LOGITS // model.get_output_embeddings().weight.shape[0])
