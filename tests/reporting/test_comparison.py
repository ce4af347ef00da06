"""Runs side by side: blocks, rows, seeds and intervals, read from a real MLflow database."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from skipthink_ray.cli import main
from skipthink_ray.commands.compare import students_read
from skipthink_ray.config import PipelineConfig, RationalesConfig, TrackingConfig
from skipthink_ray.method.intervals import bounded_mean, nested_bootstrap
from skipthink_ray.method.metrics import ratio_of_sums
from skipthink_ray.method.modes import modes_of
from skipthink_ray.pipeline import open_run
from skipthink_ray.reporting.comparison import Comparison, Draws, Published, compare
from skipthink_ray.reporting.published import ANSWERS, LATENCIES, REPORT_FILE, data_of
from skipthink_ray.runtime.artifacts import Folder
from skipthink_ray.runtime.tracking import start_tracker

QUESTIONS = 60
SHARES = {"full": 0.8, "staged": 0.6, "skip": 0.7, "direct": 0.3}
TOKENS = {"full": 50, "staged": 60, "skip": 20, "direct": 3}
MADE: dict[str, Any] = {
    "versions": {"skipthink_ray": "1", "torch": "2", "transformers": "5"},
    "machine": {"platform": "Linux-6", "cpus": 2},
    "cluster": None,
    "written_at": "2026-11-26T00:00:00+00:00",
}


def _run(name: str, seed: int = 0, torch: str = "2", data: str = "data", **changes: Any) -> Published:
    """A run with random answers, of a configuration with these changes (`cwt__epochs=2`)."""
    rng = np.random.default_rng(seed + sum(map(ord, name)))
    config = PipelineConfig(name=name, seed=seed).model_dump(mode="json")
    for key, value in changes.items():
        place, *rest = key.split("__")
        if rest:
            config[place][rest[0]] = value
        else:
            config[place] = value
    digests = {"base": f"base{seed}", "cwt": name, "stt": name}
    if config["icot"]["removal"]:
        digests["icot"] = name
    made = {**MADE, "config": config, "digests": digests}
    made["versions"] = {**made["versions"], "torch": torch}
    evaluation = {"split": "test", "questions": QUESTIONS, "seed": seed}
    report = {"name": name, "task": config["task"], "evaluation": evaluation, "made": made}
    answers = [
        {"row": row, "mode": mode, "answer": None if rng.random() < 0.1 else "1", "loops": False}
        | {"right": bool(rng.random() < SHARES[mode]), "tokens": int(TOKENS[mode] + rng.integers(9))}
        for mode in modes_of(digests)
        for row in range(QUESTIONS)
    ]
    latencies = [
        {"row": row, "mode": mode, "seconds": TOKENS[mode] / 100 + 0.1 * rng.random()}
        for mode in modes_of(digests)
        for row in range(10)
    ]
    return Published(report, pa.Table.from_pylist(answers), pa.Table.from_pylist(latencies), data)


def store(storage: Path, run: Published, tags: dict[str, str] | None = None) -> None:
    name = run.report["name"]
    tags = {**(tags or {}), "data": run.data}
    tracker = start_tracker(TrackingConfig(), Folder.open(str(storage)), name, f"key of {name}", tags=tags)
    tracker.child("cwt", f"key of cwt of {name}").end("FINISHED")
    tracker.artifact(REPORT_FILE, json.dumps(run.report).encode())
    for file, table in ((ANSWERS, run.answers), (LATENCIES, run.latencies)):
        buffer = pa.BufferOutputStream()
        pyarrow.parquet.write_table(table, buffer)
        tracker.artifact(file, buffer.getvalue().to_pybytes())
    tracker.end("FINISHED")


def _values(run: Published, mode: str, column: str, table: str = "answers") -> np.ndarray:
    found = getattr(run, table).filter(pa.compute.field("mode") == mode).sort_by("row")
    return found[column].to_numpy(zero_copy_only=False).astype(float)


def test_a_nested_bootstrap_draws_groups_and_then_rows():
    groups = [[np.arange(4.0)], [np.arange(4.0) + 10]]
    found = nested_bootstrap(lambda values: values.mean(), groups, 4000, 0.95, 0)
    rng, direct = np.random.default_rng(1), list[float]()
    for _ in range(4000):
        rows = [groups[group][0][rng.integers(4, size=4)] for group in rng.integers(2, size=2)]
        direct.append(float(np.concatenate(rows).mean()))
    low, high = np.quantile(direct, [0.025, 0.975])
    assert found.value == 6.5
    assert found.low == pytest.approx(low, abs=0.4)
    assert found.high == pytest.approx(high, abs=0.4)
    assert found.high - found.low > 9, "a seed may be drawn twice"


def test_with_one_group_only_rows_are_drawn():
    values = np.random.default_rng(0).random(50)
    found = nested_bootstrap(lambda drawn: drawn.mean(), [[values]], 2000, 0.9, 0)
    direct = [np.random.default_rng(n).choice(values, 50).mean() for n in range(2000)]
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(direct, [0.05, 0.95])), abs=0.01)


def test_one_run_has_a_row_per_student_paired_with_base():
    run = _run("one")
    (block,) = compare([run], Draws(), students_read()).blocks
    assert [row.arm for row in block.rows] == ["Base", "CWT, staged", "STT, skip"]
    base, _, skip = block.rows
    assert base.speedup is base.minus_base_points is base.token_ratio is None
    full, here = (100 * _values(run, mode, "right") for mode in ("full", "skip"))
    expected = bounded_mean(here - full, (-100.0, 100.0), 1000, 0.95, 0)
    assert skip.minus_base_points
    assert skip.minus_base_points == expected
    assert skip.accuracy_pct.value == here.mean()
    seconds = [_values(run, mode, "seconds", "latencies") for mode in ("full", "skip")]
    assert skip.speedup
    assert skip.speedup.value == pytest.approx(seconds[0].sum() / seconds[1].sum())
    direct = nested_bootstrap(ratio_of_sums, [seconds], 1000, 0.95, 0)
    assert (skip.speedup.low, skip.speedup.high) == (direct.low, direct.high)
    assert skip.speedup.low < skip.speedup.value < skip.speedup.high
    missing = run.answers.filter(pa.compute.field("mode") == "skip")["answer"].null_count
    assert skip.format_errors_pct == pytest.approx(100 * missing / QUESTIONS)
    assert block.paper_speedup == 1.89


def test_seeds_of_one_configuration_are_one_row_and_the_newest_run_of_a_seed_counts():
    first, second, again = _run("a", 0), _run("b", 1), _run("c", 1)
    again.report["made"]["written_at"] = "2026-11-27T00:00:00+00:00"
    (block,) = compare([first, second, again], Draws(), students_read()).blocks
    assert [row.seeds for row in block.rows] == [[0, 1]] * 3
    assert [row.runs for row in block.rows] == [["a", "c"]] * 3
    both = np.concatenate([_values(run, "skip", "right") for run in (first, again)])
    assert block.rows[2].accuracy_pct.value == pytest.approx(100 * both.mean())


def test_arms_are_named_by_the_keys_that_differ_and_share_base():
    runs = [_run("a", cwt__num_chunks=2), _run("b", cwt__num_chunks=6)]
    (block,) = compare(runs, Draws(), students_read()).blocks
    assert [row.arm for row in block.rows] == [
        "Base",
        "CWT, staged (cwt.num_chunks=2)",
        "CWT, staged (cwt.num_chunks=6)",
        "STT, skip (cwt.num_chunks=2)",
        "STT, skip (cwt.num_chunks=6)",
    ]
    assert block.rows[1].settings == {"cwt.num_chunks": 2}


def test_runs_that_share_a_cwt_student_share_its_row_which_does_not_name_the_search_for_skips():
    runs = [_run("a"), _run("b", skips__search="all")]
    runs[1].report["made"]["digests"]["cwt"] = runs[0].report["made"]["digests"]["cwt"]
    (block,) = compare(runs, Draws(), students_read()).blocks
    assert [row.arm for row in block.rows] == [
        "Base",
        "CWT, staged",
        "STT, skip (skips.search=sequential)",
        "STT, skip (skips.search=all)",
    ]


def test_the_students_of_icot_are_rows_named_by_how_they_were_trained_and_paired_with_base():
    runs = [_run("a"), _run("b", icot__removal="all"), _run("c", icot__removal="stepwise")]
    (block,) = compare(runs, Draws(), students_read()).blocks
    assert [row.arm for row in block.rows if row.mode == "full"] == ["Base"]
    answer_only, icot = [row for row in block.rows if row.mode == "direct"]
    assert answer_only.arm == "answer only (icot.removal=all)"
    assert icot.arm == "ICoT-SI (icot.removal=stepwise)"
    full, here = (100 * _values(runs[2], mode, "right") for mode in ("full", "direct"))
    assert icot.minus_base_points == bounded_mean(here - full, (-100.0, 100.0), 1000, 0.95, 0)
    (block,) = compare(runs[2:], Draws(), students_read()).blocks
    assert block.rows[-1].arm == "ICoT-SI"


def test_settings_of_icot_make_no_other_arm_while_it_is_off():
    (block,) = compare([_run("a", 0), _run("b", 1, icot__epochs=3)], Draws(), students_read()).blocks
    assert [(row.arm, row.seeds) for row in block.rows] == [
        ("Base", [0, 1]),
        ("CWT, staged", [0, 1]),
        ("STT, skip", [0, 1]),
    ]


def test_other_code_or_data_is_a_block_of_its_own_and_the_reason_is_said():
    comparison = compare([_run("a"), _run("b", torch="3"), _run("c", task="svamp")], Draws(), students_read())
    assert [block.task for block in comparison.blocks] == ["multiarith", "multiarith", "svamp"]
    assert comparison.notes == ["multiarith: 2 blocks, because the runs differ in code."]
    other = compare([_run("a"), _run("b", data="other")], Draws(), students_read())
    assert other.notes == ["multiarith: 2 blocks, because the runs differ in data."]


def test_the_data_are_the_content_of_the_input_whatever_the_seed(tmp_path):
    def data(text: str, folder: str, seed: int = 0) -> str:
        file = tmp_path / folder / "rows.jsonl"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps({"question": "How many?", "answer": "1", "rationale": text}))
        config = PipelineConfig(seed=seed, rationales=RationalesConfig(source="file", path=str(file)))
        return data_of(open_run(config))

    assert data("One.", "a") == data("One.", "b") == data("One.", "a", seed=1)
    assert data("One.", "a") != data("Just one.", "a")


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storage path whose MLflow database has three runs, one of them of a sweep."""
    storage = tmp_path_factory.mktemp("storage")
    store(storage, _run("one"))
    store(storage, _run("two", torch="3"))
    store(storage, _run("three", task="svamp"), {"sweep": "mine"})
    unfinished = start_tracker(TrackingConfig(), Folder.open(str(storage)), "dead", "key of dead")
    unfinished.end("KILLED")
    return storage


