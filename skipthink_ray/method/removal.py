"""Which rationale tokens ICoT-SI removes, and when (Deng et al. 2024, arXiv 2405.14838).

Shape suffix: R samples.
"""

import math
from dataclasses import dataclass

import numpy as np

from skipthink_ray.config import IcotConfig


@dataclass(frozen=True)
class Removal:
    """The removal schedule of one training run."""

    config: IcotConfig
    updates_per_epoch: int
    """T."""
    longest: int
    """Tokens of the longest rationale."""

    def scheduled(self, update: int) -> int:
        """Rationale tokens that update number `update` (t, from 0) removes from the left: floor(Δ t / T).

        It stops at `longest`: then nothing is left of any rationale.
        """
        if self.config.removal == "all":
            return self.longest
        return min(self.config.tokens_per_epoch * update // self.updates_per_epoch, self.longest)

    def grows(self, update: int) -> bool:
        """Whether an update removes more than the one before it. The optimiser is then reset."""
        return update > 0 and self.scheduled(update) > self.scheduled(update - 1)

    def offsets(self, num_rows: int, rng: np.random.Generator) -> np.ndarray:
        """Further tokens that each item of an epoch loses (o), [R]; P(o) is proportional to exp(-λ o)."""
        if self.config.smoothing is None:
            return np.zeros(num_rows, dtype=np.int64)
        drawn_R = rng.geometric(-math.expm1(-self.config.smoothing), num_rows) - 1
        return np.minimum(drawn_R, self.longest)
