"""A teacher behind HTTP: every question gets an answer or a reason, and none is sent twice without need."""

import json
import threading
import time
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from pyarrow import fs

from skipthink_ray.config import EndpointConfig, TeacherConfig
from skipthink_ray.runtime.artifacts import Folder
from skipthink_ray.tasks import get_task
from skipthink_ray.teacher.endpoint import Endpoint, open_client
from skipthink_ray.teacher.greeting import probe
from skipthink_ray.teacher.ledger import Ledger
from skipthink_ray.teacher.requests import Request, Written, make_request, to_record
from tests.teachers import MODEL, ODD, Teacher, serve

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
    return {requests[key]: answer for key, answer in answers.items()}, {
        requests[key]: why for key, why in failed.items()
    }


def test_every_question_to_a_hostile_server_gets_an_answer_or_a_reason():
    kinds = [
        "",
        "429",
        "500",
        "half",
        "garbage-once",
        "garbage",
        "broken-json",
        "silence",
        "bad-request",
        "long",
        "refuse",
        "dead",
    ]
    questions = [f"Tom has {number} pens and finds 3. [{kind}]" for number, kind in enumerate(kinds, start=2)]
    with serve() as teacher:
        answers, reasons = ask(teacher, questions)
    fate = dict(zip(kinds, questions, strict=True))
    assert {kind for kind in kinds if fate[kind] in answers} == {
        "",
        "429",
        "500",
        "half",
        "garbage-once",
        "long",
        "refuse",
    }
    assert answers[fate["429"]].text.endswith("The answer is 6.")
    assert answers[fate["long"]].finish == "length"
    assert reasons[fate["garbage"]].startswith("unreadable answer: not a chat completion")
    assert reasons[fate["broken-json"]].startswith("unreadable answer")
    assert "no answer within endpoint.deadline_s = 8" in reasons[fate["silence"]]
    assert reasons[fate["bad-request"]].startswith("HTTP 400: ")
    assert "too long a prompt" in reasons[fate["bad-request"]]
    assert "endpoint.deadline_s" in reasons[fate["dead"]]
    assert (teacher.asked[fate[""]], teacher.asked[fate["429"]], teacher.asked[fate["bad-request"]]) == (
        1,
        3,
        1,
    )


def test_retry_after_is_honoured():
    with serve() as teacher:
        started = time.monotonic()
        answers, _ = ask(teacher, ["Tom has 2 pens and finds 3. [429]"])
    assert len(answers) == 1
    assert time.monotonic() - started >= 2  # the server asks twice for a pause of one second


def test_a_server_that_asks_for_no_pause_gets_the_usual_ones():
    with serve() as teacher:
        started = time.monotonic()
        answers, _ = ask(teacher, ["Tom has 2 pens and finds 3. [429-at-once]"])
    assert len(answers) == 1
    assert time.monotonic() - started >= 0.75 * (0.5 + 1 + 2)


def test_no_more_requests_are_in_flight_than_allowed():
    with serve(delay_s=0.1) as teacher:
        answers, _ = ask(
            teacher, [f"Tom has {number} pens and finds 3." for number in range(20)], concurrency=4
        )
    assert len(answers) == 20
    assert 1 < teacher.most_at_once <= 4


def test_a_dead_server_is_given_up_once_after_the_deadline_not_once_per_question():
    with serve() as teacher:
        teacher.dead = True
        started = time.monotonic()
        _, reasons = ask(
            teacher,
            [f"Tom has {number} pens and finds 3." for number in range(40)],
            concurrency=4,
            deadline_s=3,
        )
    assert time.monotonic() - started < 12
    assert len(reasons) == 40
    assert sum("given up" in why for why in reasons.values()) >= 30


def test_json_that_is_not_a_chat_completion_is_unreadable_and_does_not_stop_the_run():
    questions = [
        f"Tom has {number} pens and finds 3. [{kind}]" for number, kind in enumerate([*ODD, ""], start=2)
    ]
    with serve() as teacher:
        answers, reasons = ask(teacher, questions, deadline_s=60, timeout_s=20)
    assert list(answers) == questions[-1:]
    assert all(why.startswith("unreadable answer") for why in reasons.values()), reasons


def test_an_empty_account_fails_at_once_and_a_dripping_server_runs_into_the_time_out():
    with serve() as teacher:
        started = time.monotonic()
        _, reasons = ask(teacher, ["Tom has 2 pens and finds 3. [quota]"], deadline_s=60)
        assert time.monotonic() - started < 10
        assert "no money left" in next(iter(reasons.values()))
        _, reasons = ask(teacher, ["Tom has 3 pens and finds 3. [drips]"], timeout_s=1, deadline_s=4)
    assert "last: no answer within endpoint.timeout_s = 1" in next(iter(reasons.values()))


def test_a_server_once_given_up_stays_given_up():
    with serve() as teacher:
        teacher.dead = True
        endpoint = Endpoint(
            TEACHER, EndpointConfig(url=teacher.url, timeout_s=1, deadline_s=2, concurrency=4)
        )
        for piece in range(3):
            asked = [make_request(TEACHER, TASK, f"{piece} {number}", "5", 0) for number in range(12)]
            started = time.monotonic()
            assert len(endpoint.answer_all(asked, lambda *_: None)) == 12
            assert piece == 0 or time.monotonic() - started < 1


