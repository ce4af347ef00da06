"""What is refused before work starts. test_bad_input.py tests most checks through the command line."""

import re
from typing import Any

import pytest
import ray
from rich.console import Console

from skipthink_ray import preflight
from skipthink_ray.config import CwtConfig, PipelineConfig
from skipthink_ray.identity import STAGES, identify, stages_of
from skipthink_ray.method.skipping import fold_of
from skipthink_ray.options import nested
from skipthink_ray.pipeline import open_run, run
from skipthink_ray.runtime import cluster
from skipthink_ray.runtime.artifacts import Folder, begin, finish
from skipthink_ray.settings import configure
from tests.toys import make_samples, make_student


def _config(tmp_path, **values) -> PipelineConfig:
    return PipelineConfig.model_validate({"storage_path": str(tmp_path), **values})


def _samples(config: PipelineConfig, dev: int = 0, test: int = 5, train: int = 10) -> Folder:
    """The finished artifacts of rationales and samples; of the samples, only counts are there."""
    counts = {"train": train, "dev": dev, "test": test}
    current = open_run(config)
    for stage in ("rationales", "samples"):
        begin(current.artifact(stage), identify(config)[stage])
        finish(current.artifact(stage), counts)
    current.artifact("samples").write_json("steps.json", {"5": 10})
    return current.artifact("samples")


@pytest.mark.parametrize("stage", [stage for stage in STAGES if STAGES[stage].needs])
def test_a_stage_without_its_inputs_is_refused_before_ray_starts(tmp_path, stage):
    config = _config(tmp_path, icot={"removal": "all"})
    with pytest.raises(ValueError, match=f"{stage} needs the stage '{STAGES[stage].needs[0]}', which is not"):
        preflight.check_run(config, open_run(config), [stage], print)
    assert not ray.is_initialized()


def test_a_pretrained_student_is_checked_if_the_samples_are_to_be_made(tmp_path):
    folder = tmp_path / "student"
    folder.mkdir()
    config = _config(tmp_path / "runs", student={"pretrained": str(folder)})
    with pytest.raises(ValueError, match=re.escape(f"'{folder}' has no model")):
        preflight.check_run(config, open_run(config), stages_of(config), print)


def test_chunks_that_are_too_many_for_the_search_for_skips_are_refused(tmp_path):
    config = _config(tmp_path, skips={"search": "exhaustive"})
    preflight.check_samples(config, _samples(config))
    seven = config.model_copy(update={"cwt": CwtConfig(num_chunks=7)})
    with pytest.raises(ValueError, match="exhaustive tries all subsets of the chunks, for M up to 6; M is 7"):
        preflight.check_samples(seven, _samples(seven))


def test_an_empty_fold_is_refused(tmp_path, rows):
    config = _config(tmp_path, skips={"gate": "cross_fitted", "folds": 2})
    samples, tokenizer = _samples(config), make_student(rows[:60]).tokenizer
    samples.write_table("samples", make_samples(rows[:60], tokenizer).table)
    preflight.check_samples(config, samples)
    of_one = [row for row in rows[:60] if fold_of(row.question, 2, config.seed) == 0]
    samples.write_table("samples", make_samples(of_one, tokenizer).table)
    with pytest.raises(ValueError, match=f"skips.folds: {len(of_one)} samples leave one of 2 folds empty"):
        preflight.check_samples(config, samples)


@pytest.mark.parametrize(
    "budget",
    [{"updates": 40}, {"cwt": {"epochs": 2, "num_chunks": 3}}, {"match": "epochs", "icot": {"epochs": 8}}],
)
def test_a_removal_that_does_not_end_is_refused_and_each_option_that_the_message_names_makes_it_end(
    tmp_path, rows, budget
):
    """60 rationales are 8 updates an epoch. 8 epochs at most are too short for 8 tokens an epoch."""
    icot = {"removal": "stepwise", **budget.get("icot", {})}
    config = _config(tmp_path, **{**budget, "icot": icot})
    samples = _samples(config, train=60)
    samples.write_table("samples", make_samples(rows[:60], make_student(rows[:60]).tokenizer).table)
    with pytest.raises(
        ValueError, match=r"icot\.tokens_per_epoch: 8 tokens per epoch do not remove"
    ) as refused:
        preflight.check_samples(config, samples)
    remedies = re.findall(r"(--\S+) (\d+)", str(refused.value))
    assert len(remedies) == 2
    for option, number in remedies:
        preflight.check_samples(configure(config, _option(option, int(number))), samples)
        with pytest.raises(ValueError, match="do not remove"):
            preflight.check_samples(configure(config, _option(option, int(number) - 1)), samples)


def _option(option: str, value: int) -> dict[str, Any]:
    return nested({option.removeprefix("--").replace("-", "_"): value})


def test_the_stage_icot_is_refused_while_it_is_off(tmp_path):
    with pytest.raises(
        ValueError, match=r"icot\.removal: the stage icot is off; set --icot\.removal stepwise"
    ):
        run(_config(tmp_path), Console(), "skipthink icot", ["icot"])


@pytest.mark.parametrize(("split", "other"), [("test", "dev"), ("dev", "test")])
def test_a_split_without_questions_is_refused_before_anything_trains(tmp_path, split, other):
    config = _config(tmp_path, evaluation={"split": split})
    preflight.check_samples(config, _samples(config, **{split: 1}))
    with pytest.raises(
        ValueError, match=f"no {split} questions, but 7 {other} .* --evaluation.split {other}"
    ):
        preflight.check_samples(config, _samples(config, **{split: 0, other: 7}))


def test_a_toy_has_no_dev_questions(tmp_path):
    with pytest.raises(
        ValueError, match=r"evaluation\.split: a toy has no dev questions; .* --rationales\.dev-share"
    ):
        preflight.check_settings(_config(tmp_path, evaluation={"split": "dev"}))
    held_out = _config(tmp_path, evaluation={"split": "dev"}, rationales={"dev_share": 0.1})
    preflight.check_settings(held_out)


@pytest.mark.ray
def test_another_split_is_checked_if_only_the_evaluation_is_to_be_made(tmp_path):
    config = _config(tmp_path, cluster={"num_workers": 1, "num_actors": 1})
    _samples(config)
    other = config.model_copy(update={"evaluation": config.evaluation.model_copy(update={"split": "dev"})})
    current = open_run(other)
    for stage in ("base", "cwt", "skips", "stt"):
        begin(current.artifact(stage), identify(other)[stage])
        finish(current.artifact(stage), {})
    try:
        with pytest.raises(ValueError, match="no dev questions, but 5 test questions"):
            preflight.check_run(other, current, ["evaluation"], print)
    finally:
        cluster.disconnect()


def test_damaged_step_counts_are_named_with_the_artifact_to_delete(tmp_path):
    samples = _samples(_config(tmp_path))
    counted = _config(tmp_path, cwt={"num_chunks": "auto"})
    for text in ("{", "[]", '{"x": 1}'):
        samples.write_text("steps.json", text)
        with pytest.raises(ValueError, match=rf"{re.escape(samples.uri)}/steps.json is damaged .* delete"):
            preflight.check_samples(counted, samples)
    preflight.check_samples(_config(tmp_path, cwt={"num_chunks": 3}), samples)


def test_a_file_without_its_source_is_not_ignored(tmp_path):
    config = _config(tmp_path, rationales={"path": "my.jsonl"})
    with pytest.raises(ValueError, match=r"a toy reads no file; add --rationales\.source file"):
        preflight.check_settings(config)
    preflight.check_settings(_config(tmp_path, rationales={"path": "my.jsonl", "source": "file"}))
