"""Stage 8 on small handwritten artifacts: its numbers, page and table."""

import json
import re
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from rich.console import Console

from skipthink_ray.config import IcotConfig, PipelineConfig, SkipsConfig
from skipthink_ray.identity import stages_of
from skipthink_ray.method.intervals import bootstrap, bounded_mean
from skipthink_ray.method.metrics import percent, ratio_of_sums, smooth_curve
from skipthink_ray.reporting.page import number, render, short
from skipthink_ray.reporting.result import result_sentences
from skipthink_ray.reporting.table import add_runs, main_numbers, plain_table, print_table, show_report
from skipthink_ray.rows import (
    ANSWER_SCHEMA,
    CHUNKED_SCHEMA,
    HISTORY_SCHEMA,
    LATENCY_SCHEMA,
    ROW_SCHEMA,
    SAMPLE_SCHEMA,
    SKIP_SCHEMA,
)
from skipthink_ray.runtime.artifacts import Folder
from skipthink_ray.runtime.progress import Bars
from skipthink_ray.runtime.stopping import Stopper
from skipthink_ray.runtime.tracker import NullTracker
from skipthink_ray.stages import report as stage
from skipthink_ray.stages.context import Context
from tests.reporting.made_runs import TRAINED

CONFIG = PipelineConfig.model_validate(
    {"name": "small", "evaluation": {"bootstrap_samples": 200}, "report": {"samples": 3}}
)
HOSTILE = "<script>alert(1)</script> How many & why?"
TEST_ROWS, TRAIN_ROWS, WRONG_ROWS = range(10), range(10, 16), range(16, 23)
DIRECT = {"direct": [True] * 4 + [False] * 6}
RIGHT = {"full": [True] * 9 + [False], "staged": [True] * 8 + [False] * 2, "skip": [True] * 7 + [False] * 3}
TOKENS = {"full": 40, "staged": 48, "skip": 20, "direct": 3}
WARNING = {
    "code": "markers-together",
    "stage": "cwt",
    "text": "Markers at <0.02>.",
    "remedy": "Raise cwt.optim.lr.",
    "keys": [],
}
SECONDS = {"full": 0.4, "staged": 0.6, "skip": 0.1, "direct": 0.05}


def write(folder: Folder, name: str, rows: list[dict[str, Any]], schema: pa.Schema) -> None:
    folder.write_table(name, pa.Table.from_pylist(rows, schema=schema))


def write_samples(run: Folder) -> None:
    wrong = [
        {"row": row, "id": f"w{row}", "split": "train", "reason": "wrong answer", "detail": "x" * 300}
        for row in WRONG_ROWS
    ]
    write(run.child("rationales"), "rows", wrong, ROW_SCHEMA)
    test = [
        {"row": row, "id": f"t{row}", "split": "test", "question": HOSTILE, "answer": "7"}
        for row in TEST_ROWS
    ]
    text = {"question": "How many?", "answer": "7", "rationale": "First this. Then that. So seven."}
    train = [
        {"row": row, "id": f"r{row}", "split": "train", **text, "chunk_steps": [1, 2, 0]}
        for row in TRAIN_ROWS
    ]
    long = {
        "row": 23,
        "id": "long",
        "split": "train",
        "reason": "too many tokens",
        "detail": "600 tokens, limit 512",
    }
    write(run.child("samples"), "samples", [*test, *train, long], SAMPLE_SCHEMA)
    write(run.child("cwt"), "samples", train, CHUNKED_SCHEMA)
    counts = {"verified": 2, "decoded": 1, "chunks_verified": 3, "chunks_decoded": 0}
    skips = [{"row": row, "kept": [False, True, True], "right": True, **counts} for row in TRAIN_ROWS]
    write(run.child("skips"), "skips", skips, SKIP_SCHEMA)


def write_evaluation(run: Folder, right: dict[str, list[bool]]) -> None:
    answers = [
        {
            "row": row,
            "mode": mode,
            "text": "[thought] <b>bold</b> --> 7" if mode == "skip" else "This. --> 7",
            "answer": None if mode == "skip" and row == 9 else "7",
            "right": is_right,
            "tokens": TOKENS[mode] + row,
            "stopped": row > 0,
            "loops": False,
            "batch_seconds": 0.05,
        }
        for mode in right
        for row, is_right in zip(TEST_ROWS, right[mode], strict=True)
    ]
    write(run.child("evaluation"), "answers", answers[::-1], ANSWER_SCHEMA)
    timed = [
        {"row": row, "mode": mode, "seconds": SECONDS[mode] * (row + 1), "tokens": 9}
        for row in range(6)
        for mode in right
    ]
    write(run.child("evaluation"), "latencies", timed, LATENCY_SCHEMA)


