"""A sweep on a real cluster, of which one trial diverges and one is hopeless; then an ablation.

The ablation shares the artifacts of the sweep.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient

from tests.conftest import ROOT

LRS = [0.005, 1e6, 1e-9]
UPDATES = 300
SPACE = {
    "draw": {"cwt.optim.lr": {"choice": LRS}},
    "search": {"kind": "grid"},
    "stop": {"at_shares": [0.1], "slack": 1.02},
}
ARMS = {"every chunk skipped": {"skips.search": "all"}}
COMMON = ("rationales", "samples", "base")


def _run(command: str, storage: Path, space: Path) -> subprocess.CompletedProcess[str]:
    words = [command, str(space), "--preset", "tiny", "--storage-path", storage.name]  # a relative path
    words += ["--updates", str(UPDATES)]
    line = [sys.executable, "-m", "skipthink_ray.cli", *words]
    return subprocess.run(line, cwd=storage.parent, capture_output=True, text=True, timeout=1200)


def _compare(storage: Path, *words: str) -> str:
    command = [sys.executable, "-m", "skipthink_ray.cli", "compare", "--storage-path", str(storage), *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True).stdout


def _finished(storage: Path) -> dict[str, int]:
    return {
        stage.name: sum((artifact / "_DONE").exists() for artifact in stage.iterdir())
        for stage in (storage / "artifacts").iterdir()
    }


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_diverging_trial_is_named_the_other_is_chosen_and_an_ablation_reuses_its_artifacts(tmp_path):
    space = tmp_path / "rates.yaml"
    space.write_text(yaml.safe_dump(SPACE))
    storage = tmp_path / "runs"
    done = _run("tune", storage, space)
    assert done.returncode == 1, done.stdout + done.stderr
    records = [json.loads(file.read_text()) for file in (storage / "sweeps/tiny-rates/trials").iterdir()]
    hopeless, good, bad = sorted(records, key=lambda record: record["drawn"]["cwt.optim.lr"])
    assert not good["reason"]
    assert hopeless["stopped"]
    assert f"times that of multiarith-{good['key']}" in hopeless["reason"]
    assert f"multiarith-{hopeless['key']} failed" not in done.stdout
    assert {"skip_accuracy_pct", "skip_tokens", "questions"} <= good["numbers"].keys()
    assert "the loss or its gradient became" in bad["reason"]
    assert f"multiarith-{bad['key']} failed: cwt stopped: the loss" in done.stdout
    *_, row, page, _ = done.stdout.splitlines()
    assert "cwt.optim.lr=0.005" in row
    assert page.startswith("Page: ")

    made = _finished(storage)  # the trial answers dev questions, its student then the test questions
    assert [made[stage] for stage in COMMON] == [1, 1, 1]
    assert (made["cwt"], made["stt"], made["evaluation"]) == (1, 1, 2), (
        "dev for the trial, test for the chosen"
    )
    chosen = yaml.safe_load((storage / "sweeps/tiny-rates/chosen/multiarith.yaml").read_text())
    assert chosen["cwt"]["optim"]["lr"] == LRS[0]
    assert chosen["evaluation"]["split"] == "test"
    assert (storage / chosen["name"] / "report/report.html").exists()
    assert "multiarith-" + bad["key"] in (storage / "sweeps/tiny-rates/page.html").read_text()
    _assert_mlflow_compares_trials(storage, good)
    report = json.loads((storage / chosen["name"] / "report/report.json").read_text())
    (block,) = json.loads(_compare(storage, "tiny-rates", "--format", "json"))["blocks"]
    for row, mode in zip(block["rows"], report["modes"].values(), strict=True):
        assert row["accuracy_pct"]["value"] == mode["accuracy_pct"]["value"]
    assert block["rows"][2]["speedup"]["value"] == report["modes"]["skip"]["speedup"]["value"]

    started = time.monotonic()
    again = _run("tune", storage, space)
    assert time.monotonic() - started < 15
    assert again.returncode == 1
    assert "starting Ray" not in again.stdout
    assert _finished(storage) == made
    _assert_an_ablation_makes_only_what_differs(storage, tmp_path / "two.yaml", made)


def _assert_an_ablation_makes_only_what_differs(storage: Path, space: Path, made: dict[str, int]) -> None:
    """The arm differs from the chosen trial only in its skips, so these and what follows are new."""
    space.write_text(yaml.safe_dump({"arms": ARMS}, sort_keys=False))
    done = _run("ablate", storage, space)
    assert done.returncode == 0, done.stdout + done.stderr
    new = {stage: number - made[stage] for stage, number in _finished(storage).items()}
    assert {stage for stage, number in new.items() if number} == {
        "skips",
        "stt",
        "evaluation",
        "answers-skip",
    }
    rows = [line.split("  ")[0].strip() for line in done.stdout.splitlines()]
    assert [rows.count(name) for name in ("Base", "CWT, staged", "STT, skip")] == [1, 1, 1], done.stdout


def _assert_mlflow_compares_trials(storage: Path, good: dict[str, object]) -> None:
    """Each trial is one run with its swept parameters and its dev numbers, and no test number."""
    client = MlflowClient(f"sqlite:///{storage}/mlflow.db")
    experiment = client.get_experiment_by_name("skipthink")
    assert experiment
    wanted = "tags.`skipthink.sweep` = 'tiny-rates'"
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id], wanted)}
    assert sorted(run.info.status for run in runs.values()) == ["FAILED", "FINISHED", "FINISHED", "KILLED"]
    trial, chosen = runs[str(good["run"])], runs["tiny-rates-multiarith-chosen"]
    assert trial.data.params == {"cwt.optim.lr": "0.005"}
    assert trial.data.params == chosen.data.params
    numbers = good["numbers"]
    assert isinstance(numbers, dict)
    assert trial.data.metrics["dev/skip_accuracy_pct"] == numbers["skip_accuracy_pct"]
    assert trial.data.metrics["dev/skip_tokens"] == numbers["skip_tokens"]
    assert all(name.startswith("dev/") for name in trial.data.metrics)
    assert {"test/skip_speedup", "test/full_latency_s"} <= chosen.data.metrics.keys()
    (used,) = trial.inputs.dataset_inputs
    assert used.dataset.name == "multiarith"
    assert used.dataset.digest == trial.data.tags["skipthink.data"]
    (model,) = client.search_logged_models([experiment.experiment_id])
    assert model.source_run_id == chosen.info.run_id
    assert (Path(model.artifact_location.removeprefix("file://")) / "model.safetensors").exists()
    assert max(len(trial.data.metrics), len(chosen.data.metrics)) <= 20
