"""The loss of a micro-batch, computed inside the wrapper of an engine.

Shape suffixes: B items of a micro-batch, T tokens, N target tokens, D width, V vocabulary.
"""

import inspect
from typing import Any

import torch
from torch.nn.functional import cross_entropy, pad
from torch.utils.checkpoint import checkpoint

from skipthink_ray.models.batching import IGNORE
from skipthink_ray.models.heads import has_plain_head, hidden_states, positions_per_slice

WHOLE_LOGITS = 1 << 28
"""Most logits that exist at once: 1 GiB in fp32, and their gradients as much again. More are made in slices,
and made again for the backward pass."""


class SummedLoss(torch.nn.Module):
    """A model with its loss: the cross-entropy summed over the target tokens, in nats.

    Logits are computed at target positions only. Items are padded on the right, so causal attention never
    sees the padding and needs no mask.
    """

    def __init__(self, model: Any, may_slice: bool = True) -> None:
        """Tests the bare model with a few tokens; call it before an engine wraps the model.

        :param may_slice: whether logits may be made in slices. Under ZeRO-3 they may not: all ranks must
            call the head equally often.
        """
        super().__init__()
        self.model = model
        self.selects = _can_select_logits(model)
        self.slices = may_slice and has_plain_head(model)
        self.vocabulary = model.config.get_text_config().vocab_size

    def forward(self, input_ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The summed loss of a micro-batch.

        :param input_ids: [B, T]
        :param labels: [B, T], IGNORE at positions without loss
        """
        targets_BT = labels[:, 1:]
        counted_BT = targets_BT != IGNORE
        targets_N = targets_BT[counted_BT]
        at_BT = pad(counted_BT, (0, 1))  # the positions that predict the targets
        if self.slices and len(targets_N) * self.vocabulary > WHOLE_LOGITS:
            return self._in_slices(hidden_states(self.model, input_ids)[at_BT], targets_N)
        keep = {"logits_to_keep": at_BT} if self.selects else {}
        logits = self.model(input_ids=input_ids, use_cache=False, **keep).logits
        return _summed(logits if self.selects else logits[at_BT], targets_N)

    def _in_slices(self, hidden_ND: torch.Tensor, targets_N: torch.Tensor) -> torch.Tensor:
        head, size = self.model.get_output_embeddings(), positions_per_slice(self.model)

        def of_slice(hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            return _summed(head(hidden), targets)

        parts = zip(hidden_ND.split(size), targets_N.split(size), strict=True)
        return torch.stack([checkpoint(of_slice, *part, use_reentrant=False) for part in parts]).sum()


def _summed(logits_NV: torch.Tensor, targets_N: torch.Tensor) -> torch.Tensor:
    return cross_entropy(logits_NV.float(), targets_N, reduction="sum")


@torch.no_grad()
def _can_select_logits(model: Any) -> bool:
    """Whether the model can compute logits only at the positions of a mask [B, T]."""
    if "logits_to_keep" not in inspect.signature(model.forward).parameters:
        return False
    ids_BT = torch.tensor([[1, 2, 3]], device=next(model.parameters()).device)
    keep_BT = torch.tensor([[False, True, True]], device=ids_BT.device)
    training = model.training
    model.eval()
    logits_NV, all_BTV = (
        model(input_ids=ids_BT, use_cache=False, **keep).logits for keep in ({"logits_to_keep": keep_BT}, {})
    )
    model.train(training)
    return logits_NV.shape == all_BTV[keep_BT].shape and torch.allclose(
        logits_NV, all_BTV[keep_BT], rtol=1e-3, atol=1e-3
    )
