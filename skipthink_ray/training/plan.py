"""What the finished stage samples decides for the training stages: M and the number of updates."""

from collections import Counter

from skipthink_ray.config import PipelineConfig, TrainConfig
from skipthink_ray.method.choosing import decide_num_chunks
from skipthink_ray.runtime.artifacts import Folder
from skipthink_ray.training.batches import Stage, updates_per_epoch

STEPS = "steps.json"
"""File of the stage samples: number of training samples by number of steps."""


def planned_chunks(config: PipelineConfig, samples: Folder) -> tuple[int, str]:
    """(M, why)."""
    counts = {int(steps): count for steps, count in samples.read_json(STEPS).items()}
    return decide_num_chunks(config, Counter(counts).elements())


def total_updates(config: PipelineConfig, stage: Stage, samples: Folder, num_samples: int) -> int:
    """Number of updates of a stage: `updates`, or that of cwt, or with `match: epochs` of its own epochs.

    num_samples: the number to train on.
    """
    if config.updates is not None:
        return config.updates
    measured: Stage = stage if stage == "cwt" or config.match == "epochs" else "cwt"
    train_config: TrainConfig = getattr(config, measured)
    num_chunks = 1 if measured == "base" else planned_chunks(config, samples)[0]
    return updates_per_epoch(measured, train_config, num_samples, num_chunks) * train_config.epochs
