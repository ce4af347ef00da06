"""Verify, don't generate (method §5): one forward pass tells whether greedy decoding emits exactly a given target."""

import torch

from skipthink_ray.method.markup import Item
from skipthink_ray.models.batching import IGNORE, collate
from skipthink_ray.models.student import Student


@torch.no_grad()
def emits_target(student: Student, items: list[Item]) -> list[bool]:
    """Whether the argmax at every target position, under teacher forcing, is the target (which ends in EOS)."""
    batch = collate(items, student.pad_id, student.model.device)
    labels_BT = batch.pop("labels")[:, 1:]
    logits_BTV = student.model(**batch, use_cache=False).logits[:, :-1]
    agrees_BT = (logits_BTV.argmax(-1) == labels_BT) | (labels_BT == IGNORE)
    return agrees_BT.all(-1).tolist()
