"""A cache of keys and values of prompt prefixes, so that no prefix is computed twice.

Keys and values are in flat stores, one per layer, which double in size when they are full. A prefix is a list
of positions in the stores.

Shape suffixes: B prompts of a forward pass, T tokens, N tokens in a store, H heads, D width of a head.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from transformers import DynamicCache

Places = np.ndarray
"""Positions of a prefix's tokens in the stores."""


@dataclass(frozen=True)
class Fresh:
    """A prefix to store, whose last tokens have just been computed."""

    row: int
    tokens: list[int]
    """All tokens of the prefix."""
    known: Places
    """Positions of its first tokens, which are already stored; the others are new."""
    at: int
    """Its row in the cache."""
    column: int
    """Column of its first new token in the cache."""


@dataclass
class Prefixes:
    """The prefixes of the prompts about some samples. `row` is the number of a sample among them."""

    held: dict[int, list[tuple[np.ndarray, Places]]] = field(default_factory=dict)
    """Stored prefixes and their positions, by the sample's row."""
    stores: list[tuple[torch.Tensor, torch.Tensor]] = field(default_factory=list)
    """Keys and values of each layer, [N, H, D]."""
    used: int = 0
    """Number of tokens in each store; the space after them is free."""

    def longest(self, row: int, prompt: list[int]) -> Places:
        """Positions of the longest stored prefix of `prompt`, never of all its tokens."""
        best = np.zeros(0, dtype=np.int64)
        tokens = np.array(prompt[:-1])
        for held, places in self.held.get(row, ()):
            both = min(len(held), len(tokens))
            differs = np.flatnonzero(held[:both] != tokens[:both])
            common = int(differs[0]) if len(differs) else both
            best = places[:common] if common > len(best) else best
        return best

    def load(self, known: list[Places], device: torch.device) -> tuple[DynamicCache, torch.Tensor]:
        """Keys and values of some prefixes, padded on the left, and the attention mask [B, T]."""
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
        """Store the new tokens of some prefixes from the cache in which they were computed."""
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
