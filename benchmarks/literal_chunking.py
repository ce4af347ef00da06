"""The paper's chunk search, implemented literally: a forward pass per candidate, one rationale at a time.

bench_chunking.py compares two variants with our search. The unbatched one runs one forward pass per
candidate, as in the paper. The batched one puts all candidates known at a time into one padded batch and
computes no loss twice. Both compute logits only at target positions.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from skipthink_ray.method.chunking import pick_move
from skipthink_ray.method.markup import join

Candidate = tuple[int, int, int]
"""(stage, start, end): steps start..end-1 as the chunk of this stage."""


@dataclass
class ItemLosses:
    """Losses of the CWT stage items of one rationale, by a forward pass over each item."""

    model: Any
    markers: tuple[int, ...]
    eos: int
    question: list[int]
    steps: list[list[int]]
    batched: bool
    known: dict[Candidate, float] = field(default_factory=dict)
    forwards: int = 0
    tokens: int = 0
    """Tokens of all forward passes, without padding."""

    def __call__(self, candidates: list[Candidate]) -> np.ndarray:
        if not self.batched:
            self.known.clear()
        fresh = [candidate for candidate in candidates if candidate not in self.known]
        for group in [fresh] if self.batched and fresh else [[one] for one in fresh]:
            self.known.update(zip(group, self._forward(group), strict=True))
        return np.array([self.known[candidate] for candidate in candidates])

    @torch.no_grad()
    def _forward(self, group: list[Candidate]) -> list[float]:
        prompts = [
            [self.markers[stage], *self.question, *join(self.steps[:start])] for stage, start, _ in group
        ]
        targets = [[*join(self.steps[start:end]), self.eos] for _, start, end in group]
        width = max(len(prompt) + len(target) for prompt, target in zip(prompts, targets, strict=True))
        ids_BT = torch.zeros(len(group), width, dtype=torch.long)
        for row, (prompt, target) in enumerate(zip(prompts, targets, strict=True)):
            ids_BT[row, : len(prompt) + len(target)] = torch.tensor(prompt + target)
        kept = width - min(map(len, prompts)) + 1
        logits_BTV = self.model(
            input_ids=ids_BT.to(self.model.device), use_cache=False, logits_to_keep=kept
        ).logits
        self.forwards, self.tokens = (
            self.forwards + 1,
            self.tokens + sum(map(len, prompts)) + sum(map(len, targets)),
        )
        losses = []
        for row, (prompt, target) in enumerate(zip(prompts, targets, strict=True)):
            first = len(prompt) - 1 - (width - kept)
            logits_TV = logits_BTV[row, first : first + len(target)].float()
            losses.append(
                torch.nn.functional.cross_entropy(logits_TV, torch.tensor(target, device=logits_TV.device))
            )
        return torch.stack(losses).tolist()


Found = tuple[list[int], float]
"""The ends, and the margin of the closest decision in nats."""


def greedy(loss: ItemLosses, ends: list[int], eta: float) -> Found:
    """SBC with the loss of c_m: try every cut of two merged neighbours."""
    ends, margin = list(ends), np.inf
    for m in range(len(ends) - 1):
        start, stop = ends[m - 1] if m else 0, ends[m + 1]
        if stop - start == 2:
            continue  # only one cut is possible
        tried = loss([(m, start, cut) for cut in range(start + 1, stop)])
        best, second = np.partition(tried, 1)[:2]
        gain = tried[ends[m] - start - 1] - best
        margin = min(margin, second - best, abs(gain - eta))
        if gain > eta:
            ends[m] = start + 1 + int(tried.argmin())
    return ends, margin


def annealed(loss: ItemLosses, ends: list[int], config: Any, drawn: Any) -> Found:
    """SA-SBC with the same random numbers as the fast search."""
    bounds, margin, rise_so_far, lowest = [0, *ends], np.inf, 0.0, 0.0
    best, own = list(ends), loss([(m, *pair) for m, pair in enumerate(zip(bounds, ends, strict=False))])
    for proposal in range(config.proposals):
        ((m,), (shift,)), patience = (
            pick_move(np.array([bounds]), drawn.move_PS[proposal]),
            float(drawn.patience_PS[proposal, 0]),
        )
        left, new, right = bounds[m], bounds[m + 1] + int(shift), bounds[m + 2]
        after = loss([(m, left, new), (m + 1, new, right)])
        rise = after.sum() - own[m : m + 2].sum()
        limit = patience * config.start_temperature_nats * config.cooling ** (proposal // (len(ends) - 1))
        margin = min(margin, abs(rise - limit))
        if rise < limit:
            bounds[m + 1], own[m : m + 2], rise_so_far = new, after, rise_so_far + rise
            margin = min(margin, abs(rise_so_far - lowest) or np.inf)
            if rise_so_far < lowest:
                lowest, best = rise_so_far, bounds[1:]
    return best, margin


def optimal(loss: ItemLosses, ends: list[int]) -> Found:
    """Dynamic programming over the losses of all chunks. A batch has all ends for one stage and start."""
    num_chunks, steps = len(ends), ends[-1]
    best: dict[int, tuple[float, list[int]]] = {0: (0.0, [])}
    margin = np.inf
    for m in range(num_chunks):
        last = steps - (num_chunks - 1 - m)
        reached: dict[int, list[tuple[float, list[int]]]] = {}
        for start, (so_far, path) in best.items():
            to = [steps] if m == num_chunks - 1 else list(range(start + 1, last + 1))
            for end, found in zip(to, loss([(m, start, end) for end in to]), strict=True):
                reached.setdefault(end, []).append((so_far + found, [*path, end]))
        best = {end: min(options) for end, options in reached.items()}
        margin = min(
            [
                margin,
                *(
                    sorted(options)[1][0] - best[end][0]
                    for end, options in reached.items()
                    if len(options) > 1
                ),
            ]
        )
    return best[steps][1], margin


SEARCHES: dict[str, Callable[..., Found]] = {"greedy": greedy, "annealed": annealed, "optimal": optimal}
