"""Both skip judges, implemented literally: `generate` writes every chunk and answer, in batches by length.

No work is shared between prompts. bench_skips.py compares this with models/contexts.py, and the tests use it
as the reference.
"""

import numpy as np
import torch

from skipthink_ray.config import SkipsConfig
from skipthink_ray.method.markup import Item, Sample, kept_tokens, prompt
from skipthink_ray.models.batching import IGNORE, collate
from skipthink_ray.models.decoding import generate
from skipthink_ray.models.student import Student
from skipthink_ray.models.verifying import Written


class Generator:
    """Replaces `Contexts`. Generates every chunk and every answer from its full prompt."""

    def __init__(
        self, student: Student, samples: list[Sample], config: SkipsConfig, batch_size: int = 64
    ) -> None:
        self.student, self.samples, self.config, self.batch_size = student, samples, config, batch_size

    def write(self, rows: np.ndarray, kept_AM: np.ndarray, written_from: int | None = None) -> list[Written]:
        """The greedy answer for every row; the student writes the chunks from `written_from` on itself."""
        ids, num_chunks = self.student.ids, kept_AM.shape[1]
        stages = range(num_chunks if written_from is None else written_from, num_chunks)
        contexts = [kept_tokens(self.samples[row], kept) for row, kept in zip(rows, kept_AM, strict=True)]
        for stage in stages:
            chunks = self._generate(rows, contexts, ids.stages[stage], self.config.max_chunk_tokens)
            for context, chunk in zip(contexts, chunks, strict=True):
                context += [token for token in chunk if token != ids.eos]
        answers = self._generate(rows, contexts, ids.answer, self.config.max_new_tokens)
        leads = [0.0] * len(rows)
        if self.config.margin_nats:
            prompts = self._prompts(rows, contexts, ids.answer)
            items = [Item(prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)]
            leads = margins(self.student, items).tolist() if items else []
        return [
            Written(answer, lead, verified=False, chunks_decoded=len(stages))
            for answer, lead in zip(answers, leads, strict=True)
        ]

    def _prompts(self, rows: np.ndarray, contexts: list[list[int]], marker: int) -> list[list[int]]:
        ids = self.student.ids
        return [
            prompt(ids, marker, self.samples[row].question, context)
            for row, context in zip(rows, contexts, strict=True)
        ]

    def _generate(
        self, rows: np.ndarray, contexts: list[list[int]], marker: int, limit: int
    ) -> list[list[int]]:
        prompts = self._prompts(rows, contexts, marker)
        order = np.argsort([len(prompt) for prompt in prompts], kind="stable")
        written: dict[int, list[int]] = {}
        for start in range(0, len(order), self.batch_size):
            batch = order[start : start + self.batch_size].tolist()
            written |= zip(batch, generate(self.student, [prompts[at] for at in batch], limit), strict=True)
        return [written[at] for at in range(len(prompts))]


@torch.no_grad()
def margins(student: Student, items: list[Item]) -> np.ndarray:
    """Per item, the smallest log-probability lead of a target token over all others (teacher forcing)."""
    batch = collate(items, student.pad_id, student.model.device)
    labels_BT = batch.pop("labels")[:, 1:]
    logits_BTV = student.model(**batch, use_cache=False).logits[:, :-1].float()
    own_BT1 = logits_BTV.gather(-1, labels_BT.clamp(min=0)[..., None])
    others_BTV = logits_BTV.scatter(-1, labels_BT.clamp(min=0)[..., None], float("-inf"))
    lead_BT = own_BT1.squeeze(-1) - others_BTV.amax(-1)
    return lead_BT.masked_fill(labels_BT == IGNORE, float("inf")).amin(-1).cpu().numpy()
