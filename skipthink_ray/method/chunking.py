"""Chunkers (method §4): average, greedy (SBC), annealed (SA-SBC) and optimal, all on the stage-loss matrix.

All functions are vectorised over rationales. A chunking of R rationales into M chunks is an integer array
`ends_RM`: chunk m of rationale r has the steps ends[r, m-1] .. ends[r, m] - 1 (from 0 for m = 0), and
ends[r, M-1] is its number of steps.

Shape suffixes: R rationales, M stages, K steps (padded), E = K + 1 boundaries between steps, P proposals,
S streams of random numbers.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from skipthink_ray.config import SearchConfig  # the arithmetic needs no pydantic

SLICE_ROWS = 1024
"""Rationales searched together: enough to amortise numpy's call overhead, few enough for the CPU cache."""
LARGEST_SIZE = 7
"""Chunks of this many steps or more are counted together."""
STREAMS = 1024
"""Streams of random numbers; rationale `row` draws from stream `row % STREAMS`."""


@dataclass(frozen=True)
class StageLosses:
    """The stage-loss matrix. Entries that no chunking into non-empty chunks uses are arbitrary but finite."""

    nll_RMK: np.ndarray
    """Sum of the token losses of step k under stage m's marker, in nats."""
    eos_RMK: np.ndarray
    """Loss of EOS directly after step k at stage m, in nats."""
    count_RK: np.ndarray
    """Tokens of step k; 1 in the padding after a rationale's last step."""

    def part(self, rows: np.ndarray, num_steps: int) -> "StageLosses":
        """The matrix of some rationales, all with at most `num_steps` steps."""
        return StageLosses(
            self.nll_RMK[rows, :, :num_steps],
            self.eos_RMK[rows, :, :num_steps],
            self.count_RK[rows, :num_steps],
        )


def join_losses(parts: list[StageLosses]) -> StageLosses:
    """Concatenate the rationales of all parts into one matrix."""
    width = max(part.count_RK.shape[1] for part in parts)

    def joined(arrays: list[np.ndarray], fill: float) -> np.ndarray:
        gaps = [[(0, 0)] * (array.ndim - 1) + [(0, width - array.shape[-1])] for array in arrays]
        return np.concatenate(
            [np.pad(array, gap, constant_values=fill) for array, gap in zip(arrays, gaps, strict=True)]
        )

    fields = ((part.nll_RMK, part.eos_RMK, part.count_RK) for part in parts)
    nll, eos, count = zip(*fields, strict=True)
    return StageLosses(joined(list(nll), 0.0), joined(list(eos), 0.0), joined(list(count), 1.0))


class ChunkLosses:
    """Look up loss(m, i..j), the mean loss of a chunk's tokens and EOS, for any stage and range of steps."""

    def __init__(self, losses: StageLosses) -> None:
        num_rows, num_stages, num_steps = losses.nll_RMK.shape
        self.before_RME = np.zeros((num_rows, num_stages, num_steps + 1))
        """Sum of the token losses of all steps before a boundary."""
        self.through_RME = np.zeros_like(self.before_RME)
        """The same sum, plus the loss of the EOS that ends a chunk there."""
        self.count_RE = np.zeros((num_rows, num_steps + 1))
        """Number of tokens before a boundary."""
        np.cumsum(losses.nll_RMK, axis=-1, out=self.before_RME[..., 1:])
        np.cumsum(losses.count_RK, axis=-1, out=self.count_RE[:, 1:])
        np.add(self.before_RME[..., 1:], losses.eos_RMK, out=self.through_RME[..., 1:])

    def __call__(self, rows: np.ndarray, stage: int, start: np.ndarray, end: np.ndarray) -> np.ndarray:
        """Loss of steps start..end-1 at a stage, in nats per token. Arrays of one shape, with start < end."""
        nll = self.through_RME[rows, stage, end] - self.before_RME[rows, stage, start]
        return nll / (self.count_RE[rows, end] - self.count_RE[rows, start] + 1)

    def to_every_end(self, stage: int, start_R: np.ndarray) -> np.ndarray:
        """Losses from one start per rationale to every later end, [R, E]; other entries are meaningless."""
        before_R1 = np.take_along_axis(self.before_RME[:, stage], start_R[:, None], 1)
        tokens_RE = self.count_RE - np.take_along_axis(self.count_RE, start_R[:, None], 1)
        return (self.through_RME[:, stage] - before_R1) / (np.maximum(tokens_RE, 0.0) + 1)

    def from_every_start(self, stage: int, end_R: np.ndarray) -> np.ndarray:
        """Losses from every earlier start to one end per rationale, [R, E]; other entries are meaningless."""
        through_R1 = np.take_along_axis(self.through_RME[:, stage], end_R[:, None], 1)
        tokens_RE = np.take_along_axis(self.count_RE, end_R[:, None], 1) - self.count_RE
        return (through_R1 - self.before_RME[:, stage]) / (np.maximum(tokens_RE, 0.0) + 1)


