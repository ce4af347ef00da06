"""Exported students: transformers, lm-evaluation-harness and a real server answer as skipthink does."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lm_eval
import numpy as np
import pyarrow as pa
import pytest
from lm_eval.tasks import TaskManager
from openai import OpenAI
from transformers import AutoModelForCausalLM, AutoTokenizer

from skipthink_ray.config import (
    OptimConfig,
    OwnTaskConfig,
    PipelineConfig,
    SamplesConfig,
    StudentConfig,
    TrainConfig,
)
from skipthink_ray.lm_eval import questions as harness
from skipthink_ray.method.markup import THOUGHT, prompt
from skipthink_ray.method.modes import Mode
from skipthink_ray.models.decoding import Answer, answer_questions
from skipthink_ray.models.encoding import encode
from skipthink_ray.models.serving import chat_template, prepare_for_serving, prompt_text
from skipthink_ray.models.student import load_student, save_student
from skipthink_ray.runtime.artifacts import Folder
from skipthink_ray.tasks import TASKS
from tests.conftest import ROOT
from tests.servers import served
from tests.toys import ARCHITECTURES, make_samples, make_student, new_student, train_briefly

QUESTIONS, LIMIT = 50, 80
CONFIG = PipelineConfig(task="multiarith")
STAGES = ("base", "stt")
STARTS = {"base": "", "stt": "\n"}
"""The start of every prompt: nothing for a student from scratch, a line break for a pretrained one."""
PAGE = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
DOCUMENTED_FOLDER = "runs/demo/stt/student"


@dataclass(frozen=True)
class Handed:
    """A student's folder in a run, and skipthink's own answers to the run's test questions."""

    folder: Path
    stage: str
    questions: list[str]
    answers: list[Answer]
    right: list[bool]

    @property
    def prompts(self) -> list[str]:
        return [
            prompt_text(self.stage, STARTS[self.stage], CONFIG.samples.question_format, question)
            for question in self.questions
        ]


@pytest.fixture(scope="module")
def handed(trained, rows, tmp_path_factory) -> dict[str, Handed]:
    """A run with 50 test questions: the skip student has memorised 24 of them, the base student 12."""
    run = tmp_path_factory.mktemp("runs") / "toy"
    skip, _ = trained
    base = make_student(rows[:24], width=48, vocabulary=500)
    samples = make_samples(rows[:12], base.tokenizer)
    train_briefly(base, samples, "base", TrainConfig(batch_size=12, optim=OptimConfig(lr=4e-3)), 120)
    table = make_samples(rows[:QUESTIONS], skip.tokenizer).table
    split = pa.array(["test"] * QUESTIONS)
    Folder.open(str(run / "samples")).write_table(
        "samples", table.set_column(table.schema.get_field_index("split"), "split", split)
    )
    modes: tuple[tuple[str, Any, Mode], ...] = (("base", base, "full"), ("stt", skip, "skip"))
    return {
        stage: _hand_over(run / stage / "student", stage, student, mode, table)
        for stage, student, mode in modes
    }


def _hand_over(folder: Path, stage: str, student: Any, mode: Mode, table: pa.Table) -> Handed:
    folder.mkdir(parents=True)
    save_student(student, folder)
    own = load_student(folder)
    prepare_for_serving(own, stage, CONFIG)
    save_student(own, folder)
    answers = answer_questions(student, mode, table["question_tokens"].to_pylist(), LIMIT)
    right = [
        TASKS["multiarith"].check(answer.answer, gold)
        for answer, gold in zip(answers, table["answer"].to_pylist(), strict=True)
    ]
    return Handed(folder, stage, table["question"].to_pylist(), answers, right)


def test_the_fifty_questions_can_tell_students_apart(handed):
    """They include right and wrong answers, format errors and skipped chunks, so agreement is meaningful."""
    assert 20 <= sum(handed["stt"].right) <= 40
    assert 8 <= sum(handed["base"].right) <= 40
    assert any(answer.answer is None for answer in handed["stt"].answers)
    assert sum(THOUGHT in answer.text for answer in handed["stt"].answers) > 20


