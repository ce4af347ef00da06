"""The learning rate as a pure function of the update, so that resuming needs no scheduler state."""

import math

from skipthink_ray.config import OptimConfig


def learning_rate(optim: OptimConfig, update: int, total_updates: int) -> float:
    """Learning rate of a 0-based update: linear warm-up, then constant, linear or cosine decay to zero."""
    warmup = round(optim.warmup_share * total_updates)
    if update < warmup:
        return optim.lr * (update + 1) / warmup
    progress = (update - warmup) / max(1, total_updates - warmup)
    if optim.schedule == "linear":
        return optim.lr * (1 - progress)
    if optim.schedule == "cosine":
        return optim.lr * 0.5 * (1 + math.cos(math.pi * progress))
    return optim.lr
