"""The processes that Ray Train does not start for us."""

import pytest
import ray.train
from ray.train.torch import TorchTrainer

from skipthink_ray.runtime.cluster import NO_DASHBOARD
from skipthink_ray.training.trainer import CLEANER, DATA_SETS, Trainer


def _callbacks(trainer: type[TorchTrainer]) -> set[str]:
    made = trainer(lambda: None, scaling_config=ray.train.ScalingConfig(num_workers=1))
    return {type(one).__name__ for one in made._create_default_callbacks()}


@pytest.mark.parametrize("is_local", [True, False])
def test_only_unused_processes_are_left_out(is_local: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(NO_DASHBOARD, raising=False)
    if is_local:
        monkeypatch.setenv(NO_DASHBOARD, "1")
    unused = {DATA_SETS, CLEANER} if is_local else {DATA_SETS}
    assert _callbacks(TorchTrainer) - _callbacks(Trainer) == unused
    assert _callbacks(Trainer) < _callbacks(TorchTrainer)
