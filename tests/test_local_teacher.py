"""Local models as the teacher: in the cluster's actors, behind `transformers serve` and behind llama.cpp."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.dataset as dataset
import pytest

from skipthink_ray.config import EndpointConfig, OptimConfig, TeacherConfig, TrainConfig
from skipthink_ray.method.chunking import average_chunks
from skipthink_ray.method.steps import split_steps
from skipthink_ray.models.encoding import encode
from skipthink_ray.models.pretrained import SMOLLM2, resolve
from skipthink_ray.models.student import save_student
from skipthink_ray.tasks import ToyRow, get_task
from skipthink_ray.teacher.endpoint import Endpoint
from skipthink_ray.teacher.greeting import probe
from skipthink_ray.teacher.requests import make_request
from tests.gguf_files import write_gguf
from tests.servers import served, served_by_llama_cpp
from tests.toys import FORMATS, make_student, token_samples, toy_rows, train_briefly

TEMPLATE = "{{ ' ' + messages[-1]['content'] + ' ###' }}"
"""Prompts with the question alone, in the format of the model's training."""


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[ToyRow]]:
    """(folder, questions): a causal LM that has memorised the rationales of some questions."""
    rows = toy_rows("multiarith", 20)
    spoken = [row._replace(rationale=f"{row.rationale}\nThe answer is {row.answer}.") for row in rows]
    student = make_student(spoken, width=64, vocabulary=500)
    tokenizer = student.tokenizer
    steps = [encode(tokenizer, split_steps(row.rationale)) for row in spoken]
    asked = encode(tokenizer, [FORMATS.question_format.format(question=row.question) for row in spoken])
    ends_RM = average_chunks(np.array([len(one) for one in steps]), 4)
    samples = token_samples(
        asked, steps, encode(tokenizer, [row.answer for row in spoken]), [[] for _ in spoken], ends_RM, spoken
    )
    config = TrainConfig(batch_size=10, optim=OptimConfig(lr=5e-3))
    losses = train_briefly(student, samples, "base", config, 200)
    assert losses[-1] < 0.02
    folder = tmp_path_factory.mktemp("teacher")
    tokenizer.chat_template = TEMPLATE
    save_student(student, folder)
    return folder, rows


def rationales(tmp_path: Path, folder: Path, rows: list[ToyRow], name: str, *more: str) -> list[dict]:
    """Rows of the stage rationales, run on the questions alone. The first four are test questions."""
    file = tmp_path / "questions.jsonl"
    lines = [
        {"question": row.question, "answer": row.answer, "split": "test" if at < 4 else "train"}
        for at, row in enumerate(rows)
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    words = [
        sys.executable,
        "-m",
        "skipthink_ray.cli",
        "rationales",
        "--storage-path",
        tmp_path / name,
        "--tracking.backend",
        "off",
        "--rationales.source",
        "file",
        "--rationales.path",
        file,
        "--rationales.teacher.model",
        folder,
        "--rationales.teacher.prompt",
        "zero_shot",
        "--rationales.teacher.max-tokens",
        100,
        *more,  # a later value of an option replaces an earlier one
    ]
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stdout + done.stderr
    written = (
        dataset.dataset(tmp_path / name / "run/rationales/rows", format="parquet")
        .to_table()
        .sort_by("row")
        .to_pylist()
    )
    assert [row["question"] for row in written] == [row.question for row in rows]
    return written


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.long
def test_a_model_behind_transformers_server_and_one_in_actors_write_the_same_right_rationales(
    tmp_path, teacher
):
    folder, rows = teacher
    with served(folder) as url:
        asked = rationales(
            tmp_path, folder, rows, "asked", "--rationales.teacher.kind", "endpoint", "--endpoint.url", url
        )
    inside = rationales(tmp_path, folder, rows, "inside", "--rationales.teacher.kind", "transformers")
    assert [row["rationale"] for row in asked[4:]] == [row.rationale for row in rows[4:]]
    assert {row["reason"] for row in asked} == {None}
    assert [{**row} for row in inside] == [{**row} for row in asked]


@pytest.mark.slow
@pytest.mark.long
def test_a_chat_template_without_a_system_role_behind_transformers_server_is_worked_around(tmp_path, teacher):
    folder, rows = teacher  # its server fails with a bare HTTP 500, Internal Server Error
    known = tmp_path / "known"
    shutil.copytree(folder, known)
    question = "messages[-1]['content'].split('\n\n')[-1]"
    no_system = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system here') }}{% endif %}"
    (known / "chat_template.jinja").write_text(f"{no_system}{{{{ ' ' + {question} + ' ###' }}}}")
    settings = TeacherConfig(kind="endpoint", model=str(known), prompt="zero_shot", max_tokens=100)
    requests = [
        make_request(settings, get_task("multiarith"), row.question, row.answer, 0) for row in rows[:3]
    ]
    answers, said = dict[str, str](), list[str]()
    with served(known) as url:
        reached = EndpointConfig(url=url, concurrency=1, deadline_s=120)
        probe(settings, reached, requests[0].messages)
        failed = Endpoint(settings, reached, said.append).answer_all(
            requests, lambda one, written: answers.update({one.key: written.text})
        )
    assert not failed
    assert [answers[one.key] for one in requests] == [
        f"{row.rationale}\nThe answer is {row.answer}." for row in rows[:3]
    ]
    assert len(said) == 1
    assert "the instruction is put in front of the first question" in said[0]


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.long
def test_smollm2_behind_llama_cpp_serves_a_whole_stage(tmp_path):
    try:
        folder = Path(resolve(SMOLLM2))
    except ValueError as error:
        pytest.skip(str(error))
    model = write_gguf(tmp_path / "smollm2.gguf", folder, "Q8_0", "smollm")
    with served_by_llama_cpp(model) as url:
        rows = rationales(
            tmp_path,
            model,
            toy_rows("multiarith", 12),
            "asked",
            *("--rationales.teacher.kind", "endpoint", "--endpoint.url", url, "--endpoint.concurrency", "2"),
            *("--rationales.teacher.prompt", "few_shot_gold"),
        )
    fates = [row["reason"] for row in rows[4:]]
    assert set(fates) <= {None, "wrong answer", "cut off", "no rationale"}
    assert None in fates
    assert all(" " in row["rationale"].strip() for row in rows[4:] if row["reason"] is None)
    summary = json.loads((tmp_path / "asked/run/rationales/summary.json").read_text())
    assert summary["teacher_tokens"] > 8 * 5
    assert summary["teacher_prompt_tokens"] > 8 * 100
