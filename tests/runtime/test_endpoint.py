"""A teacher behind HTTP: every question ends as an answer or with a reason, none is asked twice without need."""

import json
import time

import pytest

from skipthink_ray.config import EndpointConfig, TeacherConfig
from skipthink_ray.models.teacher import Request, Written, make_request, to_record
from skipthink_ray.runtime.artifacts import Folder
from skipthink_ray.runtime.endpoint import Endpoint, probe
from skipthink_ray.runtime.ledger import Ledger
from skipthink_ray.tasks import get_task
from tests.teachers import MODEL, Teacher, serve

TEACHER = TeacherConfig(kind="endpoint", model=MODEL, prompt="zero_shot")
TASK = get_task("multiarith")


def ask(teacher: Teacher, questions: list[str], **how: float) -> tuple[dict[str, Written], dict[str, str]]:
    """(answers, reasons) by question."""
    requests = {make_request(TEACHER, TASK, question, "5", 0).key: question for question in questions}
    answers: dict[str, Written] = {}

    def keep(request: Request, written: Written) -> None:
        assert request.key not in answers, "kept twice"
        answers[request.key] = written

    settings = EndpointConfig(**{"url": teacher.url, "timeout_s": 2, "deadline_s": 8, **how})
    asked = [make_request(TEACHER, TASK, question, "5", 0) for question in questions]
    failed = Endpoint(TEACHER, settings).answer_all(asked, keep)
    assert set(answers) | set(failed) == set(requests)
    assert not set(answers) & set(failed)
    return {requests[key]: answer for key, answer in answers.items()}, {requests[key]: why for key, why in failed.items()}


def test_every_question_to_a_hostile_server_ends_as_an_answer_or_with_a_reason():
    kinds = ["", "429", "500", "half", "garbage-once", "garbage", "broken-json", "silence", "bad-request", "long", "refuse", "dead"]
    questions = [f"Tom has {number} pens and finds 3. [{kind}]" for number, kind in enumerate(kinds, start=2)]
    with serve() as teacher:
        answers, reasons = ask(teacher, questions)
    fate = dict(zip(kinds, questions, strict=True))
    assert {kind for kind in kinds if fate[kind] in answers} == {"", "429", "500", "half", "garbage-once", "long", "refuse"}
    assert answers[fate["429"]].text.endswith("The answer is 6.")
    assert answers[fate["long"]].finish == "length"
    assert reasons[fate["garbage"]].startswith("unreadable answer: no chat completion")
    assert reasons[fate["broken-json"]].startswith("unreadable answer")
    assert "no answer within endpoint.deadline_s = 8" in reasons[fate["silence"]]
    assert reasons[fate["bad-request"]].startswith("HTTP 400: ")
    assert "too long a prompt" in reasons[fate["bad-request"]]
    assert "endpoint.deadline_s" in reasons[fate["dead"]]
    assert (teacher.asked[fate[""]], teacher.asked[fate["429"]], teacher.asked[fate["bad-request"]]) == (1, 3, 1)


def test_retry_after_is_honoured():
    with serve() as teacher:
        started = time.monotonic()
        answers, _ = ask(teacher, ["Tom has 2 pens and finds 3. [429]"])
    assert len(answers) == 1
    assert time.monotonic() - started >= 2  # twice one second


def test_no_more_requests_are_in_flight_than_allowed():
    with serve(delay_s=0.1) as teacher:
        answers, _ = ask(teacher, [f"Tom has {number} pens and finds 3." for number in range(20)], concurrency=4)
    assert len(answers) == 20
    assert 1 < teacher.most_at_once <= 4


def test_a_server_that_is_gone_is_given_up_after_the_deadline_and_not_once_per_question():
    with serve() as teacher:
        teacher.dead = True
        started = time.monotonic()
        _, reasons = ask(teacher, [f"Tom has {number} pens and finds 3." for number in range(40)], concurrency=4, deadline_s=3)
    assert time.monotonic() - started < 12
    assert len(reasons) == 40
    assert sum("given up" in why for why in reasons.values()) >= 30


def test_a_wrong_address_model_or_key_is_named_before_any_question(monkeypatch):
    with serve() as teacher:
        refuse_unknown_models(teacher, monkeypatch)
        with pytest.raises(ValueError, match=r"has no model 'oracel'; did you mean 'oracle'\?"):
            probe(TEACHER.model_copy(update={"model": "oracel"}), EndpointConfig(url=teacher.url))
    started = time.monotonic()
    with pytest.raises(ValueError, match=r"endpoint\.url: http://127\.0\.0\.1:9/v1 does not answer"):
        probe(TEACHER, EndpointConfig(url="http://127.0.0.1:9/v1"))
    with pytest.raises(ValueError, match=r"endpoint\.url"):
        probe(TEACHER, EndpointConfig(url="no address at all"))
    assert time.monotonic() - started < 10


def refuse_unknown_models(teacher: Teacher, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the server say 404 to a model that it does not list, as most do."""
    handler = teacher.RequestHandlerClass
    answer = handler._misbehave

    def strict(self, question, times, body):
        if body["model"] != MODEL:
            self._send(404, {"error": {"message": "no such model"}})
        else:
            answer(self, question, times, body)

    monkeypatch.setattr(handler, "_misbehave", strict)


def test_the_key_comes_from_the_environment_and_goes_only_into_the_header(monkeypatch):
    monkeypatch.setenv("TEACHER_KEY", "sk-very-secret")
    with serve() as teacher:
        ask(teacher, ["Tom has 2 pens and finds 3."], key_variable="TEACHER_KEY")  # type: ignore[arg-type]
    sent = {name.lower(): value for name, value in teacher.headers_seen[0].items()}
    assert sent["authorization"] == "Bearer sk-very-secret"
    assert "sk-very-secret" not in EndpointConfig(key_variable="TEACHER_KEY").model_dump_json()


def test_a_request_is_another_one_for_another_model_prompt_sample_or_sampling():
    base = make_request(TEACHER, TASK, "q", "5", 0).key
    changes = [{"model": "other"}, {"temperature": 1.0}, {"max_tokens": 7}, {"prompt": "few_shot"}]
    others = [make_request(TEACHER.model_copy(update=change), TASK, "q", "5", 0).key for change in changes]
    assert len({base, *others, make_request(TEACHER, TASK, "q", "5", 1).key, make_request(TEACHER, TASK, "r", "5", 0).key}) == 7
    assert make_request(TEACHER, TASK, "q", "other gold", 0).key == base  # not shown by zero_shot
    assert make_request(TEACHER, TASK, "q", "5", 0).key == base


def test_the_ledger_finds_whole_answers_again_and_no_broken_ones(tmp_path):
    folder = Folder.open(str(tmp_path / "ledger"))
    first = Ledger(folder)
    for number in range(50):
        first.write(f"{number:032x}", to_record(Written(f"text é {number}\nline", "stop", 1, 2)))
    with open(f"{folder.path}/{first.mine}.jsonl", "ab") as file:
        file.write(json.dumps({"key": "ff" * 16, "text": "cut"}).encode()[:-5])
    second = Ledger(folder)
    assert len(second) == 50
    assert "ff" * 16 not in second
    assert second.read(f"{7:032x}")["text"] == "text é 7\nline"
    second.write("ee" * 16, to_record(Written("new", "stop", 1, 2)))
    assert len(Ledger(folder)) == 51
