"""Verify, don't generate (method §5): the greedy answers of a student from any subsets of its samples' chunks.

One teacher-forced forward over the gold answer tells what greedy decoding writes up to the first token that differs; only
from there is decoded, on the keys and values at hand. What a context begins with in common with
one whose answer was verified (`[answer]`, q, first kept chunks) is not computed again: keys and values lie in a flat store,
and a forward reads those of its prefix from it.
Shape suffixes: A asked contexts, B of a forward, T tokens, V vocabulary, N tokens in the store, H heads, D of a head.
"""

from dataclasses import dataclass

import numpy as np
import torch
from transformers import DynamicCache

from skipthink_ray.config import SkipsConfig
from skipthink_ray.method.markup import Sample, stage_prompt
from skipthink_ray.models.decoding import max_positions
from skipthink_ray.models.student import Student

Chunks = tuple[int, ...]


@dataclass
class Written:
    """What greedy decoding writes from one context."""

    ids: list[int]
    """Up to and including EOS, or to the limit."""
    margin_nats: float
    """The smallest lead of one of these tokens over the best other one, in log-probability."""
    verified: bool
    """One forward settled it: it is the gold answer and EOS."""


@dataclass(frozen=True)
class _Question:
    """One context of one sample, and the part of it that the store lacks."""

    known: np.ndarray
    """Places in the store of the prefix's tokens."""
    fresh: list[int]
    """Tokens behind the prefix; never empty, as the last one's logits are the first of the answer."""
    target: list[int]
    limit: int
    """Tokens that may be written."""

    @property
    def length(self) -> int:
        return len(self.known) + len(self.fresh)


