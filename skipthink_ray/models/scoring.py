"""The stage-loss matrix (method §4): one forward pass per stage gives the loss of every possible chunk.

Under causal attention the loss of a token at stage m depends on `[m]`, q and all that stands before it, never on where
chunk m began; and the loss of EOS behind a step is in the same logits.
Shape suffixes: B rationales of a batch, M stages, K steps, T tokens, V vocabulary.
"""

import numpy as np
import torch

from skipthink_ray.method.chunking import StageLosses
from skipthink_ray.method.markup import MarkerIds, stage_prompt
from skipthink_ray.rows import Samples


@torch.no_grad()
def stage_losses(model: torch.nn.Module, ids: MarkerIds, samples: Samples, rows: np.ndarray) -> StageLosses:
    """The matrix of some samples, by M forward passes over them. The model is left in eval mode."""
    model.eval()
    device = next(model.parameters()).device
    starts_B = samples.question.lengths[rows] + 1  # position of the first rationale token
    totals_B = samples.rationale.lengths[rows]
    ids_BT = np.zeros((len(rows), int((starts_B + totals_B).max())), dtype=np.int64)
    mask_BT = np.zeros_like(ids_BT)
    for at, row in enumerate(rows):
        tokens = stage_prompt(samples.question[row], samples.rationale[row], 0)
        ids_BT[at, : len(tokens)], mask_BT[at, : len(tokens)] = tokens, 1
    input_BT, mask = torch.from_numpy(ids_BT).to(device), torch.from_numpy(mask_BT).to(device)
    per_stage = []
    for marker in ids.stages[: samples.num_chunks]:
        input_BT[:, 0] = marker
        logits_BTV = model(input_ids=input_BT, attention_mask=mask, use_cache=False).logits.float()
        norm_BT = logits_BTV.logsumexp(-1)
        token_BT = norm_BT[:, :-1] - logits_BTV[:, :-1].gather(-1, input_BT[:, 1:, None]).squeeze(-1)
        eos_BT = norm_BT - logits_BTV[..., ids.eos]
        per_stage.append((token_BT.double().cpu().numpy(), eos_BT.double().cpu().numpy()))
    return _by_step(samples, rows, starts_B, per_stage)


def _by_step(samples: Samples, rows: np.ndarray, starts_B: np.ndarray, per_stage: list[tuple[np.ndarray, np.ndarray]]) -> StageLosses:
    """Token losses summed over steps. The loss of the token at position t stands at t - 1."""
    num_steps = samples.steps.lengths[rows]
    shape = (len(rows), len(per_stage), int(num_steps.max()))
    nll_BMK, eos_BMK = np.zeros(shape), np.zeros(shape)
    count_BK = np.ones((shape[0], shape[2]))
    for at, (row, start, steps) in enumerate(zip(rows, starts_B, num_steps, strict=True)):
        ends = samples.step_ends[row]
        count_BK[at, :steps] = samples.steps[row]
        for m, (token_BT, eos_BT) in enumerate(per_stage):
            running = np.concatenate([[0.0], token_BT[at, start - 1 : start - 1 + ends[-1]].cumsum()])
            nll_BMK[at, m, :steps] = np.diff(running[ends], prepend=0.0)
            eos_BMK[at, m, :steps] = eos_BT[at, start - 1 + ends]
    return StageLosses(nll_BMK, eos_BMK, count_BK)
