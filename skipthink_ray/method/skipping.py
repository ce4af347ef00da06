"""Which chunks a CWT student does not need (method §5), given a way to ask it.

The student is asked through a callable, for many samples at once, so that this file needs neither torch nor ray.
Shape suffixes: R samples, M chunks.
"""

from collections.abc import Callable

import numpy as np

from skipthink_ray.config import SkipsConfig

AnswersRight = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(rows, kept_RM of those rows) -> whether the student's greedy answer from the kept chunks is right."""


def find_kept(present_RM: np.ndarray, answers_right: AnswersRight, config: SkipsConfig) -> tuple[np.ndarray, np.ndarray]:
    """(kept_RM, right_R): the chunks to keep, and whether the student is right with all of them.

    `present_RM` marks the chunks that hold steps; an empty chunk is never kept nor asked about. Where the student is
    wrong with every chunk, all are kept.
    """
    num_rows, num_chunks = present_RM.shape
    right_R = answers_right(np.arange(num_rows), present_RM)
    kept_RM = present_RM.copy()
    may_skip_RM = present_RM & right_R[:, None] & skippable(present_RM, config.skippable)
    if config.search == "all":
        return kept_RM & ~may_skip_RM, right_R
    for m in range(num_chunks):
        rows = np.nonzero(may_skip_RM[:, m])[0]
        without = kept_RM[rows]
        without[:, m] = False
        kept_RM[rows[answers_right(rows, without)], m] = False
    return kept_RM, right_R


def skippable(present_RM: np.ndarray, which: str) -> np.ndarray:
    """Chunks that may be skipped: any, or only those between a sample's first and last non-empty chunk."""
    if which == "any":
        return np.ones_like(present_RM)
    num_present_R1 = present_RM.sum(1, keepdims=True)
    position_M = np.arange(present_RM.shape[1])
    return (position_M > 0) & (position_M < num_present_R1 - 1)
