"""Chunk search with a given student: on all ranks before a CWT epoch, or in a single actor.

Each rank scores its share of the rationales. The result does not depend on the number of ranks: batches do
not, and a rationale's random numbers depend only on its row number. The exception is rounding if two cuts
tie, as batches of different shapes round differently. Ranks stay in lockstep, as ZeRO-3 requires. The
losses of many batches are searched together, because one batch of a few dozen rationales would mostly pay
numpy's call overhead.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
import torch.distributed as dist

from skipthink_ray.config import SearchConfig
from skipthink_ray.method import chunking
from skipthink_ray.method.chunking import LARGEST_SIZE, StageLosses
from skipthink_ray.method.markup import MarkerIds
from skipthink_ray.method.samples import Samples
from skipthink_ray.models.scoring import stage_losses
from skipthink_ray.training.batches import length_batches
from skipthink_ray.training.engine import rank, world

BATCH_TOKENS = {"cpu": 2048, "cuda": 32768}
"""Tokens per forward pass. A CPU is equally fast from 1024 to 4096, and slower above. A GPU needs large
batches, so that its kernels run longer than their launch takes."""
ENERGY_BATCHES = 16
"""Minimum number of batches that measure the energy of a greedy search. Greedy search does not need the
last chunk's loss, and its pass is the longest, so it is computed for a sample of batches only, spread over
all lengths."""
HELD_LOSSES = 1 << 22
"""Maximum number of stage-loss entries that wait for a search: 32 MiB for each of their two arrays."""


@dataclass(frozen=True)
class Rechunked:
    samples: Samples
    """The samples with the chunks that were found."""
    moved: int
    """Boundaries that moved."""
    movable: int
    """Boundaries that could move: (M - 1) times the number of rationales with more steps than chunks."""
    energy_nats: float
    """Mean energy of the movable rationales after the search; after a greedy search, of a sample of them."""

    def record(self) -> dict[str, float]:
        """The metrics to log. Chunk sizes are taken over all chunks of all rationales."""
        sizes_RM = self.samples.sizes_RM
        shares = np.bincount(np.minimum(sizes_RM, LARGEST_SIZE).ravel(), minlength=LARGEST_SIZE + 1) / max(
            sizes_RM.size, 1
        )
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
    config: SearchConfig,
    seed: tuple[int, int],
    bf16: bool = False,
) -> Rechunked:
    """The samples with new chunks, the same on every rank. The search starts from their present chunks.

    `seed` is (seed, epoch). `bf16` runs the forward passes in bf16 if the device supports it.
    """
    ends_RM = samples.ends_RM
    scored = concluded(samples) if ids.answer_in_last_chunk else samples
    rows = np.nonzero(chunking.movable(ends_RM))[0]
    tokens = scored.question.lengths[rows] + scored.rationale.lengths[rows] + len(ids.start) + 1
    batches = length_batches(
        rows, tokens, BATCH_TOKENS["cuda" if next(model.parameters()).is_cuda else "cpu"]
    )
    until_RM = chunking.reach(ends_RM, config)
    needs_last_stage = bool(len(rows)) and bool(until_RM[rows, -1].any())
    every = 1 if needs_last_stage else max(1, len(batches) // ENERGY_BATCHES)
    numbers = samples.table["row"].to_numpy()
    found_RM, energy = ends_RM.copy(), np.zeros(2)  # sum and number of rationales
    waiting: list[Scored] = []
    for start in range(0, len(batches), world()):
        together = range(start, min(start + world(), len(batches)))
        number = min(start + rank(), len(batches) - 1)
        batch = batches[number]
        until_BM = until_RM[batch]
        if any(other % every == 0 for other in together):  # one rank measures, so all run the same passes
            until_BM[:, -1] = ends_RM[batch, -1]
        losses = stage_losses(model, ids, scored, batch, until_BM, bf16)
        if number == start + rank():  # otherwise this pass only kept the ranks in lockstep
            waiting.append(Scored(batch, losses, number % every == 0))
        padded = sum(len(part.rows) for part in waiting) * losses.nll_RMK[0].size  # later batches are longer
        if together.stop == len(batches) or padded > HELD_LOSSES:
            energy += _search_waiting(waiting, numbers, found_RM, config, seed)
            waiting = []
    change_RM, energy = _sum_over_ranks(found_RM - ends_RM, energy)
    return Rechunked(
        samples=samples.with_ends(ends_RM + change_RM),
        moved=int((change_RM != 0).sum()),
        movable=len(rows) * (ends_RM.shape[1] - 1),
        energy_nats=float(energy[0] / max(energy[1], 1)),
    )


def concluded(samples: Samples) -> Samples:
    """The same samples, with ` --> y` as part of the last step."""
    before_R, after_R = samples.rationale.lengths, samples.conclusion.lengths
    joined = np.insert(
        samples.rationale.values,
        np.repeat(samples.rationale.offsets[1:], after_R),
        samples.conclusion.values,
    )
    steps = samples.step_tokens.values.copy()
    steps[samples.step_tokens.offsets[1:] - 1] += after_R
    offsets = np.concatenate([[0], (before_R + after_R).cumsum()])
    table = samples.table
    for name, values, at in (
        ("rationale_tokens", joined, offsets),
        ("step_tokens", steps, samples.step_tokens.offsets),
    ):
        field = table.schema.field(name)
        lists = pa.ListArray.from_arrays(at.astype(np.int32), pa.array(values, field.type.value_type))
        table = table.set_column(table.schema.get_field_index(name), field, lists)
    return Samples(table)


@dataclass(frozen=True)
class Scored:
    """A scored batch that waits for the search."""

    rows: np.ndarray
    losses: StageLosses
    counted: bool
    """Whether it counts towards the mean energy."""


def _search_waiting(
    waiting: list[Scored],
    numbers: np.ndarray,
    found_RM: np.ndarray,
    config: SearchConfig,
    seed: tuple[int, int],
) -> np.ndarray:
    """Search some batches and write the result to `found_RM`. Returns sum and number of their energies."""
    if not waiting:
        return np.zeros(2)
    rows, losses = (
        np.concatenate([part.rows for part in waiting]),
        chunking.join_losses([part.losses for part in waiting]),
    )
    if not (np.isfinite(losses.nll_RMK).all() and np.isfinite(losses.eos_RMK).all()):
        raise ValueError(
            "the student's losses are not finite: its weights are broken; use another checkpoint"
        )
    found_RM[rows] = chunking.search(losses, found_RM[rows], config, numbers[rows], seed)
    counted = np.repeat([part.counted for part in waiting], [len(part.rows) for part in waiting])
    return np.array([chunking.energy(losses, found_RM[rows])[counted].sum(), counted.sum()])


def _sum_over_ranks(change_RM: np.ndarray, energy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if world() == 1:
        return change_RM, energy
    device = (
        torch.device("cuda", torch.cuda.current_device())
        if dist.get_backend() == "nccl"
        else torch.device("cpu")
    )
    change = torch.from_numpy(np.ascontiguousarray(change_RM)).to(device)
    total = torch.from_numpy(energy).to(device)
    dist.all_reduce(change)
    dist.all_reduce(total)
    return change.cpu().numpy(), total.cpu().numpy()