def write_summaries(run: Folder) -> None:
    trained = {**TRAINED, "updates": 90}
    summaries = {
        "rationales": {"rows": 24, "train": 7, "test": 10, "dropped": 7, "reasons": {"wrong answer": 7}},
        "samples": {
            "train": 6,
            "dev": 0,
            "test": 10,
            "reasons": {"too many tokens": 1},
        },
        **dict.fromkeys(("base", "cwt", "stt", "icot"), trained),
        "skips": {
            "samples": 6,
            "right_share": 1.0,
            "kept_share": 0.5,
            "kept_share_by_chunk": [0.0, 1.0, 0.0],
            "verified": 12,
            "decoded": 6,
            "chunks_verified": 18,
            "chunks_decoded": 0,
            "seconds": 4.25,
        },
        "evaluation": {"questions": 10, "answered_before": ["full"]},
    }
    summaries["cwt"] = {"num_chunks": 3, **trained, "warnings": [WARNING]}
    for name, summary in summaries.items():
        run.child(name).write_json("summary.json", summary)
        run.child(name).write_json("config.json", {"stage": name, "config": {}, "inputs": {}})
    run.child("report").write_json("config.json", {"stage": "report", "config": {}, "inputs": {}})
    searched = {
        "epoch": 0,
        "boundaries_moved": 5,
        "boundaries_movable": 12,
        "energy_nats": 3.25,
        "search_s": 0.3,
    }
    run.child("cwt").write_json("epochs.json", [searched, {"epoch": 1}])
    history = [
        {"update": n, "epoch": 0, "loss_nats": 2 / (n + 1), "target_tokens": 100, "lr": 0.1}
        for n in range(90)
    ]
    for name in ("base", "cwt", "stt", "icot"):
        write(run.child(name), "history", history, HISTORY_SCHEMA)
    run.write_json("run.json", {"command": "skipthink run --name small", "config": CONFIG.model_dump()})


def write_run(path: Path, right: dict[str, list[bool]] = RIGHT) -> Folder:
    run = Folder.open(str(path / "small"))
    write_samples(run)
    write_evaluation(run, right)
    write_summaries(run)
    return run


def make_report(run: Folder, config: PipelineConfig = CONFIG) -> tuple[Folder, dict[str, Any]]:
    """The report's folder, and the return value of the stage."""
    inputs = {name: run.child(name) for name in stages_of(config) if name != "report"}
    console = Console(file=StringIO(), width=100)
    return run.child("report"), stage.make(
        Context("report", config, console, NullTracker(), run.child("report"), inputs, Bars(), Stopper())
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Folder, dict[str, Any]]:
    return make_report(write_run(tmp_path_factory.mktemp("runs")))


@pytest.fixture(scope="module")
def report(made: tuple[Folder, dict[str, Any]]) -> dict[str, Any]:
    return made[0].read_json("report.json")


@pytest.fixture(scope="module")
def page(made: tuple[Folder, dict[str, Any]]) -> str:
    return made[0].read_text("report.html")


class NumberCells(HTMLParser):
    """Collects the numbers in table cells of class `n`, and checks that tags are closed in order."""

    VOID = frozenset(("meta", "link", "br", "img", "input"))

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.in_cell, self.numbers = False, list[str]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "td":
            self.in_cell = ("class", "n") in attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self.in_cell = self.in_cell and tag != "td"

    def handle_data(self, data: str) -> None:
        if self.in_cell:
            self.numbers.extend(re.findall(r"−?\d[\d,]*(?:\.\d+)?", data))


def numbers_in(value: Any) -> list[float]:
    if isinstance(value, dict | list):
        return [
            found
            for one in (value.values() if isinstance(value, dict) else value)
            for found in numbers_in(one)
        ]
    return [value] if isinstance(value, int | float) and not isinstance(value, bool) else []


def test_every_number_in_a_table_of_the_page_stands_in_report_json(report: dict[str, Any], page: str) -> None:
    cells = NumberCells()
    cells.feed(page)
    known = {number(value, digits) for value in numbers_in(report) for digits in range(6)}
    assert len(cells.numbers) > 100
    assert set(cells.numbers) <= known