def _compare(storage: Path, *words: str) -> int:
    return main(["compare", "--storage-path", str(storage), *words])


def test_the_command_compares_all_runs_of_a_database(storage, capsys):
    assert _compare(storage) == 0
    shown = capsys.readouterr().out
    assert shown.count("STT, skip") == 3
    assert "multiarith: 2 blocks, because the runs differ in code." in shown
    assert "speed-up in the paper 1.89x" in shown


def test_the_command_takes_runs_and_sweeps(storage, capsys):
    assert _compare(storage, "mine", "--format", "json") == 0
    found = Comparison.model_validate_json(capsys.readouterr().out)
    assert [block.task for block in found.blocks] == ["svamp"]
    assert _compare(storage, "one", "mine", "--format", "json") == 0
    found = Comparison.model_validate_json(capsys.readouterr().out)
    assert [row.runs for block in found.blocks for row in block.rows] == [["one"]] * 3 + [["three"]] * 3
    assert Comparison.model_json_schema()["required"] == ["confidence_pct", "blocks", "notes"]


def test_every_format_has_the_same_numbers(storage, capsys):
    shown = {}
    for form in ("table", "markdown", "csv", "json", "latex"):
        assert _compare(storage, "one", "--format", form) == 0
        shown[form] = capsys.readouterr().out
    (block,) = Comparison.model_validate_json(shown["json"]).blocks
    skip = block.rows[2]
    assert skip.speedup
    text = f"{skip.speedup.value:.2f} ({skip.speedup.low:.2f} to {skip.speedup.high:.2f})"
    assert all(text in shown[form] for form in ("table", "markdown", "latex"))
    lines = [*csv.DictReader(io.StringIO(shown["csv"]))]
    assert float(lines[2]["speedup_low"]) == skip.speedup.low
    assert shown["markdown"].count("|\n") >= 5
    assert "accuracy \\%" in shown["latex"]


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["four"], "has no finished run or sweep 'four' with a report"),
        (["dead"], "has no finished run or sweep 'dead' with a report"),
        (["--experiment", "other"], "has no experiment 'other'"),
    ],
)
def test_what_is_missing_is_named(storage, capsys, words, fault):
    assert _compare(storage, *words) == 2
    assert fault in capsys.readouterr().err


def test_a_storage_path_without_tracking_is_named(tmp_path, capsys):
    assert _compare(tmp_path) == 2
    assert "no run of this storage path was tracked" in capsys.readouterr().err