def average_chunks(num_steps_R: np.ndarray, num_chunks: int) -> np.ndarray:
    """Ends of evenly sized chunks (AC). Sizes differ by at most one, larger first; the last may be empty."""
    small_R, extra_R = np.divmod(np.asarray(num_steps_R), num_chunks)
    stage_M = np.arange(1, num_chunks + 1)
    return stage_M * small_R[:, None] + np.minimum(stage_M, extra_R[:, None])


def sizes_of(ends_RM: np.ndarray) -> np.ndarray:
    """Sizes of the chunks that end at `ends_RM`."""
    return np.diff(ends_RM, axis=1, prepend=0)


def movable(ends_RM: np.ndarray) -> np.ndarray:
    """Which rationales have a boundary that can move: more steps than chunks, and at least two chunks."""
    num_chunks = ends_RM.shape[1]
    return (ends_RM[:, -1] > num_chunks) & (num_chunks > 1)


def reach(ends_RM: np.ndarray, config: "SearchConfig") -> np.ndarray:
    """The largest end that a search may give a chunk of each stage, [R, M]; 0 for a stage it never reads.

    The chunks after it must not be empty. Greedy search merges two chunks at a time, so a boundary stays
    before the old end of the next chunk. With the objective `chunk` it never reads the loss of the last
    chunk.
    """
    num_chunks = ends_RM.shape[1]
    until_RM = ends_RM[:, -1:] - num_chunks + 1 + np.arange(num_chunks)
    if config.method == "greedy":
        until_RM[:, :-1] = np.minimum(until_RM[:, :-1], ends_RM[:, 1:] - 1)
        until_RM[:, -1] *= config.objective == "pair"
    return until_RM


def search(
    losses: StageLosses, ends_RM: np.ndarray, config: "SearchConfig", row_R: np.ndarray, seed: tuple[int, int]
) -> np.ndarray:
    """New ends by the configured chunker. Requires a matrix up to `reach` and `movable` rationales.

    `row_R` numbers the rationales. Together with `seed`, which is (seed, epoch), it determines the random
    numbers of a rationale, whatever other rationales are searched. Rationales of similar length are searched
    together, to reduce padding.
    """
    found_RM = ends_RM.copy()
    if config.method == "average" or not len(ends_RM):
        return found_RM
    drawn = draw_proposals(config.proposals, seed) if config.method == "annealed" else None
    by_steps = np.argsort(ends_RM[:, -1], kind="stable")
    for first in range(0, len(by_steps), SLICE_ROWS):
        rows = by_steps[first : first + SLICE_ROWS]
        part = losses.part(rows, int(ends_RM[rows[-1], -1]))
        if config.method == "greedy":
            found_RM[rows] = greedy_chunks(part, ends_RM[rows], config.eta_nats, config.objective == "pair")
        elif drawn is not None:
            found_RM[rows] = annealed_chunks(part, ends_RM[rows], config, drawn.of(row_R[rows]))
        else:
            found_RM[rows] = optimal_chunks(part, ends_RM[rows])
    return found_RM


def energy(losses: StageLosses, ends_RM: np.ndarray) -> np.ndarray:
    """Sum of loss(c_m) over the chunks of each rationale, in nats per token."""
    loss, rows_R = ChunkLosses(losses), np.arange(len(ends_RM))
    starts_RM = np.concatenate([np.zeros_like(ends_RM[:, :1]), ends_RM[:, :-1]], axis=1)
    return sum(
        (loss(rows_R, m, starts_RM[:, m], ends_RM[:, m]) for m in range(ends_RM.shape[1])),
        np.zeros(len(ends_RM)),
    )


