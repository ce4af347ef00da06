"""The stage-loss matrix (method §4): one forward pass per stage gives the loss of every possible chunk.

Under causal attention, the loss of a token at stage m depends on `[m]`, q and all tokens before it, but not
on where chunk m begins. The loss of EOS after a step comes from the same logits. The M passes cannot share
keys or values: their prompts differ in the marker, and all later positions see it.

Losses that the search can never request are skipped. Chunks are not empty, so stage m (from 0) has no step
before m, and `chunking.reach` gives the last step of each stage. The pass of a stage ends there, and logits
are computed only for these steps, in slices.

Shape suffixes: B rationales of a batch, M stages, K steps, T tokens, D width, V vocabulary; N positions of
all rationales, concatenated; J entries (rationale, step) of a stage, concatenated.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from skipthink_ray.method.chunking import StageLosses
from skipthink_ray.method.markup import MarkerIds
from skipthink_ray.models.heads import has_plain_head, hidden_states, positions_per_slice

if TYPE_CHECKING:
    from skipthink_ray.method.samples import Ragged, Samples


@dataclass(frozen=True)
class _Stage:
    """What one pass computes. Position `start + t - 1` of a sequence predicts token t of its rationale."""

    width: int
    """Length of the longest sequence, up to the last position needed."""
    at_N: np.ndarray
    """Row in the batch."""
    position_N: np.ndarray
    before_J: np.ndarray
    """Index in N at which the tokens of the entry's step begin."""
    behind_J: np.ndarray
    """Index in N of the EOS after the step."""


@torch.no_grad()
def stage_losses(
    model: Any, ids: MarkerIds, samples: "Samples", rows: np.ndarray, until_BM: np.ndarray, bf16: bool = False
) -> StageLosses:
    """The matrix of some samples, from at most M forward passes. Leaves the model in eval mode.

    until_BM: the largest end of each stage's chunks (see `chunking.reach`); a stage with 0 for all samples
    takes no pass.
    bf16: use autocast if the device supports bf16.
    """
    model.eval()
    device, num_chunks = next(model.parameters()).device, samples.num_chunks
    marker_at = len(ids.start)
    starts_B = _lengths(samples.question, rows) + marker_at + 1  # position of the first rationale token
    input_BT = torch.from_numpy(_inputs(ids, samples, rows, starts_B)).to(device)
    steps_B = _lengths(samples.step_tokens, rows)
    band_BM = np.maximum(until_BM - np.arange(num_chunks), 0)  # steps that a stage can hold
    stages = np.flatnonzero(band_BM.any(0)).tolist()
    per_stage = []
    for m in stages:
        input_BT[:, marker_at] = ids.stages[m]
        with _autocast(device, bf16):
            per_stage.append(
                _entries(model, ids.eos, input_BT, _plan(samples, rows, starts_B, m, band_BM[:, m]))
            )
    shape = (len(rows), num_chunks, int(steps_B.max()))
    nll_BMK, eos_BMK, count_BK = np.zeros(shape), np.zeros(shape), np.ones((shape[0], shape[2]))
    for m, entries in zip(stages, per_stage, strict=True):
        at_J, nth_J = _runs(band_BM[:, m])
        nll_BMK[at_J, m, nth_J + m], eos_BMK[at_J, m, nth_J + m] = entries.cpu().numpy()
    at, step = _runs(steps_B)
    count_BK[at, step] = samples.step_tokens.values[samples.step_tokens.offsets[rows][at] + step]
    return StageLosses(nll_BMK, eos_BMK, count_BK)


def _lengths(ragged: "Ragged", rows: np.ndarray) -> np.ndarray:
    return ragged.offsets[rows + 1] - ragged.offsets[rows]


