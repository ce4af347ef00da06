"""Which backend trains: DeepSpeed if the student does not fit and sharding helps, otherwise DDP."""

import shutil

import psutil
import pytest

from skipthink_ray.config import ClusterConfig, TrainConfig
from skipthink_ray.training import backend
from skipthink_ray.training.backend import choose_backend, deepspeed_problem, memory_bytes

SMALL, HUGE = 10**6, 10**13
"""Parameters of a student that fits into any memory, and of one that fits into none."""


@pytest.mark.skipif(deepspeed_problem(use_gpu=False) is not None, reason="DeepSpeed cannot start here")
@pytest.mark.parametrize(
    ("cluster", "size", "expected"),
    [
        ({}, SMALL, "ddp"),
        ({}, HUGE, "deepspeed"),
        ({"num_workers": 1}, HUGE, "ddp"),
        ({"zero_stage": 1}, SMALL, "deepspeed"),
        ({"backend": "deepspeed"}, SMALL, "deepspeed"),
        ({"backend": "ddp", "zero_stage": 1}, HUGE, "ddp"),
    ],
)
def test_deepspeed_trains_only_what_does_not_fit_unless_it_is_asked_for(cluster, size, expected):
    chosen, notice = choose_backend(ClusterConfig(**cluster), TrainConfig(), size)
    assert chosen == expected
    assert notice is None


def test_without_a_compiler_training_falls_back_with_a_notice(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    chosen, notice = choose_backend(ClusterConfig(zero_stage=2), TrainConfig(), SMALL)
    assert chosen == "ddp"
    assert "C++ compiler" in (notice or "")


@pytest.mark.parametrize("wanted", [{"backend": "deepspeed"}, {"zero_stage": 3}])
def test_without_a_compiler_what_needs_deepspeed_is_refused(monkeypatch, wanted):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(RuntimeError, match="neither"):
        choose_backend(ClusterConfig(**wanted), TrainConfig(), SMALL)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1000000", 1_000_000), ("max", None), (str(2**63), None), (None, None)],
)
def test_the_memory_is_that_of_the_container_or_else_of_the_machine(tmp_path, monkeypatch, text, expected):
    if text is not None:
        (tmp_path / "memory.max").write_text(f"{text}\n")
    monkeypatch.setattr(backend, "CONTAINER_LIMITS", (tmp_path / "memory.max", tmp_path / "missing"))
    assert memory_bytes() == (expected or psutil.virtual_memory().total)
