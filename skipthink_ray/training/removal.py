"""Removes rationale tokens from the items of icot, and resets the optimiser when their number grows (§8)."""

from dataclasses import replace
from typing import Any

import numpy as np

from skipthink_ray.config import IcotConfig, TrainConfig
from skipthink_ray.method.removal import Removal
from skipthink_ray.method.samples import Samples
from skipthink_ray.training.batches import Items, plan_updates, updates_per_epoch
from skipthink_ray.training.checkpoint import set_adam_step
from skipthink_ray.training.engine import Engine


def removal_of(config: TrainConfig, samples: Samples) -> Removal | None:
    """The removal schedule of icot; None for other stages."""
    if not isinstance(config, IcotConfig):
        return None
    per_epoch = updates_per_epoch("icot", config, len(samples), [])
    return Removal(config, per_epoch, int(samples.rationale.lengths.max(initial=0)))


def plan_with_removal(
    items: Items, samples: Samples, removal: Removal, first: int, rng: np.random.Generator
) -> tuple[Items, list[np.ndarray]]:
    """The items of an epoch without the tokens that their updates remove, and the plan of its updates.

    first: the number of the epoch's first update.
    """
    offsets_I = removal.offsets(len(samples), rng)[items.row_I]
    at_start = _remove(items, samples, removal.scheduled(first) + offsets_I)
    updates = plan_updates(at_start, removal.config, rng)
    scheduled_I = np.zeros_like(offsets_I)
    for number, update in enumerate(updates, start=first):
        scheduled_I[update] = removal.scheduled(number)
    return _remove(items, samples, scheduled_I + offsets_I), updates


def _remove(items: Items, samples: Samples, tokens_I: np.ndarray) -> Items:
    """Full items without up to this many tokens of their rationales."""
    removed_I = np.minimum(tokens_I, samples.rationale.lengths[items.row_I])
    return replace(
        items,
        tokens_I=items.tokens_I - removed_I,
        targets_I=items.targets_I - removed_I,
        removed_I=removed_I,
    )


def removal_record(items: Items, samples: Samples, last: np.ndarray) -> dict[str, Any]:
    """For `epochs.json`: rationale tokens in the epoch's items, and in those of its last update."""
    left_I = samples.rationale.lengths[items.row_I] - items.removed_I
    return {"rationale_tokens": int(left_I.sum()), "last_rationale_tokens": int(left_I[last].sum())}


def reset_optimizer(engine: Engine) -> None:
    """Set AdamW's moments and step count to zero, on every rank; under ZeRO each rank has its own shards."""
    for state in engine.optimizer.state.values():
        for moment in ("exp_avg", "exp_avg_sq"):
            state[moment].zero_()
    set_adam_step(engine, 0)
