"""Runs of one storage path share artifacts: each is made once, also by two runs that start together."""

import subprocess
import sys
from pathlib import Path

import pytest

from skipthink_ray.config import PipelineConfig
from skipthink_ray.identity import stages_of

STAGES = stages_of(PipelineConfig())
OPTIONS = {
    "rationales.train-questions": 24,
    "rationales.test-questions": 8,
    "student.width": 16,
    "student.heads": 2,
    "student.layers": 1,
    "updates": 2,
    "cwt.search.method": "average",
    "cluster.num-workers": 1,
    "cluster.num-actors": 1,
    "cluster.backend": "ddp",
    "evaluation.latency-questions": 2,
    "evaluation.max-new-tokens": 8,
    "report.samples": 2,
    "tracking.backend": "off",
}


def _command(storage: Path, name: str, **changes: object) -> list[str]:
    options = {"storage-path": storage, "name": name, **OPTIONS, **changes}
    words = [word for key, value in options.items() for word in (f"--{key}", str(value))]
    return [sys.executable, "-m", "skipthink_ray.cli", "run", *words]


def _shared(screen: str) -> set[str]:
    """The stages that a run did not make itself."""
    lines = [
        line.split() for line in screen.splitlines() if "already done" in line or "made by another" in line
    ]
    return {words[0] for words in lines if words[0] in STAGES}


def _artifacts(storage: Path) -> dict[str, int]:
    """Number of artifacts by stage."""
    return {stage.name: len(list(stage.iterdir())) for stage in (storage / "artifacts").iterdir()}


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.long
def test_another_stt_setting_reuses_five_artifacts_and_two_runs_at_once_make_each_artifact_once(tmp_path):
    first = subprocess.Popen(_command(tmp_path, "one"), stdout=subprocess.PIPE, text=True)
    second = subprocess.Popen(
        _command(tmp_path, "two", **{"stt.skip-share": 0.25}), stdout=subprocess.PIPE, text=True
    )
    screens = [run.communicate(timeout=1500)[0] for run in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], "\n".join(screens)
    common = {"rationales", "samples", "base", "cwt", "skips"}
    made_twice = dict.fromkeys(("stt", "evaluation", "answers-skip"), 2)
    answered_once = dict.fromkeys(("answers-full", "answers-staged"), 1)
    assert _artifacts(tmp_path) == dict.fromkeys(common, 1) | made_twice | answered_once
    assert "already answered in another run: full, staged" in "".join(screens)
    assert _shared(screens[0]) | _shared(screens[1]) == common
    assert not _shared(screens[0]) & _shared(screens[1])
    assert (tmp_path / "two/base").resolve() == (tmp_path / "one/base").resolve()
    for run in ("one", "two"):
        assert (tmp_path / run / "report/report.html").exists()

    third = subprocess.run(
        [*_command(tmp_path, "three", **{"cwt.num-chunks": 2}), "--dry-run"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert third.returncode == 0, third.stdout + third.stderr
    states = dict(line.split(maxsplit=1) for line in third.stdout.splitlines()[-len(STAGES) :])
    done = {"rationales", "samples", "base"}  # OPTIONS set `updates`, so base does not depend on M
    assert {stage for stage, state in states.items() if state == "done"} == done
    assert set(states) == set(STAGES)
