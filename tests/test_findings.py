"""Warnings of a run: each one has its cause, names existing keys and is explained in the docs."""

import re
from io import StringIO
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa
import pytest
import torch
from rich.console import Console

from skipthink_ray.config import PipelineConfig, StudentConfig
from skipthink_ray.models.separation import marker_separation
from skipthink_ray.reporting.findings import (
    MARKER_SEPARATION,
    Code,
    Finding,
    evaluation_findings,
    skips_findings,
    training_findings,
)
from skipthink_ray.rows import ANSWER_SCHEMA
from skipthink_ray.runtime.artifacts import Folder
from skipthink_ray.runtime.progress import Bars
from skipthink_ray.runtime.stopping import Stopper
from skipthink_ray.runtime.tracker import NullTracker
from skipthink_ray.stages import evaluation
from skipthink_ray.stages.context import Context
from tests.toys import make_student, new_student

ROOT = Path(__file__).parents[1]
DEFAULT = PipelineConfig()
TRAINED = {
    "updates": 400,
    "epochs": 2,
    "first_loss_nats": 3.0,
    "final_loss_nats": 0.15,
    "marker_separation": 0.8,
}
SKIPS = {"right_share": 0.97, "kept_share": 0.42}
SOUND = {"accuracy_pct": 95.0, "format_errors_pct": 2.0, "at_limit_pct": 1.0, "loops_pct": 0.0}
"""Numbers of a healthy run. Evaluation has them for every mode."""


def evaluated(**changed: float) -> dict[str, Any]:
    sound = {f"{mode}_{name}": value for mode in ("full", "staged", "skip") for name, value in SOUND.items()}
    return {**sound, **changed}


def configured(**sections: Any) -> PipelineConfig:
    return PipelineConfig.model_validate(sections)


def of_training(stage: str = "cwt", config: PipelineConfig = DEFAULT, **changed: float) -> list[Finding]:
    return training_findings(stage, config, {**TRAINED, **changed})


def of_skips(config: PipelineConfig = DEFAULT, **changed: float) -> list[Finding]:
    return skips_findings(config, {**SKIPS, **changed})


def of_evaluation(
    config: PipelineConfig = DEFAULT, final_loss_nats: float = 0.15, **changed: float
) -> list[Finding]:
    trained = {"base": {**TRAINED, "final_loss_nats": final_loss_nats}, "cwt": TRAINED, "stt": TRAINED}
    return evaluation_findings(config, evaluated(**changed), trained)


ILL = {
    "markers-together": of_training(marker_separation=0.017),
    "loss-flat": of_training(final_loss_nats=2.9),
    "gate-rarely-right": of_skips(right_share=0.272, kept_share=0.98),
    "gate-keeps-all": of_skips(kept_share=0.99),
    "gate-skips-all": of_skips(kept_share=0.01),
    "staged-empty": of_evaluation(staged_format_errors_pct=98.9),
    "no-answer": of_evaluation(full_format_errors_pct=34.0),
    "answers-endless": of_evaluation(skip_at_limit_pct=30.0),
    "memorised": of_evaluation(final_loss_nats=0.007, full_accuracy_pct=15.0),
}
"""For each code, a run with this problem only."""
FURTHER = [
    *of_training("base", configured(match="epochs"), final_loss_nats=2.9),
    *of_training("stt", marker_separation=0.01),
    *of_skips(configured(skips={"margin_nats": 1.0, "agreement_passes": 2}), right_share=0.1),
    *of_skips(configured(skips={"margin_nats": 1.0, "skippable": "interior"}), kept_share=0.99),
    *of_skips(configured(skips={"judge": "writing"}), kept_share=0.99),
    *of_skips(configured(skips={"judge": "writing", "skippable": "interior"}), kept_share=0.01),
    *of_evaluation(configured(match="epochs"), final_loss_nats=0.007, full_accuracy_pct=15.0),
    *of_evaluation(
        configured(match="epochs"), full_format_errors_pct=34.0, staged_at_limit_pct=20.0, full_loops_pct=30.0
    ),
]
"""Findings with a text that depends on the configuration."""


def test_a_healthy_run_has_no_findings():
    assert not any(of_training(stage) for stage in ("base", "cwt", "stt"))
    assert not of_skips()
    assert not of_evaluation()


@pytest.mark.parametrize("code", get_args(Code))
def test_each_problem_gives_its_own_warning_only(code):
    assert [finding.code for finding in ILL[code]] == [code]


@pytest.mark.parametrize(
    "finding", [*(found[0] for found in ILL.values()), *FURTHER], ids=lambda one: one.code
)
def test_a_finding_names_existing_keys_to_change(finding):
    assert finding.keys
    for key in finding.keys:
        assert key in finding.remedy
        value: Any = PipelineConfig()
        for part in key.split("."):
            assert part in type(value).model_fields, key
            value = getattr(value, part)


