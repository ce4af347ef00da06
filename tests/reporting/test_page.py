"""The pages of runs and sweeps, and the data of their inspector."""

import copy
import io
import json
from typing import Any

import pytest
from rich.console import Console

from skipthink_ray import cli
from skipthink_ray.commands.compare import students_read
from skipthink_ray.commands.page import page_of
from skipthink_ray.commands.tune import plan_sweep, run_sweep
from skipthink_ray.reporting.charts_compared import charts_of, front
from skipthink_ray.reporting.comparison import Comparison, Draws, compare
from skipthink_ray.reporting.entry import Entry
from skipthink_ray.reporting.inspector import inspect
from skipthink_ray.reporting.page import Compared, render, render_compared
from skipthink_ray.reporting.published import published
from skipthink_ray.runtime.artifacts import Folder
from skipthink_ray.runtime.store import Run
from skipthink_ray.tuning.plan import settings
from skipthink_ray.tuning.space import Space
from skipthink_ray.tuning.sweep import done
from tests.reporting.made_runs import config_of, make_run, make_sweep
from tests.reporting.test_comparison import store

HOSTILE = "</script><script>alert(1)</script><!-- <img src=x onerror=alert(2)>"
MOST_BYTES = 5_000_000
NOTHING = Comparison(confidence_pct=95, blocks=[], notes=[])


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("storage"))


@pytest.fixture(scope="module")
def runs(storage: str) -> list[Run]:
    """Two runs that differ in M."""
    return [make_run(config_of(storage, f"m{m}", {"cwt.num_chunks": m}), hostile=HOSTILE) for m in (2, 4)]


@pytest.fixture(scope="module")
def reports(runs: list[Run]) -> list[dict[str, Any]]:
    return [published(run).report for run in runs]


def _data(page: str, name: str) -> Any:
    """The JSON of a data block, as a browser reads it: up to the first end of the element."""
    block = page[page.index(f'<script type="application/json" id="{name}">') :]
    return json.loads(block[block.index(">") + 1 : block.index("</script")])


def test_equal_rows_of_two_runs_are_one_sample_with_the_chunks_of_both(reports):
    (task,) = inspect([Entry(report, name) for report, name in zip(reports, "ab", strict=True)])["tasks"]
    (first, *_) = [item for item in task["items"] if item["kind"] == "training"]
    assert [len(first["by"][arm]["sizes"]) for arm in "01"] == [2, 4]
    assert all(sum(cut["sizes"]) == len(first["steps"]) for cut in first["by"].values())
    assert "".join(first["steps"]).endswith(HOSTILE)
    assert [arm["name"] for arm in task["arms"]] == ["a", "b"]
    assert task["shown"] == {
        "questions": {"shown": 12, "of": 12},
        "training": {"shown": 12, "of": 12},
        "dropped": {"shown": 4, "of": 4},
    }
    questions = [item for item in task["items"] if item["kind"] == "questions"]
    answers = [here for item in questions for by in item["by"].values() for here in by.values()]
    written = [row["modes"].values() for report in reports for row in report["questions"]]
    assert {task["texts"][one["text"]] for one in answers} == {one["text"] for of in written for one in of}


def test_hostile_text_cannot_end_the_data_and_is_read_back_unchanged(reports):
    page = render(reports[0])
    assert HOSTILE not in page
    assert all(
        HOSTILE in item["question"]
        for task in _data(page, "inspector-data")["tasks"]
        for item in task["items"]
    )
    bare = render(_without_samples(reports[0]))
    for mark in ("<script", "</script", "<!--", "<img"):
        assert page.count(mark) == bare.count(mark)


def _without_samples(report: dict[str, Any]) -> dict[str, Any]:
    dropped = {**report["dropped"], "reasons": []}
    return {**report, "samples": [], "questions": [], "dropped": dropped}


def test_seven_tasks_with_two_hundred_samples_each_stay_under_five_megabytes(reports):
    entries = [Entry(_of_task(reports[1], f"task {number}"), "one") for number in range(7)]
    page = render_compared(Compared("seven", entries, NOTHING))
    assert len(page.encode()) < MOST_BYTES
    for task in _data(page, "inspector-data")["tasks"]:
        assert task["shown"]["questions"] == {"shown": 200, "of": 200}
        assert task["shown"]["training"]["shown"] == 200


def _of_task(report: dict[str, Any], task: str) -> dict[str, Any]:
    """A report with 200 different questions and training samples of about the length of GSM8K's."""
    grown = copy.deepcopy(report)
    grown["task"], grown["evaluation"]["questions"] = task, 200
    rationale = "She sells 16 - 3 - 4 = 9 duck eggs a day. She makes 9 * 2 = 18 dollars every day. " * 3
    for kind in ("questions", "samples"):
        rows = [copy.deepcopy(grown[kind][0]) for _ in range(200)]
        for number, row in enumerate(rows):
            row |= {"row": number, "id": f"{kind}-{number}", "question": f"{number} {rationale[:160]}?"}
        grown[kind] = rows
    for row in grown["questions"]:
        row["rationale"] = f"{row['row']} {rationale}"
        for mode in row["modes"]:
            row["modes"][mode]["text"] = f"{mode} {row['row']} {rationale} --> 18"
    for row in grown["samples"]:
        row["chunks"] = [{"position": 1, "steps": 6, "kept": True, "text": f"{row['row']} {rationale}"}]
    return grown


