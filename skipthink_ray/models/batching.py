"""Padded batches of items. Shape suffixes: B items of a micro-batch, T tokens."""

import numpy as np
import torch

from skipthink_ray.method.markup import Item

IGNORE = -100
"""Label of a position without loss, as in torch and transformers."""


def collate(items: list[Item], pad_id: int, device: torch.device) -> dict[str, torch.Tensor]:
    """input_ids and labels, [B, T], padded on the right. An empty list gives one row without labels."""
    width = max((len(item.prompt) + len(item.target) for item in items), default=1)
    ids_BT = np.full((max(len(items), 1), width), pad_id, dtype=np.int64)
    labels_BT = np.full_like(ids_BT, IGNORE)
    for at, item in enumerate(items):
        start, end = len(item.prompt), len(item.prompt) + len(item.target)
        ids_BT[at, :end] = [*item.prompt, *item.target]
        labels_BT[at, start:end] = item.target
    arrays = {"input_ids": ids_BT, "labels": labels_BT}
    return {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}
