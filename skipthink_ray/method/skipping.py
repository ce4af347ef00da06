"""Searches for the chunks that a CWT student does not need (method §5).

The student is a callable that answers for many samples at once, so this module needs neither torch nor ray.
Shape suffixes: R samples, M chunks, S subsets of the M chunks.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from skipthink_ray.config import SkipsConfig

MAX_EXHAUSTIVE_CHUNKS = 6
"""Limit of the exhaustive search, which sorts all 2^M subsets of each sample."""

AnswersRight = Callable[[np.ndarray, np.ndarray, int], np.ndarray]
"""(rows, kept_RM of those rows, w) -> whether the student's greedy answer passes the gate.

The student sees the kept chunks, which are among the first w. It writes the other M - w
chunks, then the answer."""


def check_search(config: SkipsConfig, num_chunks: int) -> None:
    """Raise ValueError if the configured search cannot handle this number of chunks."""
    if config.search == "exhaustive" and num_chunks > MAX_EXHAUSTIVE_CHUNKS:
        raise ValueError(
            f"skips.search: exhaustive tries all subsets of the chunks, for M up to {MAX_EXHAUSTIVE_CHUNKS}; "
            f"M is {num_chunks} here. Set skips.search to sequential, or reduce cwt.num_chunks"
        )


def find_kept(
    present_RM: np.ndarray, tokens_RM: np.ndarray, answers_right: AnswersRight, config: SkipsConfig
) -> tuple[np.ndarray, np.ndarray]:
    """(kept_RM, right_R): the chunks to keep, and whether the answer from all chunks passes the gate.

    `present_RM` marks the chunks that have steps; an empty chunk is never kept or tested. `tokens_RM` is the
    number of tokens of each chunk. If the answer from all chunks fails, all are kept. `check_search` must
    have accepted the number of chunks.
    """
    right_R = answers_right(np.arange(len(present_RM)), present_RM, present_RM.shape[1])
    may_skip_RM = present_RM & right_R[:, None] & skippable(present_RM, config.skippable)
    if config.search == "all":
        return present_RM & ~may_skip_RM, right_R
    if config.search == "exhaustive":
        return _exhaustive(present_RM, may_skip_RM, tokens_RM, answers_right), right_R
    return _sequential(present_RM, may_skip_RM, answers_right, config.judge), right_R


def skippable(present_RM: np.ndarray, which: str) -> np.ndarray:
    """The chunks that may be skipped: any, or only those between a sample's first and last non-empty one."""
    if which == "any":
        return np.ones_like(present_RM)
    num_present_R1 = present_RM.sum(1, keepdims=True)
    position_M = np.arange(present_RM.shape[1])
    return (position_M > 0) & (position_M < num_present_R1 - 1)


def shuffle_skips(kept_RM: np.ndarray, may_skip_RM: np.ndarray, seed: int) -> np.ndarray:
    """A control for the search: for each chunk index, reassign the skips to randomly chosen samples.

    `may_skip_RM` marks the chunks that are present and skippable; all others stay as they are. It does not
    matter whether the student was right with all chunks. Chunk indices are shuffled independently of each
    other.
    """
    random, shuffled_RM = np.random.default_rng(seed), kept_RM.copy()
    for m in range(kept_RM.shape[1]):
        rows = np.flatnonzero(may_skip_RM[:, m])
        shuffled_RM[rows, m] = kept_RM[random.permutation(rows), m]
    return shuffled_RM


def fold_of(question: str, folds: int, seed: int) -> int:
    """The fold of a sample, 0..folds-1, by a hash of its question, so that equal questions share a fold."""
    digest = hashlib.sha256(f"{seed}\n{question.strip()}".encode()).digest()
    return int.from_bytes(digest[:8]) % folds


@dataclass(frozen=True)
class Fold:
    """One of the folds of the cross-fitted gate (method §5)."""

    number: int
    folds: int
    """K."""
    seed: int

    def holds(self, questions: Sequence[str]) -> np.ndarray:
        """Which samples are in this fold; its student is never trained on them."""
        return np.array(
            [fold_of(question, self.folds, self.seed) == self.number for question in questions], dtype=bool
        )


def _sequential(
    present_RM: np.ndarray, may_skip_RM: np.ndarray, answers_right: AnswersRight, judge: str
) -> np.ndarray:
    """The paper's search: leave out c_1, .. c_M in turn; a chunk stays out if the answer is still right.

    With the judge `writing`, the student does not see the chunks after c_m; it writes them itself.
    """
    kept_RM, num_chunks = present_RM.copy(), present_RM.shape[1]
    for m in range(num_chunks):
        rows = np.nonzero(may_skip_RM[:, m])[0]
        num_given = num_chunks if judge == "reading" else m + 1
        without = kept_RM[rows] & (np.arange(num_chunks) < num_given)
        without[:, m] = False
        kept_RM[rows[answers_right(rows, without, num_given)], m] = False
    return kept_RM


def _exhaustive(
    present_RM: np.ndarray, may_skip_RM: np.ndarray, tokens_RM: np.ndarray, answers_right: AnswersRight
) -> np.ndarray:
    """Try the subsets of a sample, cheapest first, and stop at the first from which the answer is right.

    Each round tries the next subset of every open sample. The last subset has all chunks and is known to be
    right.
    """
    kept_RM = present_RM.copy()
    subsets_RSM, num_subsets_R = _cheapest_first(present_RM, may_skip_RM, tokens_RM)
    rows = np.nonzero(may_skip_RM.any(1))[0]
    for number in range(subsets_RSM.shape[1] - 1):
        rows = rows[number < num_subsets_R[rows] - 1]
        if not len(rows):
            break
        right = answers_right(rows, subsets_RSM[rows, number], present_RM.shape[1])
        kept_RM[rows[right]] = subsets_RSM[rows[right], number]
        rows = rows[~right]
    return kept_RM


def _cheapest_first(
    present_RM: np.ndarray, may_skip_RM: np.ndarray, tokens_RM: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(subsets_RSM, subsets per sample), sorted by kept tokens, then kept chunks; ties keep early chunks."""
    num_chunks = present_RM.shape[1]
    skipped_SM = (np.arange(2**num_chunks)[:, None] >> np.arange(num_chunks)[::-1] & 1).astype(bool)
    fits_RS = ~(skipped_SM & ~may_skip_RM[:, None]).any(-1)
    kept_RSM = present_RM[:, None] & ~skipped_SM
    # the skips as a binary number with c_1 leading: it is smaller if fewer early chunks are skipped
    earliest_S = np.arange(2**num_chunks)
    keys = (
        np.broadcast_to(earliest_S, fits_RS.shape),
        kept_RSM.sum(-1),
        (kept_RSM * tokens_RM[:, None]).sum(-1),
        ~fits_RS,
    )
    order_RS = np.lexsort(keys)
    return np.take_along_axis(kept_RSM, order_RS[..., None], 1), fits_RS.sum(1)
