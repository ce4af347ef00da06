"""Keys and values of beginnings of prompts, held so that no beginning is computed twice.

They lie in flat stores, one per layer, that double in size when they are full. A beginning is a list of places in them.
Shape suffixes: B prompts of a forward, T tokens, N tokens in a store, H heads, D of a head.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from transformers import DynamicCache

Places = np.ndarray
"""Where in the stores the tokens of a beginning lie."""


@dataclass(frozen=True)
class Fresh:
    """A beginning to hold whose last tokens were computed just now."""

    row: int
    tokens: list[int]
    """All tokens of the beginning."""
    known: Places
    """Places of its first tokens; the others are new."""
    at: int
    """Its row in the cache."""
    column: int
    """Column of its first new token in the cache."""


@dataclass
class Prefixes:
    """What is known of the prompts that were asked about some samples. `row` is a sample's number among them."""

    held: dict[int, list[tuple[np.ndarray, Places]]] = field(default_factory=dict)
    """Beginnings and their places, by the sample's row."""
    stores: list[tuple[torch.Tensor, torch.Tensor]] = field(default_factory=list)
    """Keys and values of every layer, [N, H, D]."""
    used: int = 0
    """Tokens in each store; what lies behind them is free."""

    def longest(self, row: int, prompt: list[int]) -> Places:
        """Places of the longest beginning that `prompt` has in common with one that is held; never of all its tokens."""
        best = np.zeros(0, dtype=np.int64)
        tokens = np.array(prompt[:-1])
        for held, places in self.held.get(row, ()):
            both = min(len(held), len(tokens))
            differs = np.flatnonzero(held[:both] != tokens[:both])
            common = int(differs[0]) if len(differs) else both
            best = places[:common] if common > len(best) else best
        return best

    def load(self, known: list[Places], device: torch.device) -> tuple[DynamicCache, torch.Tensor]:
        """Keys and values of some beginnings, padded on the left, and the mask [B, T] of what is not padding."""
        cache, width = DynamicCache(), max(map(len, known))
        places_BT = np.zeros((len(known), width), dtype=np.int64)
        mask_BT = np.zeros_like(places_BT)
        for at, places in enumerate(known):
            places_BT[at, width - len(places) :], mask_BT[at, width - len(places) :] = places, 1
        index_BT = torch.from_numpy(places_BT).to(device)
        if width:
            for layer, (keys_NHD, values_NHD) in enumerate(self.stores):
                cache.update(keys_NHD[index_BT].transpose(1, 2), values_NHD[index_BT].transpose(1, 2), layer)
        return cache, torch.from_numpy(mask_BT).to(device)

    def hold(self, beginnings: list[Fresh], cache: DynamicCache) -> None:
        """Copy the new tokens of some beginnings out of the cache in which they were computed."""
        rows, columns = [], []
        for one in beginnings:
            new = len(one.tokens) - len(one.known)
            places = np.concatenate([one.known, self.used + len(rows) + np.arange(new)])
            self.held.setdefault(one.row, []).append((np.array(one.tokens), places))
            rows += [one.at] * new
            columns += range(one.column, one.column + new)
        if not rows:
            return
        layers: list[Any] = list(cache.layers)
        index = torch.tensor([rows, columns], device=layers[0].keys.device).unbind()
        fresh = [(layer.keys.transpose(1, 2)[index], layer.values.transpose(1, 2)[index]) for layer in layers]
        self._make_room(len(rows), fresh)
        for stores, new in zip(self.stores, fresh, strict=True):
            for store_NHD, new_NHD in zip(stores, new, strict=True):
                store_NHD[self.used : self.used + len(rows)] = new_NHD
        self.used += len(rows)

    def _make_room(self, tokens: int, like: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
        size = len(self.stores[0][0]) if self.stores else 0
        if self.used + tokens <= size:
            return
        size = max(2 * size, self.used + tokens)
        for layer, (keys_NHD, values_NHD) in enumerate(like):
            grown = (
                keys_NHD.new_empty(size, *keys_NHD.shape[1:]),
                values_NHD.new_empty(size, *values_NHD.shape[1:]),
            )
            if self.used:
                for new_NHD, old_NHD in zip(grown, self.stores[layer], strict=True):
                    new_NHD[: self.used] = old_NHD[: self.used]
            self.stores[layer : layer + 1] = [grown]