def _runs(lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(0 0 0 1 1 .., 0 1 2 0 1 ..) for lengths 3 2 ..: the run, and the position in it."""
    run = np.repeat(np.arange(len(lengths)), lengths)
    return run, np.arange(len(run)) - np.repeat(lengths.cumsum() - lengths, lengths)


def _inputs(ids: MarkerIds, samples: "Samples", rows: np.ndarray, starts_B: np.ndarray) -> np.ndarray:
    """Prompts with question and whole rationale, the marker not yet set. Padded on the right with 0."""
    ids_BT = np.zeros((len(rows), int((starts_B + _lengths(samples.rationale, rows)).max())), dtype=np.int64)
    ids_BT[:, : len(ids.start)] = ids.start
    question_B = np.full_like(starts_B, len(ids.start) + 1)
    for part, first_B in ((samples.question, question_B), (samples.rationale, starts_B)):
        at, inside = _runs(_lengths(part, rows))
        ids_BT[at, first_B[at] + inside] = part.values[part.offsets[rows][at] + inside]
    return ids_BT


def _plan(
    samples: "Samples", rows: np.ndarray, starts_B: np.ndarray, stage: int, band_B: np.ndarray
) -> _Stage:
    ends, first_B = samples.step_ends.values, samples.step_tokens.offsets[rows] + stage
    empty_B = band_B == 0
    from_B = np.where(empty_B | (stage == 0), 0, ends[np.minimum(first_B, len(ends)) - 1])
    to_B = np.where(empty_B, -1, ends[np.minimum(first_B + band_B, len(ends)) - 1])
    at_N, inside_N = _runs(to_B - from_B + 1)
    # the index in N that token 0 would have
    origin_B = np.concatenate([[0], (to_B - from_B + 1).cumsum()[:-1]]) - from_B
    at_J, nth_J = _runs(band_B)
    behind_J = ends[first_B[at_J] + nth_J] + origin_B[at_J]
    begin_J = np.where(nth_J == 0, from_B[at_J], ends[first_B[at_J] + nth_J - 1])
    position_N = (starts_B - 1 + from_B)[at_N] + inside_N
    return _Stage(int(position_N.max(initial=0)) + 1, at_N, position_N, begin_J + origin_B[at_J], behind_J)


def _entries(model: Any, eos: int, input_BT: torch.Tensor, stage: _Stage) -> torch.Tensor:
    """NLL and EOS of a stage's entries, [2, J], in fp64."""
    at_N, position_N, before_J, behind_J = (
        torch.from_numpy(array).to(input_BT.device)
        for array in (stage.at_N, stage.position_N, stage.before_J, stage.behind_J)
    )
    # at a last position this is an arbitrary token, which is not used
    next_N = input_BT[at_N, (position_N + 1).clamp(max=input_BT.shape[1] - 1)]
    token_N, eos_N = _losses(model, input_BT[:, : stage.width], (at_N, position_N), next_N, eos)
    running_N = torch.cat([token_N.new_zeros(1), token_N.cumsum(0)])
    return torch.stack([running_N[behind_J] - running_N[before_J], eos_N[behind_J]])


def _losses(
    model: Any,
    input_BT: torch.Tensor,
    where_N: tuple[torch.Tensor, torch.Tensor],
    next_N: torch.Tensor,
    eos: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Losses of the next token and of EOS at some positions, in fp64.

    Without an attention mask: padding is on the right, where causal attention does not look, and attention
    without a mask has faster kernels.
    """
    if not has_plain_head(model):
        logits_NV = model(input_ids=input_BT, use_cache=False).logits[where_N]
        return _of_logits(logits_NV, next_N, eos)
    head, hidden_ND = model.get_output_embeddings(), hidden_states(model, input_BT)[where_N]
    if _is_sharded(model):  # ZeRO-3: one call, because the number of calls must be equal on all ranks
        return _of_logits(head(hidden_ND), next_N, eos)
    size = positions_per_slice(model)
    slices = zip(hidden_ND.split(size), next_N.split(size), strict=True)
    token, end = zip(*(_of_logits(head(hidden), next_ids, eos) for hidden, next_ids in slices), strict=True)
    return torch.cat(token), torch.cat(end)


def _of_logits(logits_NV: torch.Tensor, next_N: torch.Tensor, eos: int) -> tuple[torch.Tensor, torch.Tensor]:
    log_probability_NV = logits_NV.float().log_softmax(-1)
    return -log_probability_NV.gather(-1, next_N[:, None]).squeeze(-1).double(), -log_probability_NV[
        :, eos
    ].double()


def _is_sharded(model: torch.nn.Module) -> bool:
    return hasattr(next(model.parameters()), "ds_id")


def _autocast(device: torch.device, bf16: bool) -> AbstractContextManager[Any]:
    return torch.autocast(device.type, torch.bfloat16) if bf16 and _can_bf16(device) else nullcontext()


def _can_bf16(device: torch.device) -> bool:
    return device.type == "cuda" and torch.cuda.is_bf16_supported()
