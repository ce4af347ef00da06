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
    statistic: Callable[..., float], columns: list[np.ndarray], samples: int, confidence: float, seed: int
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
        n_resamples=samples,
        confidence_level=confidence,
        method="percentile",
        rng=seed,
    ).confidence_interval
    return Estimate(value, float(low), float(high))


def bounded_mean(
    values: np.ndarray, bounds: tuple[float, float], samples: int, confidence: float, seed: int
) -> Estimate:
    """Mean of values within `bounds`, such as 0 or 100 per question, with its bootstrap interval.

    If all values are equal, the bootstrap would claim certainty ("0 % (0 to 0)"). Values that never occurred
    then get the largest probability in the Clopper-Pearson interval of a share.
    """
    if len(values) and (values == values[0]).all():
        exact = stats.binomtest(len(values), len(values)).proportion_ci(confidence, method="exact")
        value, unseen = float(values[0]), float(1 - exact.low)
        return Estimate(value, value - unseen * (value - bounds[0]), value + unseen * (bounds[1] - value))
    return bootstrap(lambda drawn: float(drawn.mean()), [values], samples, confidence, seed)