def greedy_chunks(losses: StageLosses, ends_RM: np.ndarray, eta_nats: float, pair: bool) -> np.ndarray:
    """SBC: for m = 1..M-1, cut c_m + c_m+1 at the best place if that lowers the loss by more than eta."""
    loss, ends_RM = ChunkLosses(losses), ends_RM.copy()
    rows_R, cuts_E = np.arange(len(ends_RM)), np.arange(losses.count_RK.shape[1] + 1)
    start_R = np.zeros_like(ends_RM[:, 0])
    for m in range(ends_RM.shape[1] - 1):
        stop_R = ends_RM[:, m + 1]
        cost_RE = loss.to_every_end(m, start_R)
        if pair:
            cost_RE += loss.from_every_start(m + 1, stop_R)
        cost_RE[(cuts_E <= start_R[:, None]) | (cuts_E >= stop_R[:, None])] = np.inf
        best_R = cost_RE.argmin(1)
        gain_R = cost_RE[rows_R, ends_RM[:, m]] - cost_RE[rows_R, best_R]
        ends_RM[:, m] = np.where(gain_R > eta_nats, best_R, ends_RM[:, m])
        start_R = ends_RM[:, m]
    return ends_RM


@dataclass(frozen=True)
class Proposals:
    """The random numbers of an annealing, drawn in advance."""

    move_PS: np.ndarray
    """In [0, 1): selects one of the moves that are possible at that point."""
    patience_PS: np.ndarray
    """Exponentially distributed: an energy rise of less than `patience * temperature` is accepted."""

    def of(self, row_R: np.ndarray) -> "Proposals":
        """The numbers for some rationales: stream `row % STREAMS`."""
        return Proposals(
            np.take(self.move_PS, row_R % STREAMS, axis=1), np.take(self.patience_PS, row_R % STREAMS, axis=1)
        )


def draw_proposals(proposals: int, seed: tuple[int, int]) -> Proposals:
    rng, shape = np.random.default_rng(seed), (proposals, STREAMS)
    return Proposals(rng.random(shape), rng.standard_exponential(shape))


