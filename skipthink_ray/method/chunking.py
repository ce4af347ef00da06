"""Chunk boundaries (method §4): average, greedy (SBC), annealed (SA-SBC), optimal, all over the stage-loss matrix.

Vectorised over rationales: no Python loop per rationale. A chunking of R rationales into M chunks is an integer array
`ends_RM`: chunk m of rationale r holds steps ends[r, m-1] .. ends[r, m] - 1 (from 0 for m = 0), and ends[r, M-1] is its
number of steps. Shape suffixes: R rationales, M stages, K steps (padded), E = K + 1 boundaries between steps.
"""

from dataclasses import dataclass

import numpy as np

from skipthink_ray.config import SearchConfig


@dataclass(frozen=True)
class StageLosses:
    """The stage-loss matrix. Padding behind a rationale's last step is arbitrary but finite."""

    nll_RMK: np.ndarray
    """Sum of the token losses of step k under stage m's marker, in nats."""
    eos_RMK: np.ndarray
    """Loss of EOS right behind step k at stage m, in nats."""
    count_RK: np.ndarray
    """Tokens of step k."""

    @property
    def nll_before_RME(self) -> np.ndarray:
        return np.concatenate([np.zeros_like(self.nll_RMK[..., :1]), self.nll_RMK.cumsum(-1)], axis=-1)

    @property
    def count_before_RE(self) -> np.ndarray:
        return np.concatenate([np.zeros_like(self.count_RK[:, :1]), self.count_RK.cumsum(-1)], axis=-1)


class ChunkLosses:
    """loss(m, i..j): the mean loss of a chunk's tokens and EOS, for any stage and any run of steps, by lookup."""

    def __init__(self, losses: StageLosses) -> None:
        self.nll_RME = losses.nll_before_RME.astype(np.float64)
        self.eos_RMK = losses.eos_RMK.astype(np.float64)
        self.count_RE = losses.count_before_RE.astype(np.float64)

    def __call__(self, rows: np.ndarray, stage: int, start: np.ndarray, end: np.ndarray) -> np.ndarray:
        """Nats per token of steps start..end-1 at a stage; `start < end`, all arrays of one shape."""
        nll = self.nll_RME[rows, stage, end] - self.nll_RME[rows, stage, start] + self.eos_RMK[rows, stage, end - 1]
        return nll / (self.count_RE[rows, end] - self.count_RE[rows, start] + 1)


def average_chunks(num_steps_R: np.ndarray, num_chunks: int) -> np.ndarray:
    """Ends of evenly divided chunks (AC): sizes differ by at most one, larger ones first, trailing ones may be empty."""
    small_R, extra_R = np.divmod(np.asarray(num_steps_R), num_chunks)
    stage_M = np.arange(1, num_chunks + 1)
    return stage_M * small_R[:, None] + np.minimum(stage_M, extra_R[:, None])


def movable(ends_RM: np.ndarray) -> np.ndarray:
    """Which rationales have a boundary to move: those with more steps than chunks, and at least two chunks."""
    num_chunks = ends_RM.shape[1]
    return (ends_RM[:, -1] > num_chunks) & (num_chunks > 1)


def search(losses: StageLosses, ends_RM: np.ndarray, config: SearchConfig, rng: np.random.Generator) -> np.ndarray:
    """New ends by the configured chunker; every rationale must be `movable`."""
    if config.method == "average" or not len(ends_RM):
        return ends_RM
    if config.method == "greedy":
        return greedy_chunks(losses, ends_RM, config.eta_nats, config.objective == "pair")
    if config.method == "annealed":
        return annealed_chunks(losses, ends_RM, config, rng)
    return optimal_chunks(losses, ends_RM)


def energy(losses: StageLosses, ends_RM: np.ndarray) -> np.ndarray:
    """Sum over chunks of loss(c_m), in nats per token, for every rationale."""
    loss, rows_R = ChunkLosses(losses), np.arange(len(ends_RM))
    starts_RM = np.concatenate([np.zeros_like(ends_RM[:, :1]), ends_RM[:, :-1]], axis=1)
    return sum((loss(rows_R, m, starts_RM[:, m], ends_RM[:, m]) for m in range(ends_RM.shape[1])), np.zeros(len(ends_RM)))