def test_the_page_is_well_formed_and_loads_nothing_from_elsewhere(page: str) -> None:
    parser = NumberCells()
    parser.feed(page)
    assert parser.open == []
    shown = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert set(re.findall(r"https?://[^\s\"'<&]*", shown)) == {PipelineConfig().endpoint.url}  # only shown
    assert re.findall(r"<link[^>]*>", page) == ['<link rel="icon" href="data:,">']
    assert not re.search(r"<script[^>]*src|<img|\bsrc=|@import", shown)
    assert len(re.findall(r'\bid="([^"]+)"', page)) == len(set(re.findall(r'\bid="([^"]+)"', page)))


def test_markup_in_questions_and_outputs_is_shown_as_text(page: str) -> None:
    assert "<script>alert" not in page
    assert "\\u003cscript\\u003ealert(1)\\u003c/script\\u003e How many \\u0026 why?" in page
    assert "<b>bold</b>" not in page
    assert "\\u003cb\\u003ebold\\u003c/b\\u003e" in page


def test_accuracy_speedup_and_tokens_equal_a_hand_computation(
    report: dict[str, Any], made: tuple[Folder, dict[str, Any]]
) -> None:
    skip = report["modes"]["skip"]
    assert skip["accuracy_pct"]["value"] == 70.0
    assert skip["difference_points"]["value"] == -20.0
    assert skip["speedup"]["value"] == pytest.approx(4.0, rel=1e-12)
    assert skip["token_ratio"]["value"] == (400 + 45) / (200 + 45)
    assert skip["latency_s"]["value"] == pytest.approx(0.35)
    assert skip["format_errors_pct"] == 10.0
    assert skip["at_limit_pct"] == 10.0
    assert skip["questions_per_s"] == pytest.approx(20.0)
    assert made[1]["skip_accuracy_pct"] == 70.0


def test_a_run_with_icot_has_a_fourth_mode_compared_with_full_thinking(page: str, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"icot": IcotConfig(removal="all")})
    folder, numbers = make_report(write_run(tmp_path, RIGHT | DIRECT), config)
    found, shown = folder.read_json("report.json"), folder.read_text("report.html")
    assert list(found["modes"]) == ["full", "staged", "skip", "direct"]
    assert found["modes"]["direct"]["difference_points"]["value"] == -50.0
    assert numbers["direct_accuracy_pct"] == 40.0
    assert list(found["training"]["stages"]) == list(found["curves"]) == ["base", "cwt", "stt", "icot"]
    assert {*found["questions"][0]["modes"]} == {*found["modes"]}
    assert "Four ways to answer" in shown
    assert "2 epochs of base, 2 of cwt, 2 of stt, 2 of icot." in shown
    assert 'class="mode direct"' in shown
    assert 'class="mode direct"' not in page
    screen = Console(file=StringIO(), width=100)
    print_table(found, "report.html", screen)
    assert isinstance(screen.file, StringIO)
    assert "direct (icot)" in screen.file.getvalue()


def test_the_column_of_the_mode_direct_is_there_if_a_run_has_it(tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"icot": IcotConfig(removal="all")})
    without = main_numbers(make_report(write_run(tmp_path / "a"))[0])
    having = main_numbers(make_report(write_run(tmp_path / "b", RIGHT | DIRECT), config)[0])
    for runs, titles in (([without], []), ([without, having], ["direct %"])):
        table = plain_table()
        table.add_column("run")
        add_runs(table, [(["a run"], numbers) for numbers in runs])
        assert [column.header for column in table.columns] == [
            *("run", "Base %", "staged %", "skip %"),
            *titles,
            *("tokens, full / skip", "speed-up"),
        ]
    assert [*table.columns[4].cells] == ["-", "40.0"]


def test_the_result_is_a_sentence_with_accuracy_beside_speed(report: dict[str, Any]) -> None:
    assert len(report["result"]) == 1
    assert report["result"][0].startswith("The skip student answers 70.0 % (")
    assert "full thinking 90.0 % (" in report["result"][0]
    assert report["result"][0].endswith(
        "it writes 1.82x fewer tokens and is 4.00x (4.00 to 4.00) faster at batch 1."
    )