def test_a_wrong_address_or_model_is_named_before_any_question():
    started = time.monotonic()
    with serve() as teacher:
        with pytest.raises(
            ValueError, match=r"refuses rationales\.teacher\.model 'oracel'.*did you mean 'oracle'\?"
        ):
            probe(TEACHER.model_copy(update={"model": "oracel"}), EndpointConfig(url=teacher.url))
        with pytest.raises(ValueError, match=r"the address usually ends in /v1"):
            probe(TEACHER, EndpointConfig(url=teacher.url.removesuffix("/v1")))
        probe(TEACHER, EndpointConfig(url=teacher.url))
        assert not teacher.asked
    with pytest.raises(ValueError, match=r"endpoint\.url: http://127\.0\.0\.1:9/v1 does not answer"):
        probe(TEACHER, EndpointConfig(url="http://127.0.0.1:9/v1"))
    with pytest.raises(ValueError, match=r"endpoint\.url"):
        probe(TEACHER, EndpointConfig(url="no address at all"))
    with pytest.raises(ValueError, match="an address must not contain a user or password"):
        EndpointConfig(url="https://user:secret@host/v1")
    assert time.monotonic() - started < 30


def test_the_key_is_sent_in_the_header_and_never_shown_in_a_message(monkeypatch):
    monkeypatch.setenv("TEACHER_KEY", " sk-very-secret\r\n")
    with serve() as teacher:
        ask(teacher, ["Tom has 2 pens and finds 3."], key_variable="TEACHER_KEY")  # type: ignore[arg-type]
        monkeypatch.delenv("TEACHER_KEY")
        ask(teacher, ["Tom has 2 pens and finds 3."], key_variable="TEACHER_KEY")  # type: ignore[arg-type]
        monkeypatch.setenv("TEACHER_KEY", "sk-very\nsecret")
        with pytest.raises(ValueError, match="TEACHER_KEY holds characters that cannot be sent") as caught:
            probe(TEACHER, EndpointConfig(url=teacher.url, key_variable="TEACHER_KEY"))
    with_key, without = (
        {name.lower(): value for name, value in sent.items()} for sent in teacher.headers_seen
    )
    assert with_key["authorization"] == "Bearer sk-very-secret"
    assert "authorization" not in without
    shown = "".join(traceback.format_exception(caught.value))
    assert "secret" not in shown.replace("test_endpoint.py", "").split("raise ValueError")[-1]


def test_the_request_key_depends_on_model_prompt_sample_and_sampling():
    base = make_request(TEACHER, TASK, "q", "5", 0).key
    changes = [{"model": "other"}, {"temperature": 1.0}, {"max_tokens": 7}, {"prompt": "few_shot"}]
    others = [make_request(TEACHER.model_copy(update=change), TASK, "q", "5", 0).key for change in changes]
    others += [make_request(TEACHER, TASK, "q", "5", 1).key, make_request(TEACHER, TASK, "r", "5", 0).key]
    assert len({base, *others}) == 7
    assert (
        make_request(TEACHER, TASK, "q", "other gold", 0).key == base
    )  # zero_shot does not show the gold answer
    assert make_request(TEACHER, TASK, "q", "5", 0).key == base


def test_answers_on_an_object_store_are_merged_and_readable_again():
    store = fs.PyFileSystem(fs.FSSpecHandler(MemoryFileSystem()))
    folder = Folder(store, "bucket/.teacher", "memory://bucket/.teacher")
    ledger = Ledger(folder)
    for number in range(5):
        ledger.write(f"{number:032x}", to_record(Written(f"text {number}", "stop", 1, 2)))
        assert ledger.read(f"{number:032x}")["text"] == f"text {number}"
    assert len(Ledger(folder)) == 5  # every answer is on storage before the merge
    ledger.merge()
    ledger.write("ee" * 16, to_record(Written("later", "stop", 1, 2)))
    ledger.merge()
    assert len(folder.names()) == 2
    again = Ledger(folder)
    assert [again.read(f"{number:032x}")["text"] for number in range(5)] == [
        f"text {number}" for number in range(5)
    ]
    assert again.read("ee" * 16)["text"] == ledger.read("ee" * 16)["text"] == "later"


def test_the_ledger_reads_complete_answers_and_ignores_broken_ones(tmp_path):
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


@pytest.mark.parametrize("url", ["http://10.0.0.5:8000/v1", "http://teacher.example/v1"])
def test_a_key_is_not_sent_without_encryption_to_another_machine(url, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "planted")
    with pytest.raises(ValueError, match=r"is not encrypted.* --endpoint\.key-variable") as refused:
        open_client(EndpointConfig(url=url))
    assert "planted" not in str(refused.value)
    for private in ("https://teacher.example/v1", "http://localhost:8000/v1", "http://[::1]:8000/v1"):
        open_client(EndpointConfig(url=private))
    monkeypatch.delenv("OPENAI_API_KEY")
    open_client(EndpointConfig(url=url))


def test_a_redirect_to_another_host_does_not_carry_the_key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "planted")
    carried = list[str | None]()

    class Named(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            carried.append(self.headers.get("Authorization"))
            self.send_response(307)
            self.send_header("Location", f"{other.url}/chat/completions")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with serve() as other, ThreadingHTTPServer(("127.0.0.1", 0), Named) as named:
        threading.Thread(target=named.serve_forever, daemon=True).start()
        request = make_request(TEACHER, TASK, "How many?", "5", 0)
        settings = EndpointConfig(url=f"http://127.0.0.1:{named.server_port}/v1", timeout_s=2, deadline_s=4)
        Endpoint(TEACHER, settings).answer_all([request], lambda *_: None)
        named.shutdown()
    assert {*carried} == {"Bearer planted"}
    assert other.headers_seen
    assert "planted" not in str(other.headers_seen)
