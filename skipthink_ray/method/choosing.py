"""How many chunks a task gets with `chunks.num_chunks: auto` (the paper's second open question): a rule over step counts.

M must be chosen before cwt, when the student has never seen a stage marker: the markers' embeddings are equal (the mean of
all others), so the stage-loss matrix is the same in every row and says nothing about M. Step counts do say something: with
as many chunks as steps there is nothing to search, and a stage without steps teaches EOS alone.
"""

import numpy as np

MOVABLE_SHARE = 0.8
"""Share of the rationales that must have a boundary to move, so more steps than chunks."""
MAX_CHUNKS = 8
"""A student answers in M + 1 decodings; more stages than this were never measured."""


def choose_num_chunks(num_steps_R: np.ndarray) -> int:
    """The largest M, up to 8, for which at least four fifths of the rationales have more than M steps; else 1.

    ValueError where there is no rationale.
    """
    if not len(num_steps_R):
        raise ValueError("chunks.num_chunks: auto needs rationales to count the steps of; there is none")
    fits = [m for m in range(1, MAX_CHUNKS + 1) if np.mean(np.asarray(num_steps_R) > m) >= MOVABLE_SHARE]
    return max(fits, default=1)