def test_warnings_of_the_stages_stand_at_the_top_of_the_page(report: dict[str, Any], page: str) -> None:
    assert report["warnings"] == [WARNING]
    told = "<li><b>cwt</b> (<code>markers-together</code>): Markers at &lt;0.02&gt;. Raise cwt.optim.lr.</li>"
    assert page.index("What to look at") < page.index(told) < page.index("Three ways to answer")
    assert "What to look at" not in render({**report, "warnings": []})


def test_poor_accuracy_is_said_plainly(tmp_path: Path) -> None:
    folder, _ = make_report(write_run(tmp_path, {**RIGHT, "full": [True] + [False] * 9}))
    said = (
        "Even full thinking is right in only 10.0 % (a student from scratch on 6 rationales: expect little)"
    )
    assert said in folder.read_text("report.html")


def test_a_warning_comes_before_the_result_and_a_lack_of_timed_questions_after_it() -> None:
    accuracy = {"accuracy_pct": {"value": 10.0, "low": 5.0, "high": 15.0}}
    speedup = {"value": 3.3, "low": 0.9, "high": 5.3}
    modes = {"full": accuracy, "skip": accuracy | {"token_ratio": {"value": 2.0}, "speedup": speedup}}
    asked = {"questions": 9, "split": "test", "timed_questions": 2}
    first, second, third = result_sentences(modes, asked, {"pretrained": None}, 24)
    assert first.startswith("Even full thinking is right in only 10.0 %")
    assert "neither faster nor slower beyond chance (speed-up 3.30x, 0.90 to 5.30)" in second
    assert third == (
        "The speed-up rests on 2 timed questions, which is too few (evaluation.latency_questions)."
    )


def test_intervals_contain_their_value(report: dict[str, Any]) -> None:
    for mode in report["modes"].values():
        for estimate in (value for value in mode.values() if isinstance(value, dict)):
            assert estimate["low"] <= estimate["value"] + 1e-9
            assert estimate["value"] <= estimate["high"] + 1e-9


def test_pairs_are_resampled_together() -> None:
    full = np.geomspace(0.01, 100.0, 50)
    paired = bootstrap(ratio_of_sums, [full, full / 2], 200, 0.95, seed=0)
    unpaired = bootstrap(
        ratio_of_sums, [full, np.random.default_rng(1).permutation(full / 2)], 200, 0.95, seed=0
    )
    assert (paired.low, paired.value, paired.high) == (2.0, 2.0, 2.0)
    assert unpaired.high - unpaired.low > 0.5


def test_a_share_of_none_or_all_is_not_certain() -> None:
    none = bounded_mean(np.zeros(10), (0.0, 100.0), 100, 0.95, seed=0)
    every = bounded_mean(np.full(10, 100.0), (0.0, 100.0), 100, 0.95, seed=0)
    assert (none.value, none.low) == (0.0, 0.0)
    assert none.high == pytest.approx(30.85, abs=0.005)  # Clopper-Pearson, 0 of 10
    assert (every.low, every.high) == pytest.approx((100 - none.high, 100.0))


def test_a_mean_within_bounds_is_the_plain_bootstrap_where_values_differ() -> None:
    flags = np.arange(40) % 3 == 0
    assert bounded_mean(100.0 * flags, (0.0, 100.0), 300, 0.9, 5) == bootstrap(percent, [flags], 300, 0.9, 5)


def test_a_smoothed_curve_keeps_constants_and_has_few_points() -> None:
    assert smooth_curve(np.full(1000, 3.0), 21, 300).tolist() == pytest.approx([3.0] * 300)
    assert smooth_curve(np.array([0.0, 3.0, 0.0]), 3, 300).tolist() == [1.5, 1.0, 1.5]
    assert len(smooth_curve(np.zeros(0), 3, 300)) == 0


def test_the_page_is_a_function_of_report_json_to_the_byte(report: dict[str, Any], page: str) -> None:
    assert render(report) == page
    assert render(json.loads(json.dumps(report))) == page


def test_the_same_artifacts_give_the_same_numbers(report: dict[str, Any], tmp_path: Path) -> None:
    again = make_report(write_run(tmp_path))[0].read_json("report.json")
    assert {**again, "made": None} == {**report, "made": None}


def test_speeds_measured_by_another_run_are_named(report: dict[str, Any], page: str) -> None:
    assert "Another run answered in mode full, so its questions per second are that run's." in page
    alone = {**report, "evaluation": {**report["evaluation"], "answered_before": []}}
    screens = {}
    for name, shown in (("shared", report), ("alone", alone)):
        screen = StringIO()
        print_table(shown, "report.html", Console(file=screen, width=200))
        screens[name] = screen.getvalue()
    assert "Another run answered in mode full, so its questions/s are that run's." in screens["shared"]
    assert "Another run" not in screens["alone"] + render(alone)


