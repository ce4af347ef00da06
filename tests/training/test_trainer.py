"""The processes that Ray Train does not start for us."""

import pytest
import ray.train
from ray.train.torch import TorchTrainer

from skipthink_ray.runtime.cluster import LOCAL
from skipthink_ray.training.trainer import CLEANER, DATA_SETS, Trainer


def _callbacks(trainer: type[TorchTrainer]) -> set[str]:
    made = trainer(lambda: None, scaling_config=ray.train.ScalingConfig(num_workers=1))
    return {type(one).__name__ for one in made._create_default_callbacks()}


@pytest.mark.parametrize(("local", "unused"), [("1", {DATA_SETS, CLEANER}), (None, {DATA_SETS})])
def test_only_unused_processes_are_left_out(local: str | None, unused: set[str], monkeypatch):
    monkeypatch.delenv(LOCAL, raising=False)
    if local:
        monkeypatch.setenv(LOCAL, local)
    assert _callbacks(Trainer) == _callbacks(TorchTrainer) - unused
    assert unused < _callbacks(TorchTrainer)
