"""The whole pipeline: the identity of artifacts, and a run over real rationales with a GPT-2 architecture."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.dataset as dataset
import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from skipthink_ray.config import CwtConfig, OptimConfig, PipelineConfig, RationalesConfig
from skipthink_ray.identity import identify
from skipthink_ray.lm_eval import questions as harness
from skipthink_ray.runtime.artifacts import Folder, begin, finish, is_done

ROOT = Path(__file__).parents[1]


def test_a_stage_depends_on_its_own_configuration_and_on_that_of_its_inputs():
    before = identify(PipelineConfig())
    after = identify(PipelineConfig(cwt=CwtConfig(optim=OptimConfig(lr=1.0))))
    changed = {name for name in before if before[name] != after[name]}
    answers = {"answers-staged", "answers-skip"}
    assert changed == {"cwt", "skips", "stt", "evaluation", "report", *answers}


def test_numbers_of_chunks_share_base_unless_base_makes_as_many_updates_as_cwt():
    def with_chunks(number: int, **values: Any) -> dict[str, Any]:
        return identify(PipelineConfig(cwt=CwtConfig(num_chunks=number), **values))

    for alone in ({"updates": 10}, {"match": "epochs"}):
        few, many = with_chunks(2, **alone), with_chunks(6, **alone)
        same = {name for name in few if few[name] == many[name]}
        assert same == {"rationales", "samples", "base", "answers-full"}
    assert with_chunks(2)["base"] != with_chunks(6)["base"]


def test_base_depends_on_the_updates_of_cwt_only_if_they_are_matched():
    longer = CwtConfig(epochs=3)
    assert identify(PipelineConfig())["base"] != identify(PipelineConfig(cwt=longer))["base"]
    for alone in (PipelineConfig(match="epochs"), PipelineConfig(updates=10)):
        assert identify(alone)["base"] == identify(alone.model_copy(update={"cwt": longer}))["base"]


def test_seeds_of_training_share_their_rows_if_the_rationales_have_a_seed_of_their_own():
    fixed = PipelineConfig(seed=1, rationales=RationalesConfig(seed=0))
    assert identify(fixed)["rationales"] == identify(PipelineConfig())["rationales"]
    assert identify(fixed)["samples"] != identify(PipelineConfig())["samples"]
    assert identify(PipelineConfig(seed=1))["rationales"] != identify(PipelineConfig())["rationales"]


def test_the_same_input_file_in_another_folder_is_the_same_data(tmp_path):
    found = []
    for folder in ("one", "other"):
        file = tmp_path / folder / "rows.jsonl"
        file.parent.mkdir()
        file.write_text('{"question": "How many?", "answer": "1", "rationale": "One."}\n')
        found.append(identify(PipelineConfig(rationales=RationalesConfig(source="file", path=str(file)))))
    assert found[0] == found[1]
    file.write_text('{"question": "How many?", "answer": "2", "rationale": "Two."}\n')
    assert identify(PipelineConfig(rationales=RationalesConfig(source="file", path=str(file)))) != found[0]


def test_place_and_parallelism_do_not_change_the_identity():
    wide = PipelineConfig().cluster.model_copy(update={"num_workers": 8, "zero_stage": 3})
    assert identify(PipelineConfig()) == identify(PipelineConfig(cluster=wide))


def test_another_configuration_in_the_same_place_is_an_error_that_names_the_difference(tmp_path):
    folder = Folder.open(str(tmp_path / "base"))
    begin(folder, {"config": {"lr": 1}})
    assert not is_done(folder, {"config": {"lr": 1}}, "Name another folder")
    finish(folder, {})
    assert is_done(folder, {"config": {"lr": 1}}, "Name another folder")
    with pytest.raises(ValueError, match=r"config\.lr was 1, now 2"):
        is_done(folder, {"config": {"lr": 2}}, "Name another folder")


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(1600)
def test_real_rationales_and_a_gpt2_checkpoint_go_through_the_whole_pipeline(
    tmp_path, real_data, checkpoints
):
    command = [sys.executable, "-m", "skipthink_ray.cli", "run", "--config", "configs/multiarith_small.yaml"]
    command += [
        "--rationales.path",
        real_data / "teacher" / "multiarith.jsonl",
        "--storage-path",
        tmp_path,
        "--name",
        "real",
    ]
    command += [
        "--student.pretrained",
        checkpoints["gpt2"],
        "--updates",
        "40",
        "--evaluation.latency-questions",
        "3",
    ]
    command += ["--evaluation.max-new-tokens", "24"]
    done = subprocess.run(
        [str(part) for part in command], cwd=ROOT, capture_output=True, text=True, timeout=1500
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Even full thinking is right in only" in done.stdout
    run = tmp_path / "real"
    report = json.loads((run / "report" / "report.json").read_text())
    _assert_warnings_are_told(done.stdout, report, (run / "report" / "report.html").read_text())
    dropped = {drop["reason"]: drop["count"] for drop in report["dropped"]["reasons"]}
    assert dropped["wrong answer"] == 88
    assert report["dropped"]["total"] == sum(dropped.values()) < 120
    rows = dataset.dataset(run / "rationales" / "rows", format="parquet")
    assert rows.count_rows() == 600
    _assert_transformers_alone_decodes_the_same(run)


def _assert_warnings_are_told(screen: str, report: dict[str, Any], page: str) -> None:
    """Random weights and one epoch give warnings, first at the stage, then again next to the result."""
    codes = {warning["code"] for warning in report["warnings"]}
    assert "gate-rarely-right" in codes
    assert "answers-endless" in codes
    at_the_end = screen[screen.index("What to look at:") :]
    for warning in report["warnings"]:
        assert f"{warning['stage']:<11} Warning: {warning['text']} {warning['remedy']}" in screen
        assert f"- {warning['stage']}: {warning['text']} {warning['remedy']}" in " ".join(at_the_end.split())
        assert f"<code>{warning['code']}</code>" in page


def _assert_transformers_alone_decodes_the_same(run: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(run / "stt" / "student")
    model = AutoModelForCausalLM.from_pretrained(run / "stt" / "student")
    answers = (
        dataset.dataset(run / "evaluation" / "answers", format="parquet")
        .to_table()
        .sort_by("row")
        .to_pylist()
    )
    skipped = [answer for answer in answers if answer["mode"] == "skip"]
    documents = harness.load(str(run / "stt" / "student"))["test"]  # as lm-evaluation-harness asks them
    for answer, document in list(zip(skipped, documents, strict=True))[:10]:
        assert document["row"] == answer["row"]
        assert document["prompt"].lstrip().startswith("[skip] ")
        prompt = tokenizer(document["prompt"], return_tensors="pt")
        written = model.generate(**prompt, max_new_tokens=24)[0, prompt["input_ids"].shape[1] :].tolist()
        written = [
            token for token in written if token not in (tokenizer.eos_token_id, tokenizer.pad_token_id)
        ]
        assert tokenizer.decode(written) == answer["text"]
