"""Chunk search with a given student: before a CWT epoch with the one in every rank's memory, or in an actor with its own.

Every rank scores its share of the rationales. The batches do not depend on the number of ranks, and a rationale's random
numbers only on its number, so neither do the boundaries found. Ranks stay in lockstep, as a student sharded by ZeRO-3
requires. Losses of many batches are searched together: of the few dozen rationales of one batch, the search would be
calls of numpy and little else.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist

from skipthink_ray.config import SearchConfig
from skipthink_ray.method import chunking
from skipthink_ray.method.chunking import StageLosses
from skipthink_ray.method.markup import MarkerIds
from skipthink_ray.models.batching import length_batches
from skipthink_ray.models.scoring import stage_losses
from skipthink_ray.rows import Samples
from skipthink_ray.training.engine import rank, world

BATCH_TOKENS = {"cpu": 4096, "cuda": 32768}
"""Of one forward pass. A CPU is as fast with 1024 to 4096, and slower with more; a GPU's kernels must outlast their launch."""
HELD_LOSSES = 1 << 22
"""Entries of stage-loss matrices that wait for a search: 32 MiB for each of their two arrays."""
LARGEST_SIZE = 7
"""Chunks of this many steps or more are counted together."""


@dataclass(frozen=True)
class Rechunked:
    ends_RM: np.ndarray
    moved: int
    """Boundaries that moved."""
    movable: int
    """Boundaries that could: (M - 1) times the rationales with more steps than chunks."""
    energy_nats: float
    """Mean energy of the rationales with a boundary to move, after the search."""

    def record(self) -> dict[str, float]:
        """What is logged of a search, sizes over all chunks of all rationales."""
        sizes_RM = np.diff(self.ends_RM, axis=1, prepend=0)
        shares = np.bincount(np.minimum(sizes_RM, LARGEST_SIZE).ravel(), minlength=LARGEST_SIZE + 1) / max(sizes_RM.size, 1)
        means = sizes_RM.mean(0) if len(sizes_RM) else []
        return {
            "boundaries_moved": self.moved,
            "boundaries_movable": self.movable,
            "moved_share": self.moved / max(self.movable, 1),
            "energy_nats": self.energy_nats,
            **{f"chunk_{m}_steps_mean": float(mean) for m, mean in enumerate(means, start=1)},
            **{f"chunks_of_{_size(size)}_steps_share": float(share) for size, share in enumerate(shares)},
        }


def _size(size: int) -> str:
    return f"{size}_or_more" if size == LARGEST_SIZE else str(size)


def rechunk(
    model: torch.nn.Module,
    ids: MarkerIds,
    samples: Samples,
    ends_RM: np.ndarray,
    config: SearchConfig,
    seed: tuple[int, int],
    bf16: bool = False,
) -> Rechunked:
    """New chunk ends of all samples, the same on every rank. `seed`: (seed, epoch). bf16: forward passes, where the device can."""
    rows = np.nonzero(chunking.movable(ends_RM))[0]
    tokens = samples.question.lengths[rows] + samples.rationale.lengths[rows] + 1
    batches = length_batches(rows, tokens, BATCH_TOKENS["cuda" if next(model.parameters()).is_cuda else "cpu"])
    numbers = samples.table["row"].to_numpy()
    found_RM, energy = ends_RM.copy(), 0.0
    held: list[tuple[np.ndarray, StageLosses]] = []
    entries = 0
    for start in range(0, len(batches), world()):
        mine = start + rank() < len(batches)  # otherwise a forward in step with the others, for nothing
        batch = batches[min(start + rank(), len(batches) - 1)]
        losses = stage_losses(model, ids, samples, batch, bf16)
        if mine:
            held.append((batch, losses))
            entries += losses.nll_RMK.size
        if start + world() >= len(batches) or entries > HELD_LOSSES:
            energy += _search_held(held, numbers, found_RM, config, seed)
            held, entries = [], 0
    change_RM, energy = _sum_over_ranks(found_RM - ends_RM, energy)
    return Rechunked(
        ends_RM=ends_RM + change_RM,
        moved=int((change_RM != 0).sum()),
        movable=len(rows) * (ends_RM.shape[1] - 1),
        energy_nats=energy / max(len(rows), 1),
    )


def _search_held(
    held: list[tuple[np.ndarray, StageLosses]], numbers: np.ndarray, found_RM: np.ndarray, config: SearchConfig, seed: tuple[int, int]
) -> float:
    """Search the rationales of some batches, in place; the sum of their energies."""
    if not held:
        return 0.0
    rows, losses = np.concatenate([batch for batch, _ in held]), chunking.join_losses([losses for _, losses in held])
    found_RM[rows] = chunking.search(losses, found_RM[rows], config, numbers[rows], seed)
    return float(chunking.energy(losses, found_RM[rows]).sum())


def _sum_over_ranks(change_RM: np.ndarray, energy: float) -> tuple[np.ndarray, float]:
    if world() == 1:
        return change_RM, energy
    device = torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")
    change = torch.from_numpy(np.ascontiguousarray(change_RM)).to(device)
    total = torch.tensor(energy, dtype=torch.float64, device=device)
    dist.all_reduce(change)
    dist.all_reduce(total)
    return change.cpu().numpy(), float(total)