def test_a_page_that_would_be_too_large_says_that_it_shows_fewer_samples(reports):
    entries = [Entry(_of_task(reports[1], f"task {number}"), "one") for number in range(7)]
    data = inspect(entries, most_bytes=500_000)
    assert len(json.dumps(data, ensure_ascii=False).encode()) <= 500_000
    most = data["tasks"][0]["shown"]["questions"]["shown"]
    assert 1 < most < 200
    assert data["note"] == f"At most {most} of each kind and run, to keep this page small."
    assert all(task["shown"]["questions"] == {"shown": most, "of": 200} for task in data["tasks"])


def test_the_front_has_the_points_that_no_other_equals_or_beats_in_both():
    points = [("a", 1.0, 90.0), ("b", 2.0, 80.0), ("c", 1.5, 70.0), ("d", 2.0, 75.0), ("e", 3.0, 10.0)]
    rows = [{"mode": mode, "speed-up": speed, "accuracy": accuracy} for mode, speed, accuracy in points]
    assert [point["mode"] for point in front(rows, "speed-up")] == ["a", "b", "e"]


def test_a_sweeps_page_has_its_trials_from_their_artifacts_and_names_what_failed(storage):
    draws: list[dict[str, Any]] = [
        {"cwt.num_chunks": 2, "cwt.search.method": "average"},
        {"cwt.num_chunks": 4, "cwt.search.method": "greedy", "cwt.search.eta_nats": 0.1},
        {"cwt.num_chunks": 4, "cwt.search.method": "greedy", "cwt.search.eta_nats": 0.2},
    ]
    records = make_sweep(storage, "one-sweep", draws)
    chosen = [published(make_run(config_of(storage, "one-sweep-multiarith-chosen", draws[1])))]
    comparison = compare(chosen, Draws(resamples=50), students_read())
    page = page_of("one-sweep", Folder.open(storage), ["one-sweep"], chosen, comparison)
    (task,) = _data(page, "inspector-data")["tasks"]
    assert [arm["name"] for arm in task["arms"]] == [
        "num_chunks=2, method=average",
        "num_chunks=4, method=greedy, eta_nats=0.1",
        "num_chunks=4, method=greedy, eta_nats=0.2",
        "one-sweep-multiarith-chosen",
    ]
    assert page.count("<b>(chosen)</b>") == 1
    assert "multiarith-bad: the loss became nan" in page
    assert {name.rpartition("-")[0] for name in _data(page, "chart-data")} == {
        *("front", "kept", "parallel", "num_chunks", "eta", "loss-base", "loss-cwt", "loss-stt")
    }
    cwt = Folder.open(storage).child(records[0].run).read_json("run.json")["artifacts"]["cwt"]
    Folder.open(storage).delete(f"artifacts/cwt/{cwt}")
    assert "multiarith-t0: deleted artifacts: cwt" in page_of(
        "one-sweep", Folder.open(storage), ["one-sweep"], chosen, comparison
    )


def test_a_comparison_names_arms_by_what_differs_and_draws_measured_speed(runs):
    both = [published(run) for run in runs]
    page = page_of("two", runs[0].storage, ["m2", "m4"], both, compare(both, Draws(50), students_read()))
    (task,) = _data(page, "inspector-data")["tasks"]
    assert [arm["name"] for arm in task["arms"]] == ["num_chunks=2", "num_chunks=4"]
    charts = _data(page, "chart-data")
    assert "parallel-0" not in charts
    assert "speed-up" in json.dumps(charts["front-0"])
    entries = [Entry(run.report, "x") for run in both]
    assert json.dumps(charts_of(entries)) == json.dumps(charts_of(entries))


def test_a_report_without_samples_for_a_page_is_refused(runs):
    one = published(runs[0])
    del one.report["dropped"]["shown"]
    with pytest.raises(
        ValueError, match=r"wrote the report of run 'm2', without samples for a page\. Run its command again"
    ):
        page_of("one", runs[0].storage, ["m2"], [one], NOTHING)


def test_compare_writes_the_page_from_mlflow_alone(runs, tmp_path, capsys):
    for run in runs:
        store(tmp_path, published(run))
    words = ["compare", "--storage-path", str(tmp_path), "--format", "csv", "--page"]
    assert cli.main([*words, str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text()
    assert [len(task["arms"]) for task in _data(page, "inspector-data")["tasks"]] == [2]
    assert cli.main([*words, str(tmp_path / "no/page.html")]) == 2
    assert "no does not exist; create it or name another file" in capsys.readouterr().err


def test_a_finished_sweep_writes_its_page(tmp_path):
    draw = {"draw": {"cwt.num_chunks": {"choice": [2, 3]}}, "search": {"kind": "grid"}}
    space, base = Space.model_validate(draw), config_of(str(tmp_path), "mine", {})
    plan = plan_sweep("mine", "grid", space, [base], None)
    for trial, tokens in zip(plan.trials, (20.0, 30.0), strict=True):
        make_run(trial.config, report=False)
        numbers = {"skip_accuracy_pct": 50.0, "skip_tokens": tokens, "questions": 12.0}
        plan.sweep.record(done(trial, numbers))
    final = settings(base, space, plan.trials[0].drawn)
    make_run(final.model_copy(update={"name": "mine-grid-multiarith-chosen"}))
    screen = io.StringIO()
    assert run_sweep(plan, "skipthink tune", Console(file=screen, width=200)) == 0
    page = tmp_path / "sweeps/mine-grid/page.html"
    assert f"Page: {page}" in screen.getvalue()
    (task,) = _data(page.read_text(), "inspector-data")["tasks"]
    trials = {"num_chunks=2", "num_chunks=3"}  # in the order of their keys
    assert {arm["name"] for arm in task["arms"][:2]} == trials
    assert [arm["name"] for arm in task["arms"][2:]] == ["mine-grid-multiarith-chosen"]
