"""Greedy decoding that verifies an expected text before it decodes (method §5).

One teacher-forced forward pass over the expected text gives the tokens of greedy decoding up to the first
token that differs. Only from there are tokens decoded, with the keys and values of that pass. Shared prefixes
of prompts are computed once (prefixes.py).

Shape suffixes: B prompts of a forward pass, T tokens, V vocabulary.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from transformers import DynamicCache

from skipthink_ray.models.decoding import max_positions
from skipthink_ray.models.prefixes import Fresh, Places, Prefixes
from skipthink_ray.models.student import Student


@dataclass
class Written:
    """The greedy continuation of one prompt."""

    ids: list[int]
    """Tokens up to and including EOS, or up to the limit."""
    margin_nats: float
    """The smallest lead of one of these tokens over the next-best token, in log-probability."""
    verified: bool
    """Whether one forward pass sufficed, because the text is the expected one."""
    chunks_verified: int = 0
    """Number of chunks before this answer that the student wrote and one forward pass verified."""
    chunks_decoded: int = 0
    """Number of chunks before this answer that the student wrote and that were decoded."""


@dataclass(frozen=True)
class Ask:
    """One prompt, and the text that the student is expected to write."""

    row: int
    """The sample that the prompt is about. Prompts about one sample share prefixes."""
    prompt: list[int]
    target: list[int]
    """The expected text; ends in EOS."""
    limit: int
    """Maximum number of new tokens."""
    hold: int = 0
    """Length of the prompt prefix that later prompts share; its keys and values are stored."""
    hold_verified: int = 0
    """The same, if the student writes the target."""


@dataclass(frozen=True)
class _Question:
    """An ask, and the part of its prompt whose keys and values are not stored yet."""

    ask: Ask
    known: Places
    fresh: list[int]
    """Never empty, because the logits of its last token give the first new token."""

    @property
    def width(self) -> int:
        return len(self.fresh) + len(self.ask.target)


MAX_LOGITS = 1 << 28
"""Maximum number of logits per forward pass (1 GiB in fp32). Batches of long chunks are smaller."""


class Verifier:
    """Asks a student about some samples. Stores the keys and values of shared prefixes."""

    def __init__(self, student: Student, batch_size: int) -> None:
        self.student, self.batch_size, self.prefixes = student, batch_size, Prefixes()

    @torch.no_grad()
    def ask(self, asks: list[Ask]) -> list[Written]:
        """The continuation of each prompt; empty if the prompt fills the model's positions."""
        written = [Written([], 0.0, verified=False) for _ in asks]
        questions = {at: self._question(ask) for at, ask in enumerate(asks) if self._limit(ask) > 0}
        order = sorted(questions, key=lambda at: questions[at].width)
        logits = self.student.model.config.vocab_size * max((len(ask.target) for ask in asks), default=1)
        size = min(self.batch_size, max(1, MAX_LOGITS // logits))
        for start in range(0, len(order), size):
            batch = order[start : start + size]
            for at, one in zip(batch, self._answer([questions[at] for at in batch]), strict=True):
                written[at] = one
        return written

    def _limit(self, ask: Ask) -> int:
        return min(ask.limit, max_positions(self.student) - len(ask.prompt))

    def _question(self, ask: Ask) -> _Question:
        known = self.prefixes.longest(ask.row, ask.prompt)
        return _Question(replace(ask, limit=self._limit(ask)), known, ask.prompt[len(known) :])

    def _answer(self, questions: list[_Question]) -> list[Written]:
        cache, mask_BT = self.prefixes.load(
            [question.known for question in questions], self.student.model.device
        )
        before = mask_BT.shape[1]
        width = max(len(question.fresh) for question in questions)
        best_BT, lead_BT, mask_BT = self._read(questions, cache, mask_BT, width)
        written, accepted_B = [], []
        for question, best, lead in zip(questions, best_BT, lead_BT, strict=True):
            target, limit = question.ask.target, question.ask.limit
            agrees = [one == other for one, other in zip(best, target, strict=False)]
            accepted = agrees.index(False) if False in agrees else len(agrees)
            # the accepted part of the target, then one token of the student's own
            ids = best[: min(accepted + 1, len(agrees), limit)]
            written.append(Written(ids, min(lead[: len(ids)]), accepted == len(target) <= limit))
            accepted_B.append(accepted)
        self._remember(questions, written, cache, before + width)
        self._decode(questions, written, accepted_B, cache, mask_BT, before + width)
        return written

    def _read(
        self, questions: list[_Question], cache: DynamicCache, mask_BT: torch.Tensor, width: int
    ) -> tuple[list[list[int]], list[list[float]], torch.Tensor]:
        """Forward pass over fresh tokens and target. Returns best tokens, their leads, and the new mask."""
        target_width = max(len(question.ask.target) for question in questions)
        ids_BT = np.full((len(questions), width + target_width - 1), self.student.pad_id, dtype=np.int64)
        fresh_BT, position_BT = np.zeros_like(ids_BT), np.zeros_like(ids_BT)
        for at, question in enumerate(questions):
            start, end = width - len(question.fresh), width + len(question.ask.target) - 1
            ids_BT[at, start:end] = [*question.fresh, *question.ask.target[:-1]]
            fresh_BT[at, start:end], position_BT[at, start:end] = (
                1,
                len(question.known) + np.arange(end - start),
            )
        ids, fresh, position = (
            torch.from_numpy(array).to(mask_BT.device) for array in (ids_BT, fresh_BT, position_BT)
        )
        mask_BT = torch.cat([mask_BT, fresh], 1)
        best_BT, lead_BT = self._forward(ids, mask_BT, position, cache, target_width)
        return best_BT.tolist(), lead_BT.tolist(), mask_BT

    def _forward(
        self,
        ids_BT: torch.Tensor,
        mask_BT: torch.Tensor,
        position_BT: torch.Tensor,
        cache: DynamicCache,
        keep: int,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The best next token and its lead over the second, at the last `keep` positions."""
        # results beyond the last position are not used: see `_limit`
        position_BT = position_BT.clamp(max=max_positions(self.student) - 1)
        logits_BTV = self.student.model(
            input_ids=ids_BT,
            attention_mask=mask_BT,
            position_ids=position_BT,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=keep,
        ).logits
        leading = logits_BTV.float().topk(2, dim=-1)
        return leading.indices[..., 0], leading.values[..., 0] - leading.values[..., 1]

    def _remember(
        self, questions: list[_Question], written: list[Written], cache: DynamicCache, end: int
    ) -> None:
        """Store the requested prefixes that are not stored yet. `end`: the column after the prompts."""
        beginnings = []
        for at, question in enumerate(questions):
            ask, known = question.ask, question.known
            hold = max(ask.hold, ask.hold_verified if written[at].verified else 0)
            if hold > len(known):
                beginnings.append(Fresh(ask.row, ask.prompt[:hold], known, at, end - len(question.fresh)))
        self.prefixes.hold(beginnings, cache)

    def _decode(
        self,
        questions: list[_Question],
        written: list[Written],
        accepted_B: list[int],
        cache: DynamicCache,
        mask_BT: torch.Tensor,
        start: int,
    ) -> None:
        """Continue greedily, in place, all texts that have neither EOS nor reached their limit."""
        # mask the part of the target that the student would not have written
        for at, accepted in enumerate(accepted_B):
            mask_BT[at, start + accepted :] = 0
        rows = list(range(len(questions)))
        while unfinished := [at for at in rows if self._is_open(questions[at], written[at])]:
            # dropping rows copies the cache, so finished rows are dropped several at a time
            if 4 * len(unfinished) <= 3 * len(rows):
                chosen = torch.tensor([rows.index(at) for at in unfinished], device=mask_BT.device)
                cache.batch_select_indices(chosen)
                rows, mask_BT = unfinished, mask_BT[chosen]
            last = [[written[at].ids[-1]] for at in rows]
            position = [[len(questions[at].ask.prompt) + len(written[at].ids) - 1] for at in rows]
            last_B1, position_B1 = (
                torch.tensor(values, device=mask_BT.device) for values in (last, position)
            )
            mask_BT = torch.cat([mask_BT, torch.ones_like(last_B1)], 1)
            best_BT, lead_BT = self._forward(last_B1, mask_BT, position_B1, cache, 1)
            for at, best, lead in zip(rows, best_BT[:, 0].tolist(), lead_BT[:, 0].tolist(), strict=True):
                if self._is_open(questions[at], written[at]):
                    written[at].ids.append(best)
                    written[at].margin_nats = min(written[at].margin_nats, lead)

    def _is_open(self, question: _Question, written: Written) -> bool:
        return len(written.ids) < question.ask.limit and written.ids[-1] != self.student.ids.eos
