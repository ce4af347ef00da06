"""Runs with the stage icot: the student ends without rationales, and everything else is shared."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT


def _skipthink(*words: str) -> str:
    line = [sys.executable, "-m", "skipthink_ray.cli", *words]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _json(run: Path, name: str):
    return json.loads((run / name).read_text())


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(1800)
def test_icot_si_and_answer_only_end_without_rationale_tokens_and_icot_si_answers_as_a_mode(tmp_path):
    where = ("--preset", "tiny", "--storage-path", str(tmp_path))
    _skipthink("run", *where, "--name", "stepwise", "--icot.removal", "stepwise")
    _skipthink("icot", *where, "--name", "all", "--icot.removal", "all")  # this stage alone
    tokens = {}
    for removal in ("stepwise", "all"):
        run = tmp_path / removal
        tokens[removal] = [epoch["rationale_tokens"] for epoch in _json(run, "icot/epochs.json")]
        assert _json(run, "icot/summary.json")["last_rationale_tokens"] == 0
        assert (run / "icot/student/model.safetensors").exists()
    assert tokens["all"] == [0] * len(tokens["all"])
    assert tokens["stepwise"] == sorted(tokens["stepwise"], reverse=True)
    assert tokens["stepwise"][0] > tokens["stepwise"][-1] == 0
    made = {stage.name: len([*stage.iterdir()]) for stage in (tmp_path / "artifacts").iterdir()}
    assert {stage for stage, number in made.items() if number == 2} == {"icot"}

    mode = _json(tmp_path / "stepwise", "report/report.json")["modes"]["direct"]
    assert 0 <= mode["accuracy_pct"]["value"] <= 100
    assert mode["tokens"]["value"] < 24, "it stops before the length limit"
    compared = _skipthink("compare", "--storage-path", str(tmp_path), "stepwise")
    arms = [line.split("  ")[0] for line in compared.splitlines()]
    assert (arms.count("Base"), arms.count("ICoT-SI")) == (1, 1)
    assert "direct %" in _skipthink("runs", "--storage-path", str(tmp_path))
