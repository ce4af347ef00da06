"""Ray's TorchTrainer without the processes that a training run of this project does not use.

Each of them would import Ray Train, which takes seconds of CPU time.
"""

from typing import Any

from ray.train.torch import TorchTrainer

from skipthink_ray.runtime.cluster import is_local

DATA_SETS = "DatasetsCallback"
"""Starts an actor that shards data sets. The ranks get their samples with their arguments instead."""
CLEANER = "PlacementGroupCleanerCallback"
"""Starts an actor that asks every second whether the run's controller is alive. It asks the dashboard, which
a local cluster does not have."""


class Trainer(TorchTrainer):
    """A TorchTrainer that starts fewer processes."""

    def _create_default_callbacks(self) -> list[Any]:
        """Ray has no public hook for them. If it renames them or this method, all of them run."""
        unused = {DATA_SETS, CLEANER} if is_local() else {DATA_SETS}
        return [one for one in super()._create_default_callbacks() if type(one).__name__ not in unused]
