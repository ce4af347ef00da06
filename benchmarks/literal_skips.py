"""The paper's way to ask a student, taken literally: one `generate` per context, batched by length, and nothing shared.

The opponent of bench_skips.py, and what the tests hold models/verifying.py against.
"""

import numpy as np
import torch

from skipthink_ray.config import SkipsConfig
from skipthink_ray.method.markup import Item, Sample, answer_item
from skipthink_ray.models.batching import IGNORE, collate
from skipthink_ray.models.decoding import generate
from skipthink_ray.models.student import Student
from skipthink_ray.models.verifying import Written


class Generator:
    """What `Contexts` does, by generating every answer from its whole prompt."""

    def __init__(self, student: Student, samples: list[Sample], config: SkipsConfig, batch_size: int = 64) -> None:
        self.student, self.samples, self.config, self.batch_size = student, samples, config, batch_size

    def write(self, rows: np.ndarray, kept_AM: np.ndarray) -> list[Written]:
        """The greedy answer of every row from its kept chunks."""
        items = [answer_item(self.samples[row], self.student.ids, kept) for row, kept in zip(rows, kept_AM, strict=True)]
        order = np.argsort([len(item.prompt) for item in items], kind="stable")
        written: dict[int, Written] = {}
        for start in range(0, len(order), self.batch_size):
            batch = order[start : start + self.batch_size].tolist()
            ids = generate(self.student, [items[at].prompt for at in batch], self.config.max_new_tokens)
            answers = [Item(items[at].prompt, one) for at, one in zip(batch, ids, strict=True)]
            leads = margins(self.student, answers).tolist() if self.config.margin_nats else [0.0] * len(batch)
            written |= {at: Written(one, lead, verified=False) for at, one, lead in zip(batch, ids, leads, strict=True)}
        return [written[at] for at in range(len(items))]


@torch.no_grad()
def margins(student: Student, items: list[Item]) -> np.ndarray:
    """Per item the smallest log-probability lead of a target token over the best other token, under teacher forcing."""
    batch = collate(items, student.pad_id, student.model.device)
    labels_BT = batch.pop("labels")[:, 1:]
    logits_BTV = student.model(**batch, use_cache=False).logits[:, :-1].float()
    own_BT1 = logits_BTV.gather(-1, labels_BT.clamp(min=0)[..., None])
    others_BTV = logits_BTV.scatter(-1, labels_BT.clamp(min=0)[..., None], float("-inf"))
    lead_BT = own_BT1.squeeze(-1) - others_BTV.amax(-1)
    return lead_BT.masked_fill(labels_BT == IGNORE, float("inf")).amin(-1).cpu().numpy()
