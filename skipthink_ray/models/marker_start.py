"""Initial embeddings of the markers (method §1, `student.marker_start`).

Shape suffixes: K markers, D width, V vocabulary.
"""

from typing import Any

import torch

from skipthink_ray.method.markup import COMMON_MARKERS

ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")


@torch.no_grad()
def add_embeddings(model: Any, known: int, vocabulary: int) -> None:
    """Add rows for the tokens from `known` on, each equal to the mean of the known rows.

    transformers would add noise to that mean. If the model has more rows than its tokenizer has tokens, new
    tokens use the spare rows.
    """
    if vocabulary > len(model.get_input_embeddings().weight):
        model.resize_token_embeddings(vocabulary, mean_resizing=False)
    for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
        layer.weight[known:vocabulary] = layer.weight[:known].mean(0)


@torch.no_grad()
def start_markers(model: Any, tokenizer: Any, start: str, names: list[str], seed: int) -> None:
    """Set the rows of the markers in the input and output embeddings. start: `student.marker_start`."""
    index_K = torch.tensor(tokenizer.convert_tokens_to_ids(names))
    ordinary_V = _ordinary(tokenizer, index_K)
    layers = {
        id(layer.weight): layer.weight
        for layer in (model.get_input_embeddings(), model.get_output_embeddings())
    }
    for weight_VD in layers.values():
        ordinary_VD = weight_VD[ordinary_V]
        weight_VD[index_K] = _rows(ordinary_VD, tokenizer, start, names, seed).to(weight_VD.dtype)


def _ordinary(tokenizer: Any, markers_K: torch.Tensor) -> torch.Tensor:
    """The ids of the tokens that the student had before it got markers: those in front of the common ones.

    A pretrained tokenizer may contain markers among its own added tokens, even as the first ones.
    """
    ordinary = torch.ones(len(tokenizer), dtype=torch.bool)
    ordinary[markers_K] = False
    before = ordinary.clone()
    before[min(tokenizer.convert_tokens_to_ids(list(COMMON_MARKERS))) :] = False
    return (before if before.any() else ordinary).nonzero().squeeze(1)


def _rows(ordinary_VD: torch.Tensor, tokenizer: Any, start: str, names: list[str], seed: int) -> torch.Tensor:
    mean_D = ordinary_VD.mean(0)
    if start == "mean":
        return mean_D.expand(len(names), -1)
    if start == "noise":
        draw_KD = torch.randn(len(names), len(mean_D), generator=torch.Generator().manual_seed(seed))
        return mean_D + draw_KD.to(mean_D) * ordinary_VD.std(0)
    words = [_word(name) for name in names]
    tokens = tokenizer(words, add_special_tokens=False)["input_ids"]
    return torch.stack([ordinary_VD[ids].mean(0) for ids in tokens])


def _word(marker: str) -> str:
    """The word that describes a marker, with leading space: ` first` for `[1]`, ` answer` for `[answer]`."""
    inside = marker.strip("[]")
    if not inside.isdigit():
        return f" {inside}"
    number = int(inside)
    return f" {ORDINALS[number - 1]}" if number <= len(ORDINALS) else f" {number}"