def greedy_chunks(losses: StageLosses, ends_RM: np.ndarray, eta_nats: float, pair: bool) -> np.ndarray:
    """SBC: for m = 1..M-1 the best cut of c_m + c_m+1, taken if it lowers the loss by more than eta."""
    loss, ends_RM = ChunkLosses(losses), ends_RM.copy()
    rows_R = np.arange(len(ends_RM))
    cuts_E = np.arange(losses.count_RK.shape[1] + 1)
    for m in range(ends_RM.shape[1] - 1):
        start_R = ends_RM[:, m - 1] if m else np.zeros_like(ends_RM[:, 0])
        stop_R = ends_RM[:, m + 1]
        valid_RE = (cuts_E > start_R[:, None]) & (cuts_E < stop_R[:, None])
        rows, cuts = np.nonzero(valid_RE)
        cost_RE = np.full(valid_RE.shape, np.inf)
        cost_RE[rows, cuts] = loss(rows, m, start_R[rows], cuts)
        if pair:
            cost_RE[rows, cuts] += loss(rows, m + 1, cuts, stop_R[rows])
        best_R = cost_RE.argmin(1)
        gain_R = cost_RE[rows_R, ends_RM[:, m]] - cost_RE[rows_R, best_R]
        ends_RM[:, m] = np.where(gain_R > eta_nats, best_R, ends_RM[:, m])
    return ends_RM


def annealed_chunks(losses: StageLosses, ends_RM: np.ndarray, config: SearchConfig, rng: np.random.Generator) -> np.ndarray:
    """SA-SBC: shift one boundary by one step, accept by Metropolis, cool after every M-1 proposals; the best state seen."""
    loss, ends_RM = ChunkLosses(losses), ends_RM.copy()
    num_rows, num_chunks = ends_RM.shape
    rows_R = np.arange(num_rows)
    padded_RE = np.concatenate([np.zeros((num_rows, 1), ends_RM.dtype), ends_RM], axis=1)
    rise_R, lowest_R, best_RM = np.zeros(num_rows), np.zeros(num_rows), ends_RM.copy()
    for proposal in range(config.proposals):
        temperature = config.start_temperature_nats * config.cooling ** (proposal // (num_chunks - 1))
        m_R = rng.integers(1, num_chunks, num_rows)
        left_R, end_R, right_R = padded_RE[rows_R, m_R - 1], padded_RE[rows_R, m_R], padded_RE[rows_R, m_R + 1]
        moved_R = end_R + rng.choice([-1, 1], num_rows)
        uniform_R = rng.random(num_rows)
        rows = np.nonzero((moved_R > left_R) & (moved_R < right_R))[0]
        m, left, end, moved, right = m_R[rows], left_R[rows], end_R[rows], moved_R[rows], right_R[rows]
        change = loss(rows, m - 1, left, moved) + loss(rows, m, moved, right)
        change -= loss(rows, m - 1, left, end) + loss(rows, m, end, right)
        taken = uniform_R[rows] < np.exp(np.minimum(-change / temperature, 0.0))
        padded_RE[rows[taken], m[taken]] = moved[taken]
        rise_R[rows[taken]] += change[taken]
        better_R = rise_R < lowest_R
        lowest_R, best_RM = np.where(better_R, rise_R, lowest_R), np.where(better_R[:, None], padded_RE[:, 1:], best_RM)
    return best_RM


def optimal_chunks(losses: StageLosses, ends_RM: np.ndarray) -> np.ndarray:
    """The minimum of the energy over all chunkings into non-empty chunks, by dynamic programming over (stage, end)."""
    loss = ChunkLosses(losses)
    num_rows, num_chunks = ends_RM.shape
    num_steps_R, num_ends = ends_RM[:, -1], losses.count_RK.shape[1] + 1
    best_RE = np.full((num_rows, num_ends), np.inf)
    best_RE[:, 0] = 0.0
    start_RME = np.zeros((num_rows, num_chunks, num_ends), dtype=ends_RM.dtype)
    rows_R = np.arange(num_rows)[:, None]
    for m in range(num_chunks):
        reached_RE = np.full_like(best_RE, np.inf)
        for end in range(m + 1, num_ends):
            starts = np.arange(m, end)[None, :]
            cost = best_RE[:, m:end] + loss(rows_R, m, starts, np.full_like(starts, end))
            choice = cost.argmin(1)
            reached_RE[:, end] = cost[rows_R[:, 0], choice]
            start_RME[:, m, end] = choice + m
        best_RE = reached_RE
    found_RM = np.empty_like(ends_RM)
    end_R = num_steps_R
    for m in reversed(range(num_chunks)):
        found_RM[:, m] = end_R
        end_R = start_RME[rows_R[:, 0], m, end_R]
    return found_RM