class Contexts:
    """Answers a student's questions about some samples; keys and values of the contexts that were verified are held."""

    def __init__(self, student: Student, samples: list[Sample], config: SkipsConfig) -> None:
        self.student, self.max_new_tokens, self.batch_size = student, config.max_new_tokens, config.batch_size
        self.prompts = [stage_prompt(sample.question, [], student.ids.answer) for sample in samples]
        self.chunks = [sample.chunks for sample in samples]
        self.targets = [[*sample.answer, student.ids.eos] for sample in samples]
        self.places: list[dict[Chunks, np.ndarray]] = [{} for _ in samples]
        self.store: list[tuple[torch.Tensor, torch.Tensor]] = []  # per layer keys and values [N, H, D]
        self.stored = 0

    @torch.no_grad()
    def write(self, rows: np.ndarray, kept_AM: np.ndarray) -> list[Written]:
        """The greedy answer of every row from its kept chunks."""
        names = [self._name(row, kept) for row, kept in zip(rows.tolist(), kept_AM.tolist(), strict=True)]
        questions = [self._question(row, context) for row, context in names]
        order = np.argsort([len(question.fresh) for question in questions], kind="stable")
        written: dict[int, Written] = {}
        for start in range(0, len(order), self.batch_size):
            batch = order[start : start + self.batch_size]
            answers = self._answer([questions[at] for at in batch], [names[at] for at in batch])
            written |= dict(zip(batch.tolist(), answers, strict=True))
        return [written[at] for at in range(len(rows))]

    def _name(self, row: int, kept: list[bool]) -> tuple[int, Chunks]:
        return row, tuple(m for m, keep in enumerate(kept) if keep and self.chunks[row][m])

    def _question(self, row: int, context: Chunks) -> _Question:
        places, target = self.places[row], self.targets[row]
        shared = next((size for size in range(len(context), -1, -1) if context[:size] in places), None)
        if shared is None:
            known, fresh = np.zeros(0, dtype=np.int64), [*self.prompts[row], *self._tokens(row, context)]
        elif shared == len(context):  # all is known but the logits of its last token, which is read again
            known, fresh = places[context][:-1], [self._last(row, context)]
        else:
            known, fresh = places[context[:shared]], self._tokens(row, context[shared:])
        room = max_positions(self.student) - len(known) - len(fresh)
        return _Question(known, fresh, target, max(0, min(self.max_new_tokens, room)))

    def _tokens(self, row: int, context: Chunks) -> list[int]:
        return [token for m in context for token in self.chunks[row][m]]

    def _last(self, row: int, context: Chunks) -> int:
        return self.chunks[row][context[-1]][-1] if context else self.prompts[row][-1]

    def _answer(self, questions: list[_Question], names: list[tuple[int, Chunks]]) -> list[Written]:
        cache, mask_BT = self._prefixes([question.known for question in questions])
        before = mask_BT.shape[1]
        width = max(len(question.fresh) for question in questions)
        best_BT, lead_BT, mask_BT = self._read(questions, cache, mask_BT, width)
        written, accepted_B = [], []
        for question, best, lead in zip(questions, best_BT, lead_BT, strict=True):
            agrees = [one == other for one, other in zip(best, question.target, strict=False)]
            accepted = agrees.index(False) if False in agrees else len(agrees)
            ids = best[: min(accepted + 1, len(agrees), question.limit)]  # the gold answer, then one token of the student's own
            whole = accepted == len(question.target) <= question.limit
            written.append(Written(ids, min(lead[: len(ids)], default=0.0), whole))
            accepted_B.append(accepted)
        self._remember(questions, names, written, cache, before, width)
        self._decode(questions, written, accepted_B, cache, mask_BT, before + width)
        return written

    def _prefixes(self, known: list[np.ndarray]) -> tuple[DynamicCache, torch.Tensor]:
        """Their keys and values out of the store, padded on the left, and the mask of what is no padding."""
        cache, width = DynamicCache(), max(map(len, known))
        places_BT, mask_BT = np.zeros((len(known), width), dtype=np.int64), np.zeros((len(known), width), dtype=np.int64)
        for at, places in enumerate(known):
            places_BT[at, width - len(places) :], mask_BT[at, width - len(places) :] = places, 1
        index_BT = torch.from_numpy(places_BT).to(self.student.model.device)
        if width:
            for layer, (keys_NHD, values_NHD) in enumerate(self.store):
                cache.update(keys_NHD[index_BT].transpose(1, 2), values_NHD[index_BT].transpose(1, 2), layer)
        return cache, torch.from_numpy(mask_BT).to(index_BT.device)

    def _read(
        self, questions: list[_Question], cache: DynamicCache, mask_BT: torch.Tensor, width: int
    ) -> tuple[list[list[int]], list[list[float]], torch.Tensor]:
        """Fresh tokens, padded on the left, then the target without its EOS: its best tokens and their leads."""
        answer_width = max(len(question.target) for question in questions)
        ids_BT = np.full((len(questions), width + answer_width - 1), self.student.pad_id, dtype=np.int64)
        fresh_BT, position_BT = np.zeros_like(ids_BT), np.zeros_like(ids_BT)
        for at, question in enumerate(questions):
            start, end = width - len(question.fresh), width + len(question.target) - 1
            ids_BT[at, start:end] = [*question.fresh, *question.target[:-1]]
            fresh_BT[at, start:end], position_BT[at, start:end] = 1, len(question.known) + np.arange(end - start)
        ids, fresh, position = (torch.from_numpy(array).to(mask_BT.device) for array in (ids_BT, fresh_BT, position_BT))
        mask_BT = torch.cat([mask_BT, fresh], 1)
        best_BT, lead_BT = self._forward(ids, mask_BT, position, cache, answer_width)
        return best_BT.tolist(), lead_BT.tolist(), mask_BT

    def _forward(
        self, ids_BT: torch.Tensor, mask_BT: torch.Tensor, position_BT: torch.Tensor, cache: DynamicCache, keep: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The best next token and its lead over the second, at the last `keep` positions."""
        position_BT = position_BT.clamp(max=max_positions(self.student) - 1)  # only padding lies beyond
        logits_BTV = self.student.model(
            input_ids=ids_BT, attention_mask=mask_BT, position_ids=position_BT, past_key_values=cache, use_cache=True, logits_to_keep=keep
        ).logits
        leading = logits_BTV.float().topk(2, dim=-1)
        return leading.indices[..., 0], leading.values[..., 0] - leading.values[..., 1]

    def _remember(
        self, questions: list[_Question], names: list[tuple[int, Chunks]], written: list[Written],
        cache: DynamicCache, before: int, width: int,
    ) -> None:  # fmt: skip
        """Put the fresh tokens' keys and values into the store, and note where every new prefix lies.

        Only those of verified answers: a search goes on from contexts that were right, and copying is not free.
        """
        rows, columns = [], []
        for at, (question, (row, context)) in enumerate(zip(questions, names, strict=True)):
            if context in self.places[row] or not written[at].verified:
                continue
            places = np.concatenate([question.known, self.stored + len(rows) + np.arange(len(question.fresh))])
            rows += [at] * len(question.fresh)
            columns += range(before + width - len(question.fresh), before + width)
            for size in range(len(context) + 1):
                length = len(self.prompts[row]) + len(self._tokens(row, context[:size]))
                self.places[row].setdefault(context[:size], places[:length])
        if not rows:
            return
        index = torch.tensor([rows, columns], device=self.student.model.device).unbind()
        states: list[tuple[torch.Tensor, torch.Tensor]] = [(layer.keys, layer.values) for layer in cache.layers]  # pyright: ignore[reportAssignmentType]
        fresh = [(keys_BHTD.transpose(1, 2)[index], values_BHTD.transpose(1, 2)[index]) for keys_BHTD, values_BHTD in states]
        if self.store:
            fresh = [(torch.cat([old[0], new[0]]), torch.cat([old[1], new[1]])) for old, new in zip(self.store, fresh, strict=True)]
        self.store, self.stored = fresh, self.stored + len(rows)

    def _decode(
        self, questions: list[_Question], written: list[Written], accepted_B: list[int],
        cache: DynamicCache, mask_BT: torch.Tensor, start: int,
    ) -> None:  # fmt: skip
        """Greedy decoding, in place, of the answers that are neither whole nor at their limit."""
        open_rows = [at for at, question in enumerate(questions) if self._is_open(question, written[at])]
        if not open_rows:
            return
        chosen = torch.tensor(open_rows, device=mask_BT.device)
        cache.batch_select_indices(chosen)
        mask_BT = mask_BT[chosen]
        for at, row in enumerate(open_rows):  # of the target only what the student would have written itself
            mask_BT[at, start + accepted_B[row] :] = 0
        while any(self._is_open(questions[row], written[row]) for row in open_rows):
            last_B1 = torch.tensor([[written[row].ids[-1]] for row in open_rows], device=mask_BT.device)
            position_B1 = torch.tensor([[questions[row].length + len(written[row].ids) - 1] for row in open_rows], device=mask_BT.device)
            mask_BT = torch.cat([mask_BT, torch.ones_like(last_B1)], 1)
            best_BT, lead_BT = self._forward(last_B1, mask_BT, position_B1, cache, 1)
            for row, best, lead in zip(open_rows, best_BT[:, 0].tolist(), lead_BT[:, 0].tolist(), strict=True):
                if self._is_open(questions[row], written[row]):
                    written[row].ids.append(best)
                    written[row].margin_nats = min(written[row].margin_nats, lead)

    def _is_open(self, question: _Question, written: Written) -> bool:
        return len(written.ids) < question.limit and written.ids[-1] != self.student.ids.eos
