"""Statistics with their confidence intervals (method §6), from scipy."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Estimate:
    """A statistic with its confidence interval."""

    value: float
    low: float
    high: float


def bootstrap(
    statistic: Callable[..., float], columns: list[np.ndarray], resamples: int, confidence: float, seed: int
) -> Estimate:
    """Percentile bootstrap over the rows of `columns`. Columns are resampled together and stay paired."""
    value = float(statistic(*columns))
    if len(columns[0]) < 2:  # scipy needs two rows
        return Estimate(value, value, value)
    low, high = stats.bootstrap(
        columns,
        statistic,
        paired=True,
        vectorized=False,
        n_resamples=resamples,
        confidence_level=confidence,
        method="percentile",
        rng=seed,
    ).confidence_interval
    return Estimate(value, float(low), float(high))


def bounded_mean(
    values: np.ndarray, bounds: tuple[float, float], resamples: int, confidence: float, seed: int
) -> Estimate:
    """Mean of values within `bounds`, such as 0 or 100 per question, with its bootstrap interval.

    If all n values are equal, resampling shows no spread ("0 % (0 to 0)"). The interval then assumes the
    worst: another value lies at a bound and is as probable as Clopper-Pearson allows after 0 of n.
    """
    if len(values) and (values == values[0]).all():
        value, unseen = float(values[0]), stats.binomtest(0, len(values)).proportion_ci(confidence).high
        return Estimate(value, value - unseen * (value - bounds[0]), value + unseen * (bounds[1] - value))
    return bootstrap(lambda drawn: float(drawn.mean()), [values], resamples, confidence, seed)


def nested_bootstrap(
    statistic: Callable[..., float],
    groups: list[list[np.ndarray]],
    resamples: int,
    confidence: float,
    seed: int,
) -> Estimate:
    """Percentile bootstrap over groups, then over the rows within each: seeds, then questions.

    groups: for each group its columns, which stay paired. The statistic sees the rows of all drawn groups
    together. One group is resampled as in `bootstrap`.
    """
    if len(groups) == 1:
        return bootstrap(statistic, groups[0], resamples, confidence, seed)
    joined = [np.concatenate(columns) for columns in zip(*groups, strict=True)]
    rng, drawn = np.random.default_rng(seed), list[float]()
    for _ in range(resamples):
        chosen = rng.integers(len(groups), size=len(groups))
        rows = [rng.integers(len(groups[group][0]), size=len(groups[group][0])) for group in chosen]
        columns = [
            np.concatenate([groups[group][at][index] for group, index in zip(chosen, rows, strict=True)])
            for at in range(len(joined))
        ]
        drawn.append(float(statistic(*columns)))
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(float(statistic(*joined)), float(low), float(high))
