"""Measures (method §6): shares, speed-ups and repetition loops."""

import numpy as np

LOOP_REPEATS, LOOP_WORDS = 4, 20


def percent(flags: np.ndarray) -> float:
    return float(100 * flags.mean())


def ratio_of_sums(numerator: np.ndarray, denominator: np.ndarray) -> float:
    """Total of one mode over the total of another, on the same questions: a speed-up, if these are times."""
    return float(numerator.sum() / denominator.sum())


def smooth_curve(values: np.ndarray, window: int, points: int) -> np.ndarray:
    """A curve of at most `points` points: the centred running mean, averaged over stretches of equal length.

    `window` is odd; the running mean uses fewer values at both ends.
    """
    half, running = window // 2, np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    at = np.arange(len(values))
    first, last = np.maximum(at - half, 0), np.minimum(at + half + 1, len(values))
    smooth = (running[last] - running[first]) / (last - first)
    return (
        np.array([stretch.mean() for stretch in np.array_split(smooth, min(points, len(values)))])
        if len(values)
        else smooth
    )


def has_loop(text: str) -> bool:
    """Whether any sequence of 1 to 20 words occurs four times in a row."""
    words = text.split()
    for length in range(1, LOOP_WORDS + 1):
        same = 0
        for at in range(length, len(words)):
            same = same + 1 if words[at] == words[at - length] else 0
            if same == length * (LOOP_REPEATS - 1):
                return True
    return False
