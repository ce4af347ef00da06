"""Decides the number of chunks M (method §1), and has the rule of `cwt.num_chunks: auto`.

M must be chosen before cwt. At that time the student has never seen a stage marker. With the default start,
all markers have the same embedding, so all rows of the stage-loss matrix are equal and say nothing about M.
Step counts are informative: if a rationale has as many steps as chunks, there is nothing to search, and a
stage without steps teaches only EOS.
"""

from collections.abc import Iterable

import numpy as np

from skipthink_ray.config import PipelineConfig
from skipthink_ray.tasks import task_of

MOVABLE_SHARE = 0.8
"""Minimum share of rationales with a boundary that can move, that is, with more steps than chunks."""
MAX_CHUNKS = 8
"""A student answers in M + 1 decodings. More stages than this were never measured."""


def decide_num_chunks(config: PipelineConfig, num_steps: Iterable[int]) -> tuple[int, str]:
    """(M, why): as configured, else the task's own, else from the steps of the training samples.

    The steps are counted only if they are needed. Their rounded mean is the paper's M for tasks other than
    arithmetic.
    """
    configured, task = config.cwt.num_chunks, task_of(config)
    if configured == "auto":
        return choose_num_chunks(np.fromiter(num_steps, dtype=np.int64)), "chosen by cwt.num_chunks: auto"
    if configured == "steps":
        longest = max(num_steps)
        return longest + 1, f"one chunk per step, at most {longest}, and the empty chunk that ends them"
    if configured:
        return configured, "as configured"
    if task.num_chunks:
        return task.num_chunks, f"the default of the task '{task.name}'"
    mean = float(np.mean(np.fromiter(num_steps, dtype=np.int64)))
    return max(1, round(mean)), f"the mean number of steps is {mean:.2f}"


def check_chunk_per_step(config: PipelineConfig) -> None:
    """Raise ValueError for settings that one chunk per step does not allow."""
    if config.cwt.num_chunks != "steps":
        return
    if not config.cwt.answer_marker:
        raise ValueError(
            "cwt.answer_marker: false needs a last chunk, which cwt.num_chunks steps does not have; "
            "set a number for --cwt.num-chunks, or --cwt.answer-marker"
        )
    if config.skips.judge == "writing":
        raise ValueError(
            "skips.judge: writing asks for the chunk after the one that was left out, "
            "but with cwt.num_chunks steps all chunks have one marker; set --skips.judge reading"
        )


def choose_num_chunks(num_steps_R: np.ndarray) -> int:
    """The largest M up to 8 such that at least four fifths of the rationales have more than M steps, or 1.

    Raises ValueError if there are no rationales.
    """
    if not len(num_steps_R):
        raise ValueError("cwt.num_chunks: auto needs rationales, but there are none; set a number")
    fits = [m for m in range(1, MAX_CHUNKS + 1) if np.mean(np.asarray(num_steps_R) > m) >= MOVABLE_SHARE]
    return max(fits, default=1)