def pick_move(bounds_RB: np.ndarray, move_R: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(boundary, shift): a move drawn evenly from those that leave no chunk empty. B = M + 1 bounds, 0 to n.

    Only possible moves are drawn, so no proposal is wasted: with five steps in four chunks, at least four of
    the six moves are impossible. The number of possible moves differs between states. That needs no Hastings
    correction, because annealing minimises and does not sample.
    """
    num_boundaries = bounds_RB.shape[1] - 2
    long_RM = np.diff(bounds_RB) > 1
    # first the moves that take the last step of c_m, then those that take the first step of c_m+1
    moves_R = np.concatenate([long_RM[:, :-1], long_RM[:, 1:]], axis=1).cumsum(1)
    code_R = (moves_R <= (move_R * moves_R[:, -1]).astype(np.int64)[:, None]).sum(1)
    return code_R % num_boundaries, np.where(code_R < num_boundaries, -1, 1)


def annealed_chunks(
    losses: StageLosses, ends_RM: np.ndarray, config: "SearchConfig", drawn: Proposals
) -> np.ndarray:
    """SA-SBC: shift one boundary by one step per proposal, cool after every M-1 proposals, keep the best.

    Metropolis accepts a rise with probability exp(-rise / T), that is, if it is less than T times an
    exponential draw. Arrays are flat with computed indices, because indexing each axis is several times as
    slow.
    """
    loss = ChunkLosses(losses)
    num_rows, num_chunks = ends_RM.shape
    num_ends, rows_R = loss.count_RE.shape[1], np.arange(len(ends_RM))
    before, through, count = loss.before_RME.ravel(), loss.through_RME.ravel(), loss.count_RE.ravel()
    # chunk m lies between bounds m and m + 1
    bounds_RB = np.concatenate([np.zeros((num_rows, 1), np.int64), ends_RM], axis=1)
    bounds = bounds_RB.ravel()
    own = np.stack(
        [loss(rows_R, m, bounds_RB[:, m], bounds_RB[:, m + 1]) for m in range(num_chunks)], axis=1
    ).ravel()
    rise_R, lowest_R, best_RM = np.zeros(num_rows), np.zeros(num_rows), ends_RM.copy()
    for proposal, (move_R, patience_R) in enumerate(zip(drawn.move_PS, drawn.patience_PS, strict=True)):
        temperature = config.start_temperature_nats * config.cooling ** (proposal // (num_chunks - 1))
        m, shift = pick_move(bounds_RB, move_R)
        at, tokens, chunk = rows_R * (num_chunks + 1) + m, rows_R * num_ends, rows_R * num_chunks + m
        stage = chunk * num_ends
        left, moved, right = bounds.take(at), bounds.take(at + 1) + shift, bounds.take(at + 2)
        at_moved = count.take(tokens + moved)
        first = (through.take(stage + moved) - before.take(stage + left)) / (
            at_moved - count.take(tokens + left) + 1
        )
        stage += num_ends
        second = (through.take(stage + right) - before.take(stage + moved)) / (
            count.take(tokens + right) - at_moved + 1
        )
        rise = first + second - own.take(chunk) - own.take(chunk + 1)
        row = np.flatnonzero(rise < temperature * patience_R)
        chunk = chunk[row]
        bounds[at[row] + 1], own[chunk], own[chunk + 1] = moved[row], first[row], second[row]
        rise_R[row] += rise[row]
        better = row[rise_R[row] < lowest_R[row]]
        lowest_R[better], best_RM[better] = rise_R[better], bounds_RB[better, 1:]
    return best_RM


def optimal_chunks(losses: StageLosses, ends_RM: np.ndarray) -> np.ndarray:
    """The chunking into non-empty chunks with the lowest energy, by dynamic programming over (stage, end)."""
    loss, num_chunks, end_R = ChunkLosses(losses), ends_RM.shape[1], ends_RM[:, -1]
    rows_R, ends_E = np.arange(len(ends_RM)), np.arange(losses.count_RK.shape[1] + 1)
    # the lowest energy of the chunks so far, if the last of them ends at E
    best_RE = loss.to_every_end(0, np.zeros_like(end_R))
    best_RE[:, 0] = np.inf
    start_RME = np.zeros((len(ends_RM), num_chunks, len(ends_E)), dtype=ends_RM.dtype)
    for m in range(1, num_chunks - 1):
        best_RE, start_RME[:, m] = _one_more_chunk(loss, m, best_RE, len(ends_E) - (num_chunks - 1 - m))
    cost_RE = best_RE + loss.from_every_start(num_chunks - 1, end_R)  # the last chunk has a fixed end
    cost_RE[ends_E >= end_R[:, None]] = np.inf
    found_RM = np.empty_like(ends_RM)
    found_RM[:, -1], found_RM[:, -2] = end_R, cost_RE.argmin(1)
    for m in reversed(range(num_chunks - 2)):
        found_RM[:, m] = start_RME[rows_R, m + 1, found_RM[:, m + 1]]
    return found_RM


def _one_more_chunk(
    loss: ChunkLosses, stage: int, best_RE: np.ndarray, stop: int
) -> tuple[np.ndarray, np.ndarray]:
    """(lowest energy, start of the last chunk) of chunkings up to `stage`, for every end below `stop`.

    Uses the formula of `from_every_start`, but only for the possible starts, which halves the arithmetic.
    """
    before_RE, through_RE, count_RE = loss.before_RME[:, stage], loss.through_RME[:, stage], loss.count_RE
    reached_RE, start_RE = np.full_like(best_RE, np.inf), np.zeros(best_RE.shape, dtype=np.int64)
    rows_R = np.arange(len(best_RE))
    for end in range(stage + 1, stop):
        starts = slice(stage, end)
        cost = (through_RE[:, end, None] - before_RE[:, starts]) / (
            count_RE[:, end, None] - count_RE[:, starts] + 1
        )
        cost += best_RE[:, starts]
        choice_R = cost.argmin(1)
        reached_RE[:, end], start_RE[:, end] = cost[rows_R, choice_R], choice_R + stage
    return reached_RE, start_RE