@pytest.mark.parametrize("stage", STAGES)
def test_transformers_alone_writes_the_same_texts(handed, stage):
    student = handed[stage]
    tokenizer, model = (
        AutoTokenizer.from_pretrained(student.folder),
        AutoModelForCausalLM.from_pretrained(student.folder),
    )
    for text, answer in zip(student.prompts, student.answers, strict=True):
        inputs = tokenizer(text, return_tensors="pt")
        ids = model.generate(**inputs, max_new_tokens=LIMIT)[0, inputs["input_ids"].shape[1] :].tolist()
        assert len(ids) == answer.tokens
        assert tokenizer.decode(ids).removesuffix(tokenizer.eos_token) == answer.text


@pytest.mark.parametrize("stage", STAGES)
def test_lm_evaluation_harness_gives_the_same_texts_answers_and_accuracy(handed, stage):
    student = handed[stage]
    manager = TaskManager(
        include_path=str(ROOT / "skipthink_ray" / "lm_eval"),
        include_defaults=False,
        metadata={"pretrained": str(student.folder)},
    )
    evaluated = lm_eval.simple_evaluate(
        model="hf",
        model_args={"pretrained": str(student.folder)},
        tasks=["skipthink"],
        task_manager=manager,
        device="cpu",
        batch_size=16,
        gen_kwargs={"max_gen_toks": LIMIT},
        bootstrap_iters=0,
    )
    assert evaluated is not None
    samples = sorted(evaluated["samples"]["skipthink"], key=lambda sample: sample["doc"]["row"])
    assert [sample["resps"][0][0] for sample in samples] == [
        _without_markers(answer.text) for answer in student.answers
    ]
    assert [sample["filtered_resps"][0] for sample in samples] == [
        answer.answer or "" for answer in student.answers
    ]
    assert [bool(sample["acc"]) for sample in samples] == student.right
    scores = evaluated["results"]["skipthink"]
    assert scores["acc,answer"] == np.mean(student.right)
    assert scores["format_errors,answer"] == np.mean([answer.answer is None for answer in student.answers])


def test_the_documented_lines_for_transformers_print_our_answer(handed, capsys):
    folder = handed["stt"].folder
    exec(_documented("AutoTokenizer").replace(DOCUMENTED_FOLDER, str(folder)), {})
    assert (
        capsys.readouterr().out.strip()
        == f"{_documented_answer(folder).text}{AutoTokenizer.from_pretrained(folder).eos_token}"
    )


@pytest.mark.slow
def test_a_server_gives_the_same_texts_through_both_endpoints(handed, capsys):
    student = handed["stt"]
    with served(student.folder) as url:
        client = OpenAI(base_url=url, api_key="none")
        for question, text, ours in zip(student.questions, student.prompts, student.answers, strict=True):
            whole = client.completions.create(model=str(student.folder), prompt=text, max_tokens=LIMIT)
            assert whole.usage is not None
            assert (whole.choices[0].text, whole.usage.completion_tokens) == (
                _without_markers(ours.text),
                ours.tokens,
            )
            chat = client.chat.completions.create(
                model=str(student.folder),
                messages=[{"role": "user", "content": f"{question}\n"}],
                max_tokens=LIMIT,
            )
            assert chat.choices[0].message.content == whole.choices[0].text
            assert chat.usage == whole.usage
        code = _documented("OpenAI").replace(DOCUMENTED_FOLDER, str(student.folder))
        exec(code.replace("http://127.0.0.1:8000/v1", url), {})
    assert (
        capsys.readouterr().out.splitlines()
        == [_without_markers(_documented_answer(student.folder).text)] * 2
    )


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("question_format", [" {question} ###", 'Q: "{question}"\n{{so}} \\ …🙂'])
def test_other_programs_read_our_prompt_from_the_folder(
    checkpoints, architecture, stage, question_format, tmp_path
):
    """Also if the pretrained model's tokenizer starts every text with a special token."""
    config = StudentConfig(pretrained=str(checkpoints[architecture]))
    student = new_student(config, 3)
    prepare_for_serving(
        student, stage, PipelineConfig(samples=SamplesConfig(question_format=question_format))
    )
    save_student(student, tmp_path)
    question = 'Tom\'s bag {holds} 3 "pens".\nHow many now?'
    asked = encode(student.tokenizer, [question_format.format(question=question)])[0]
    ours = prompt(student.ids, student.ids.skip if stage == "stt" else None, asked)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer(prompt_text(stage, "\n", question_format, question))["input_ids"] == ours
    messages = [{"role": "user", "content": f"\n{question} "}]
    for generation in (False, True):
        assert tokenizer.apply_chat_template(messages, add_generation_prompt=generation)["input_ids"] == ours
    with pytest.raises(Exception, match="one question at a time"):
        tokenizer.apply_chat_template([{"role": "system", "content": "Be brief."}, *messages])


