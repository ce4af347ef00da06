"""What the finished stage samples decides for the training stages: M and the number of updates."""

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pyarrow.compute as pc

from skipthink_ray.config import PipelineConfig, TrainConfig
from skipthink_ray.method.choosing import decide_num_chunks
from skipthink_ray.method.modes import UNMARKED
from skipthink_ray.method.removal import Removal
from skipthink_ray.rows import TRAIN
from skipthink_ray.runtime.artifacts import Folder
from skipthink_ray.training.batches import Stage, updates_per_epoch

STEPS = "steps.json"
"""File of the stage samples: number of training samples by number of steps."""


def planned_chunks(config: PipelineConfig, samples: Folder) -> tuple[int, str]:
    """(M, why). Raises ValueError if the file of steps is damaged."""
    return decide_num_chunks(config, _num_steps(samples))


def _num_steps(samples: Folder) -> Iterator[int]:
    try:
        counts = Counter({int(steps): int(count) for steps, count in samples.read_json(STEPS).items()})
    except (OSError, ValueError, AttributeError) as error:
        raise ValueError(
            f"{samples.child(STEPS).uri} is damaged ({error}); delete {samples.uri}, and a run makes it again"
        ) from error
    yield from counts.elements()


def total_updates(config: PipelineConfig, stage: Stage, samples: Folder, num_samples: int) -> int:
    """Number of updates of a stage: `updates`, or that of cwt, or with `match: epochs` of its own epochs.

    num_samples: the number to train on.
    """
    if config.updates is not None:
        return config.updates
    measured: Stage = stage if stage == "cwt" or config.match == "epochs" else "cwt"
    train_config: TrainConfig = getattr(config, measured)
    cwt_items = [] if measured in UNMARKED else _cwt_items(config, samples, num_samples)
    return updates_per_epoch(measured, train_config, num_samples, cwt_items) * train_config.epochs


def _cwt_items(config: PipelineConfig, samples: Folder, num_samples: int) -> list[int]:
    """Number of CWT items of each kind in an epoch on `num_samples` of the samples."""
    num_chunks = planned_chunks(config, samples)[0]
    if config.cwt.num_chunks == "steps":
        num_steps_R = np.fromiter(_num_steps(samples), dtype=np.int64)
        shares = [float(np.mean(num_steps_R >= stage)) for stage in range(num_chunks)]
        return [*(round(share * num_samples) for share in shares), num_samples]
    return [num_samples] * (num_chunks + config.cwt.answer_marker)


def longest_rationale(samples: Folder) -> int:
    """Tokens of the longest training rationale."""
    tokens = {"tokens": pc.list_value_length(pc.field("rationale_tokens"))}
    return pc.max(samples.table("samples").to_table(columns=tokens, filter=TRAIN)["tokens"]).as_py() or 0


def check_removal(config: PipelineConfig, samples: Folder) -> None:
    """Refuses icot if its last epoch would still have rationale tokens."""
    if config.icot.removal != "stepwise":
        return
    num_samples: int = samples.read_json("summary.json")["train"]
    updates = total_updates(config, "icot", samples, num_samples)
    per_epoch = updates_per_epoch("icot", config.icot, num_samples, [])
    removal = Removal(config.icot, per_epoch, longest_rationale(samples))
    rate, before_last = config.icot.tokens_per_epoch, updates - per_epoch
    if before_last >= 0 and removal.scheduled(before_last) == removal.longest:
        return
    remedies = [_longer(config, updates, per_epoch - (-removal.longest * per_epoch // rate))]
    if before_last > 0:
        remedies.insert(0, f"--icot.tokens-per-epoch {-(-removal.longest * per_epoch // before_last)}")
    raise ValueError(
        f"icot.tokens_per_epoch: {rate} tokens per epoch do not remove the longest rationale "
        f"({removal.longest} tokens) before the last of {updates / per_epoch:.1f} epochs; "
        f"set {' or '.join(remedies)}"
    )


def _longer(config: PipelineConfig, updates: int, enough: int) -> str:
    """The option that makes icot train for `enough` updates instead of `updates`."""
    if config.updates is not None:
        return f"--updates {enough}"
    stage = "icot" if config.match == "epochs" else "cwt"
    epochs: int = getattr(config, stage).epochs
    return f"--{stage}.epochs {-(-enough * epochs // updates)}"
