"""What the finished stage samples decides for the training stages: M and the number of updates."""

from collections import Counter
from collections.abc import Iterator

from skipthink_ray.config import PipelineConfig, TrainConfig
from skipthink_ray.method.choosing import decide_num_chunks
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
            f"{samples.uri}/{STEPS} is damaged ({error}); delete {samples.uri}, and a run makes it again"
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
    num_chunks = 1 if measured == "base" else planned_chunks(config, samples)[0]
    return updates_per_epoch(measured, train_config, num_samples, num_chunks) * train_config.epochs
