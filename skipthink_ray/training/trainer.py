"""Ray's TorchTrainer without the processes that a training run of this project does not use.

Each of them would import Ray Train, which takes seconds of CPU time.
"""

from typing import Any

from ray.train.torch import TorchTrainer

from skipthink_ray.runtime.cluster import is_local

DATA_SETS = "DatasetsCallback"
"""Starts an actor that shards data sets. The ranks receive their samples as arguments instead."""
CLEANER = "PlacementGroupCleanerCallback"
"""Starts an actor that asks the dashboard every second whether the run's controller is alive. A local cluster
has no dashboard."""


class Trainer(TorchTrainer):
    """A TorchTrainer that starts fewer processes."""

    def _create_default_callbacks(self) -> list[Any]:
        """Leaves out those that start unused processes. Ray has no public way to do that.

        If Ray renames a callback or this method, the processes start again, and nothing else changes.
        """
        unused = {DATA_SETS, CLEANER} if is_local() else {DATA_SETS}
        return [one for one in super()._create_default_callbacks() if type(one).__name__ not in unused]
