"""The documented command for a pretrained student, with few updates: SmolLM2 from package to answer."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from skipthink_ray.models.pretrained import SMOLLM2, resolve
from skipthink_ray.runtime.artifacts import Folder
from tests.conftest import ROOT
from tests.toys import toy_rows

OPTIONS = (
    "--updates 2 --cwt.search.method average --skips.max-chunk-tokens 8 --evaluation.latency-questions 2 "
    "--evaluation.max-new-tokens 8 --cluster.num-workers 1 --cluster.backend ddp --cluster.num-actors 1 "
    "--tracking.backend off"
).split()


@pytest.fixture(scope="module")
def smollm2() -> str:
    """SmolLM2's folder. The test is skipped if it is missing and no package index is reachable."""
    try:
        return resolve(SMOLLM2)
    except ValueError as error:
        pytest.skip(str(error))


def _skipthink(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "skipthink_ray.cli", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=1500,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.ray
@pytest.mark.timeout(1800)
def test_one_command_trains_a_skip_student_from_smollm2_and_it_answers(smollm2: str, tmp_path: Path):
    rows = [
        row._asdict() | {"split": "test" if at < 3 else "train"}
        for at, row in enumerate(toy_rows("multiarith", 9))
    ]
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    shown = _skipthink(
        "run",
        "--config",
        "configs/smollm2.yaml",
        "--rationales.path",
        str(file),
        "--storage-path",
        str(tmp_path / "runs"),
        *OPTIONS,
    )
    run = tmp_path / "runs" / "smollm2"
    report = json.loads((run / "report" / "report.json").read_text())
    assert "SmolLM2" in report["student"]["pretrained"]
    assert {stage["updates"] for stage in report["training"]["stages"].values()} == {2}
    assert "skip student" in shown
    answers = Folder.open(str(run / "evaluation")).table("answers").to_table()
    assert answers.num_rows == 3 * 3
    asked = _skipthink("ask", "--student", str(run), "--max-new-tokens", "8", rows[0]["question"])
    assert all(mode in asked for mode in ("full", "staged", "skip"))
