"""Greedy decoding: independent of the batch, equal to transformers alone, and correct about its limit."""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from skipthink_ray.method.markup import prompt
from skipthink_ray.method.modes import STUDENT_OF
from skipthink_ray.models.decoding import answer_questions, generate
from skipthink_ray.models.student import load_student, save_student
from tests.toys import FORMATS

LIMIT = 80


@pytest.fixture(scope="module")
def questions(trained):
    """Questions of different lengths, some from training and some new."""
    _, samples = trained
    found = [samples.question[row].tolist() for row in range(12, 36)]
    return [found[0] * 3, found[1][:5], found[2][4:], *found[3:]]


@pytest.mark.parametrize("mode", STUDENT_OF)
def test_questions_get_the_same_answers_in_a_batch_as_alone(trained, questions, mode):
    student, _ = trained
    together = answer_questions(student, mode, questions, LIMIT)
    alone = [answer_questions(student, mode, [question], LIMIT)[0] for question in questions]
    assert together == alone
    assert len({answer.text for answer in together}) > 5
    if mode in ("staged", "skip"):  # those the student has learned
        assert any(answer.answer for answer in together)


def test_transformers_alone_decodes_a_saved_student_identically(trained, rows, tmp_path):
    student, samples = trained
    save_student(student, tmp_path)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    for row in range(6):
        text = "\n[skip]" + FORMATS.question_format.format(question=rows[row].question)
        inputs = tokenizer(text, return_tensors="pt", add_special_tokens=False)
        written = model.generate(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], max_new_tokens=LIMIT
        )
        assert inputs["input_ids"][0].tolist() == prompt(student.ids, student.ids.skip, samples.question[row])
        ours = generate(student, [inputs["input_ids"][0].tolist()], LIMIT)[0]
        assert written[0, inputs["input_ids"].shape[1] :].tolist() == ours
        assert ours[-1] == student.ids.eos


def test_a_saved_student_gives_the_same_answers(trained, questions, tmp_path):
    student, _ = trained
    save_student(student, tmp_path)
    assert answer_questions(load_student(tmp_path), "skip", questions, LIMIT) == answer_questions(
        student, "skip", questions, LIMIT
    )


@torch.no_grad()
def test_decoding_is_the_argmax_token_by_token(trained, questions):
    student, _ = trained
    for question in questions[:4]:
        ids = prompt(student.ids, student.ids.skip, question)
        for token in generate(student, [ids], LIMIT)[0]:
            assert token == int(student.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax())
            ids = [*ids, token]


@pytest.mark.parametrize("mode", ["full", "skip"])
def test_tokens_include_eos_and_a_reached_limit_is_reported(trained, questions, mode):
    student, _ = trained
    marker = student.ids.skip if mode == "skip" else None
    whole = answer_questions(student, mode, questions, LIMIT)
    for question, answer in zip(questions, whole, strict=True):
        written = generate(student, [prompt(student.ids, marker, question)], LIMIT)[0]
        assert (answer.tokens, answer.stopped) == (len(written), written[-1] == student.ids.eos)
    assert sum(answer.stopped for answer in whole) > 5
    limit = sorted(answer.tokens for answer in whole)[len(whole) // 2]
    assert {answer.tokens == limit for answer in whole} == {True, False}, (
        "an answer that ends in EOS exactly at the limit has not reached it"
    )
    limited = answer_questions(student, mode, questions, limit)
    assert [answer.tokens for answer in limited] == [min(answer.tokens, limit) for answer in whole]
    assert [answer.stopped for answer in limited] == [
        answer.stopped and answer.tokens <= limit for answer in whole
    ]
    assert {answer.stopped for answer in limited} == {True, False}


def test_staged_inference_feeds_back_its_chunks_without_eos(trained, questions):
    student, _ = trained
    stopped = 0
    for question, answer in zip(
        questions, answer_questions(student, "staged", questions, LIMIT), strict=True
    ):
        context, tokens, ends = [], 0, []
        for marker in student.ids.stages:
            chunk = generate(student, [prompt(student.ids, marker, question, context)], LIMIT)[0]
            tokens, ends = tokens + len(chunk), [*ends, chunk[-1]]
            context += chunk[:-1] if chunk[-1] == student.ids.eos else chunk
        last = generate(student, [prompt(student.ids, student.ids.answer, question, context)], LIMIT)[0]
        text = student.tokenizer.decode([token for token in last if token != student.ids.eos]).strip()
        assert answer.answer == (text or None)
        assert answer.text == f"{student.tokenizer.decode(context)} --> {text}"
        assert answer.tokens == tokens + len(last)
        assert answer.stopped == ({*ends, last[-1]} == {student.ids.eos})
        assert "[eos]" not in answer.text
        stopped += answer.stopped
    assert stopped > 5


def test_one_stage_at_the_limit_is_enough_to_report_it(trained, questions):
    """Some chunks are longer than twelve tokens, but the answers after them end in EOS."""
    student, _ = trained
    limit, stages = 12, len(student.ids.stages) + 1
    limited = answer_questions(student, "staged", questions, limit)
    cut = [answer for answer in limited if not answer.stopped]
    assert any(answer.tokens < limit * stages for answer in cut), "a later stage stopped"
    assert all(answer.tokens <= limit * stages for answer in limited)


def test_decoding_stops_at_the_last_position_of_the_model(trained):
    student, _ = trained
    room = student.model.config.max_position_embeddings
    question = student.tokenizer(" pens")["input_ids"][:1] * (room - 5)
    assert len(generate(student, [prompt(student.ids, student.ids.skip, question)], LIMIT)[0]) <= 3
