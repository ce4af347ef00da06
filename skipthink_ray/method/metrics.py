"""Measures (method §6): shares, speed-ups and their bootstrap confidence intervals, and repetition loops."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

LOOP_REPEATS, LOOP_WORDS = 4, 20


@dataclass(frozen=True)
class Estimate:
    """A statistic with its confidence interval."""

    value: float
    low: float
    high: float


def bootstrap(
    statistic: Callable[..., float], columns: list[np.ndarray], samples: int, confidence: float, seed: int
) -> Estimate:
    """Percentile bootstrap over the rows of `columns`. Columns are resampled together and stay paired."""
    rng, size = np.random.default_rng(seed), len(columns[0])
    draws = []
    for _ in range(samples):
        rows = rng.integers(0, size, size)
        draws.append(statistic(*(column[rows] for column in columns)))
    tail = (1 - confidence) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    return Estimate(float(statistic(*columns)), float(low), float(high))


def bounded_mean(
    values: np.ndarray, bounds: tuple[float, float], samples: int, confidence: float, seed: int
) -> Estimate:
    """Mean of values within `bounds`, such as 0 or 100 per question, with its bootstrap interval.

    If all values are equal, the bootstrap would claim certainty ("0 % (0 to 0)"). The interval is then exact:
    values that never occurred in n questions have at most the probability 1 - tail^(1/n) (Clopper-Pearson,
    for shares).
    """
    if len(values) and (values == values[0]).all():
        value, unseen = float(values[0]), 1 - ((1 - confidence) / 2) ** (1 / len(values))
        return Estimate(value, value - unseen * (value - bounds[0]), value + unseen * (bounds[1] - value))
    return bootstrap(lambda drawn: float(drawn.mean()), [values], samples, confidence, seed)


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