def test_a_student_that_answers_in_stages_offers_no_single_prompt(trained, tmp_path):
    save_student(trained[0], tmp_path)
    student = load_student(tmp_path)
    prepare_for_serving(student, "cwt", CONFIG)
    save_student(student, tmp_path)
    assert chat_template("cwt", "", " {question} ###") is None
    assert AutoTokenizer.from_pretrained(tmp_path).chat_template is None
    file = _file(tmp_path, "Why?", "5")
    with pytest.raises(ValueError, match="several prompts"):
        harness.load(str(tmp_path), questions=str(file))


def test_the_harness_takes_questions_from_a_file_and_checks_them_by_the_students_own_task(trained, tmp_path):
    save_student(trained[0], tmp_path)
    with pytest.raises(ValueError, match="was not trained by skipthink"):
        harness.load(str(tmp_path))
    student = load_student(tmp_path)
    own_task = OwnTaskConfig(answer_type="number", pattern=r"about (\d+)")
    prepare_for_serving(student, "stt", PipelineConfig(task="guesses", own_task=own_task))
    save_student(student, tmp_path)
    with pytest.raises(ValueError, match="is not in a run's folder"):
        harness.load(str(tmp_path))
    documents = harness.load(
        str(tmp_path), questions=str(_file(tmp_path, " How many? ", 5)), dtype="float32"
    )["test"]
    assert [harness.prompt(document) for document in documents] == ["\n[skip] How many? ###"]
    assert harness.gold(documents[0]) == "5"
    written = harness.answers([["So 9. --> 4 or about 5.0"], ["So about 5"]], documents)
    scores = [harness.score(documents[0], [answer]) for answer in written]
    assert scores == [{"acc": 1.0, "format_errors": 0.0}, {"acc": 0.0, "format_errors": 1.0}]
    with pytest.raises(ValueError, match="contains no questions"):
        harness.load(str(tmp_path), questions=str(_file(tmp_path)))
    (tmp_path / "no-answer.jsonl").write_text('{"question": "a"}\n')
    with pytest.raises(ValueError, match=r"no-answer\.jsonl, line 1 has no text under the key 'answer'"):
        harness.load(str(tmp_path), questions=str(tmp_path / "no-answer.jsonl"))


def _documented(word: str) -> str:
    """The Python lines in docs/serving.md that contain a word, adapted to students with a prompt start."""
    code = next(block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if word in block)
    return code.replace("[skip]", "\\n[skip]")


def _documented_answer(folder: Path) -> Answer:
    found = re.search(r'question = "(.*)"', PAGE)
    assert found
    student = load_student(folder)
    asked = encode(student.tokenizer, [CONFIG.samples.question_format.format(question=found[1])])
    return answer_questions(student, "skip", asked, 256)[0]


def _file(folder: Path, *fields: Any) -> Path:
    file = folder / "questions.jsonl"
    file.write_text(
        f"{json.dumps(dict(zip(('question', 'answer'), fields, strict=True)))}\n" if fields else "\n"
    )
    return file


def _without_markers(text: str) -> str:
    """The text as shown by programs that omit special tokens."""
    return text.replace(THOUGHT, "")
