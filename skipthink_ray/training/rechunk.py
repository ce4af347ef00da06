"""Chunk search before a CWT epoch: every rank scores its share of the rationales with the student in its memory.

The batches do not depend on the number of ranks, so neither do the boundaries found. Ranks stay in lockstep, as a
student sharded by ZeRO-3 requires.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist

from skipthink_ray.config import SearchConfig
from skipthink_ray.method import chunking
from skipthink_ray.method.markup import MarkerIds
from skipthink_ray.models.batching import length_batches
from skipthink_ray.models.scoring import stage_losses
from skipthink_ray.rows import Samples
from skipthink_ray.training.engine import rank, world

BATCH_TOKENS = 4096


@dataclass(frozen=True)
class Rechunked:
    ends_RM: np.ndarray
    moved: int
    """Boundaries that moved."""
    movable: int
    """Boundaries that could: (M - 1) times the rationales with more steps than chunks."""
    energy_nats: float
    """Mean energy of the rationales with a boundary to move, after the search."""


def rechunk(
    model: torch.nn.Module, ids: MarkerIds, samples: Samples, ends_RM: np.ndarray, config: SearchConfig, seed: tuple[int, int]
) -> Rechunked:
    """New chunk ends of all samples, the same on every rank. `seed`: (seed, epoch)."""
    rows = np.nonzero(chunking.movable(ends_RM))[0]
    tokens = samples.question.lengths[rows] + samples.rationale.lengths[rows] + 1
    batches = length_batches(rows, tokens, BATCH_TOKENS)
    found_RM, energy = ends_RM.copy(), 0.0
    for start in range(0, len(batches), world()):
        number = min(start + rank(), len(batches) - 1)
        losses = stage_losses(model, ids, samples, batches[number])
        if start + rank() < len(batches):  # otherwise a forward in step with the others, for nothing
            rng = np.random.default_rng((*seed, number))
            batch = batches[number]
            found_RM[batch] = chunking.search(losses, ends_RM[batch], config, rng)
            energy += float(chunking.energy(losses, found_RM[batch]).sum())
    change_RM, energy = _sum_over_ranks(found_RM - ends_RM, energy)
    return Rechunked(
        ends_RM=ends_RM + change_RM,
        moved=int((change_RM != 0).sum()),
        movable=len(rows) * (ends_RM.shape[1] - 1),
        energy_nats=energy / max(len(rows), 1),
    )


def _sum_over_ranks(change_RM: np.ndarray, energy: float) -> tuple[np.ndarray, float]:
    if world() == 1:
        return change_RM, energy
    device = torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")
    change = torch.from_numpy(np.ascontiguousarray(change_RM)).to(device)
    total = torch.tensor(energy, dtype=torch.float64, device=device)
    dist.all_reduce(change)
    dist.all_reduce(total)
    return change.cpu().numpy(), float(total)