def test_no_dropped_row_is_cut_silently(report: dict[str, Any], page: str) -> None:
    wrong, long = report["dropped"]["reasons"]
    assert (wrong["reason"], wrong["count"]) == ("wrong answer", 7)
    assert [row["row"] for row in wrong["examples"]] == [17, 18, 19]  # counted from 1
    assert wrong["examples"][0]["detail"] == "x" * 200 + "…"
    assert (long["stage"], long["count"], len(long["examples"])) == ("samples", 1, 1)
    assert "8 were dropped" in page
    assert '4 of these rows are among the <a href="#view=samples&amp;kind=dropped">samples</a>' in page
    assert '"dropped":{"shown":4,"of":8}' in page


@pytest.mark.parametrize(
    ("skips", "said"),
    [
        ({}, "The prompt contained all other kept chunks."),
        ({"judge": "writing"}, "the student wrote the later ones itself."),
        ({"search": "all"}, "the student was not asked without it."),
        ({"shuffled": True}, "the skips of each chunk index were then assigned to random samples"),
        ({"gate": "cross_fitted"}, "Each sample was judged by a student that was not trained on it."),
    ],
)
def test_the_page_says_how_skips_were_found(report: dict[str, Any], skips: dict[str, Any], said: str) -> None:
    changed = {**report, "chunks": {**report["chunks"], **skips}}
    others = (
        "wrote the later ones",
        "was not asked without it",
        "assigned to random samples",
        "was not trained on it",
    )
    page = " ".join(render(changed).split())
    assert said in page
    assert not any(other in page for other in others if other not in said)
    shown = {
        **SkipsConfig().model_dump(include={"judge", "search", "skippable", "gate", "shuffled"}),
        **skips,
    }
    assert all(f"{key}: {str(value).lower()}</code>" in page for key, value in shown.items())
    assert ("of the chunks that the student wrote, 18 and 0." in page) == (shown["judge"] == "writing")


def test_drops_that_do_not_add_up_are_an_error(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    run.child("rationales").write_json("summary.json", {"rows": 30, "reasons": {"wrong answer": 7}})
    with pytest.raises(RuntimeError, match="30 rows read, 6 \\+ 0 \\+ 10 kept, but 8 dropped"):
        make_report(run)


def test_modes_that_answered_other_questions_are_an_error(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    latencies = run.child("evaluation").table("latencies").to_table()
    run.child("evaluation").write_table("latencies", latencies.slice(1))
    with pytest.raises(RuntimeError, match="differ from those answered in mode full"):
        make_report(run)


def test_chunks_are_the_rationale_cut_at_its_steps(report: dict[str, Any]) -> None:
    chunks = report["samples"][0]["chunks"]
    assert [(chunk["text"], chunk["kept"]) for chunk in chunks] == [
        ("First this.", False),
        (" Then that. So seven.", True),
        ("", True),
    ]
    assert len(report["samples"]) == CONFIG.report.samples
    assert report["chunks"]["positions"][1]["sizes_pct"] == [0.0, 0.0, 100.0]


def test_the_terminal_table_fits_80_columns_and_says_where_the_page_is(
    made: tuple[Folder, dict[str, Any]],
) -> None:
    screen = StringIO()
    show_report(made[0], Console(file=screen, width=80))
    text = screen.getvalue()
    table = text[text.index("full (base)") : text.index("bootstrap intervals")]
    assert [line[:8] for line in table.splitlines() if line.startswith(("s at", "accuracy"))] == [
        "accuracy",
        "s at bat",
    ]
    assert "70.0 (" in table
    assert "4.00 (4.00-4.00)" in table
    assert f"{made[0].uri}/report.html" in text
    assert "What to look at:\n- cwt: Markers at <0.02>. Raise cwt.optim.lr.\n" in text
    assert "Rows dropped: 8 of 24 (wrong answer 7, too many tokens 1)." in text


def test_numbers_are_written_for_people() -> None:
    assert (number(68218), number(-0.04, 1), number(-2.5, 1)) == ("68,218", "0.0", "−2.5")
    assert (short(0.033), short(1234.5), short(0), short(0.999)) == ("0.0330", "1,234", "0.00", "0.999")
