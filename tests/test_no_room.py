"""A cluster that turns out to be too small for two stages at once, because others use it."""

import io
from pathlib import Path

import pytest
import ray
from rich.console import Console

from skipthink_ray.config import PipelineConfig
from skipthink_ray.pipeline import run
from skipthink_ray.runtime.cluster import disconnect

CONFIG = {
    "rationales": {"train_questions": 24, "test_questions": 8},
    "student": {"width": 16, "heads": 2, "layers": 1},
    "cwt": {"epochs": 20, "search": {"method": "average"}},
    "cluster": {"num_workers": 1, "num_actors": 1, "backend": "ddp"},
    "tracking": {"backend": "off"},
}


@ray.remote(num_cpus=1)
class Guest:
    """Uses a CPU of the cluster."""

    def is_there(self) -> bool:
        return True


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_stage_without_room_waits_for_the_one_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "3")
    config = PipelineConfig.model_validate({**CONFIG, "storage_path": str(tmp_path)})
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        guest = Guest.remote()
        assert ray.get(guest.is_there.remote())
        stages = ("rationales", "samples", "base", "cwt")
        run(config, Console(file=io.StringIO(), width=120), "skipthink run", only=stages)
    finally:
        disconnect()
    base, cwt = tmp_path / "run/base", tmp_path / "run/cwt"
    assert (base / "_DONE").exists()
    assert (cwt / "_DONE").exists()
    first, second = sorted((base, cwt), key=lambda folder: (folder / "_DONE").stat().st_mtime)
    assert (second / "config.json").stat().st_mtime > (first / "_DONE").stat().st_mtime, "made again, alone"