def test_a_finding_tells_what_was_measured():
    assert "0.017" in ILL["markers-together"][0].text
    assert "2.900" in ILL["loss-flat"][0].text
    assert "27.2%" in ILL["gate-rarely-right"][0].text
    assert "98.9 %" in ILL["staged-empty"][0].text
    assert "full 34.0 %." in ILL["no-answer"][0].text
    assert "15.0 %" in ILL["memorised"][0].text
    both = of_evaluation(full_at_limit_pct=30.0, skip_at_limit_pct=11.0, skip_loops_pct=25.0)
    assert "length limit: full 30.0 %, skip 11.0 %; they repeat themselves: skip 25.0 %" in both[0].text


def test_the_key_to_train_longer_is_that_which_counts():
    memorised = of_evaluation(configured(match="epochs"), final_loss_nats=0.007, full_accuracy_pct=15.0)
    assert memorised[0].keys == ("rationales.teacher.samples", "base.epochs")
    assert ILL["memorised"][0].keys == ("rationales.teacher.samples", "match", "base.epochs")
    assert "cwt.epochs" in of_training("base", final_loss_nats=2.9)[0].keys
    assert "base.epochs" in of_training("base", configured(match="epochs"), final_loss_nats=2.9)[0].keys


def test_intended_settings_give_no_findings():
    assert not of_skips(configured(skips={"search": "all"}), kept_share=0.0)
    assert not of_training("stt", configured(stt={"start": "cwt"}), first_loss_nats=0.15)
    assert not of_evaluation(final_loss_nats=0.007, full_accuracy_pct=90.0)


def test_markers_that_start_at_the_mean_are_together_and_with_noise_apart(rows, checkpoints):
    config = StudentConfig(pretrained=str(checkpoints["gpt2"]), marker_start="mean")
    pretrained = new_student(config, 4)
    assert marker_separation(pretrained, "cwt")["marker_separation"] < 1e-6
    assert marker_separation(make_student(rows[:50], marker_start="noise"), "cwt")["marker_separation"] > 0.5


def test_separation_equals_a_hand_computation_over_the_markers_of_the_stage(rows):
    student = make_student(rows[:50], num_chunks=2, width=4)
    weight = student.model.get_input_embeddings().weight
    with torch.no_grad():
        weight.zero_()
        weight[:, 0] = torch.arange(len(weight)) % 3 * 10.0  # 3 of 9 pairs are 0 apart, 4 are 10, 2 are 20
        for at, marker in enumerate((*student.ids.stages, student.ids.answer)):
            weight[marker] = torch.tensor([0.0, 0.0, 3.0 * at, 0.0])
        weight[student.ids.skip] = torch.tensor([0.0, 0.0, 6.5, 0.0])
        weight[student.ids.thought] = torch.tensor([0.0, 0.0, 60.0, 0.0])
    cwt, stt = (marker_separation(student, stage)["marker_separation"] for stage in ("cwt", "stt"))
    assert cwt == pytest.approx(3.0 / 10.0)
    assert stt == pytest.approx(0.5 / 10.0)
    assert marker_separation(student, "base") == {}


def test_a_student_that_answers_in_stages_has_separate_markers(trained):
    assert marker_separation(trained[0], "stt")["marker_separation"] > 2 * MARKER_SEPARATION


def test_evaluation_counts_what_its_findings_need(tmp_path):
    out, rows = Folder.open(str(tmp_path / "evaluation")), range(20)
    answers = [
        {
            "row": row,
            "mode": mode,
            "text": "",
            "answer": None if mode == "staged" and row < 18 else "7",
            "right": row > 17,
            "tokens": 9,
            "stopped": mode != "full" or row > 3,
            "loops": mode == "full" and row < 3,
            "batch_seconds": 0.1,
        }
        for mode in ("full", "staged", "skip")
        for row in rows
    ]
    out.write_table("answers", pa.Table.from_pylist(answers, schema=ANSWER_SCHEMA))
    screen = StringIO()
    console = Console(file=screen, width=80)
    inputs = dict.fromkeys(("base", "cwt", "stt"), out)
    context = Context("evaluation", PipelineConfig(), console, NullTracker(), out, inputs, Bars(), Stopper())
    summary = evaluation._summary(context, len(rows))
    trained = dict.fromkeys(inputs, TRAINED)
    stored = context.warn(evaluation_findings(DEFAULT, summary, trained))
    assert [warning["code"] for warning in stored] == ["staged-empty", "answers-endless"]
    told = [line for line in screen.getvalue().splitlines() if "Warning: " in line]
    assert told[0].startswith("evaluation  Warning: 90.0 % of the staged answers are empty")
    assert told[0].endswith("use another student.marker_start, or train longer (cwt.epochs).")
    assert "length limit: full 20.0 %; they repeat themselves: full 15.0 %" in told[1]


def test_the_page_on_troubleshooting_explains_every_warning_and_no_other():
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    sections = re.split(r"^### ", page, flags=re.MULTILINE)[1:]
    assert sorted(section.splitlines()[0].strip("`") for section in sections) == sorted(get_args(Code))
    for section in sections:
        code = section.splitlines()[0].strip("`")
        findings = [finding for finding in (*ILL[code], *FURTHER) if finding.code == code]
        for key in {key for finding in findings for key in finding.keys}:
            assert re.search(rf"`{re.escape(key)}[`:]", section), (code, key)
