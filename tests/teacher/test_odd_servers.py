"""Servers that follow OpenAI's protocol loosely.

Requests adapt to their refusals, their errors count as errors, and the greeting rejects no server that works.
"""

import json
import time
from collections import Counter
from typing import Any

import pytest

from skipthink_ray.config import EndpointConfig, TeacherConfig
from skipthink_ray.tasks import get_task
from skipthink_ray.teacher.endpoint import Endpoint
from skipthink_ray.teacher.greeting import probe
from skipthink_ray.teacher.prompts import messages
from skipthink_ray.teacher.requests import Written, make_request
from tests.odd_servers import OddServer, Reply, completion, odd_server

TEACHER = TeacherConfig(kind="endpoint", model="oracle", prompt="few_shot", temperature=0.5, samples=2)
TASK = get_task("multiarith")
GREETING = tuple(messages(TASK, "Hello", "few_shot"))
TEXT = "A hive has 4 frames. 4 * 6 = 24.\nThe answer is 24."


def ask(
    server: OddServer, *questions: str, **how: float
) -> tuple[dict[str, Written], dict[str, str], list[str]]:
    """(answers, reasons, remarks), the first two by question."""
    said: list[str] = []
    settings = EndpointConfig(**{"url": server.url, "timeout_s": 5, "deadline_s": 20, **how})
    requests = [make_request(TEACHER, TASK, question, "24", sample=1) for question in questions]
    names, answers = (
        {request.key: request.messages[-1]["content"] for request in requests},
        dict[str, Written](),
    )
    failed = Endpoint(TEACHER, settings, said.append).answer_all(
        requests, lambda request, written: answers.update({request.key: written})
    )
    return (
        {names[key]: one for key, one in answers.items()},
        {names[key]: why for key, why in failed.items()},
        said,
    )


def refuse(words: str, status: int = 400, **more: Any) -> Reply:
    return status, {"error": {"message": words, "type": "invalid_request_error", **more}}


def no_system(body: dict[str, Any]) -> Reply:
    roles = [message["role"] for message in body["messages"]]
    return (
        refuse("Only user and assistant roles are supported!")
        if "system" in roles
        else (200, completion(TEXT))
    )


def one_turn(body: dict[str, Any]) -> Reply:
    return (
        refuse("Conversation roles must be one user's")
        if len(body["messages"]) > 1
        else (200, completion(TEXT))
    )


def default_temperature(body: dict[str, Any]) -> Reply:
    if "temperature" in body:
        return refuse("Unsupported value: only the default is supported.", param="temperature")
    return 200, completion(TEXT)


def renamed_limit(body: dict[str, Any]) -> Reply:
    if "max_tokens" in body:
        return refuse("'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.")
    return 200, completion(TEXT)


def strict_body(body: dict[str, Any]) -> Reply:
    extra = [name for name in ("seed", "temperature") if name in body]
    return (
        (422, {"detail": [{"loc": ["body", extra[0]], "msg": "Extra inputs are not permitted"}]})
        if extra
        else (200, completion(TEXT))
    )


def small_limit(body: dict[str, Any]) -> Reply:
    return (
        refuse("max_tokens must be less than or equal to 200")
        if body["max_tokens"] > 200
        else (200, completion(TEXT))
    )


def only_streams(body: dict[str, Any]) -> Reply:
    if not body.get("stream"):
        return refuse("This model only supports stream mode, please enable the stream parameter.")
    pieces = [{"delta": {"content": TEXT[:9]}}, {"delta": {"content": TEXT[9:]}, "finish_reason": "stop"}]
    return 200, "".join(
        f"data: {json.dumps({'choices': [piece]})}\n\n" for piece in pieces
    ).encode() + b"data: [DONE]\n\n"


def fails_without_a_word(body: dict[str, Any]) -> Reply:
    return (
        (500, b"Internal Server Error")
        if body["messages"][0]["role"] == "system"
        else (200, completion(TEXT))
    )


@pytest.mark.parametrize(
    ("reply", "sent", "remark"),
    [
        (no_system, {"messages": 7}, "the instruction is put in front of the first question"),
        (one_turn, {"messages": 1}, "instruction, exemplars and question are one message"),
        (default_temperature, {"temperature": None, "seed": 1}, "temperature = 0.5 is left out"),
        (
            renamed_limit,
            {"max_tokens": None, "max_completion_tokens": 512},
            "max_tokens is sent as max_completion_tokens",
        ),
        (strict_body, {"seed": None, "temperature": None}, "seed = 1 is left out"),
        (small_limit, {"max_tokens": 200}, "rationales.teacher.max_tokens = 512 is sent as 200"),
        (only_streams, {"stream": True}, "answers are read as a stream"),
        (fails_without_a_word, {"messages": 7}, "the instruction is put in front of the first question"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_refused_request_changes_its_form_and_the_change_is_reported_once(reply, sent, remark):
    with odd_server(reply) as server:
        probe(TEACHER, EndpointConfig(url=server.url), GREETING)
        server.bodies.clear()
        answers, failed, said = ask(server, *(f"A hive has {at} frames." for at in range(3)), concurrency=1)
    assert not failed
    assert {answer.text for answer in answers.values()} == {TEXT}
    last = {**server.bodies[-1], "messages": len(server.bodies[-1]["messages"])}
    assert {name: last.get(name) for name in sent} == sent
    assert sum(remark in one for one in said) == 1
    assert len(said) == len(set(said))
    assert len(server.bodies) <= 3 + 3  # the other questions use the form that the first one found


def test_every_form_contains_the_instruction_and_all_exemplars():
    with odd_server(one_turn) as server:
        ask(server, "A hive has 4 frames.")
    first, last = server.bodies[0]["messages"], server.bodies[-1]["messages"][0]["content"]
    assert all(message["content"] in last for message in first)


def test_a_long_prompt_gets_a_smaller_limit_and_other_questions_keep_theirs():
    def reply(body: dict[str, Any]) -> Reply:
        if "long" in body["messages"][-1]["content"] and body["max_tokens"] > 300:
            return refuse(
                "This model's maximum context length is 900 tokens. "
                "However, your request has 600 input tokens."
            )
        return 200, completion(TEXT)

    with odd_server(reply) as server:
        answers, failed, said = ask(server, "a long question", "a question", concurrency=1)
    assert not failed
    assert len(answers) == 2
    assert [body["max_tokens"] for body in server.bodies] == [512, 300, 512]
    assert len(said) == 1


def test_an_error_in_a_reply_with_http_200_counts_as_an_error():
    first: dict[str, float] = {}

    def reply(body: dict[str, Any]) -> Reply:
        question = body["messages"][-1]["content"]
        since = time.monotonic() - first.setdefault(question, time.monotonic())
        if question == "busy" and since < 2:
            return 200, {
                "error": {
                    "message": "Provider returned error",
                    "code": 503,
                    "metadata": {"raw": "no worker is free"},
                }
            }
        if question == "overloaded" and since < 2:
            return 200, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
        if question == "too long":
            return 200, {
                "object": "error",
                "message": "1200 tokens do not fit",
                "type": "BadRequestError",
                "code": 400,
            }
        if question == "tool":
            return 200, completion(
                {"content": None, "tool_calls": [{"function": {"name": "abacus", "arguments": "{}"}}]},
                "tool_calls",
            )
        if question == "page":
            return 200, b"<html><head><title>Sign in</title></head><body>to the portal</body></html>"
        if question == "half":
            half = {
                "message": {"content": "4 * 6"},
                "finish_reason": "error",
                "error": {"code": 400, "message": "engine died"},
            }
            return 200, {"choices": [half]}
        return 200, completion(TEXT)

    with odd_server(reply) as server:
        answers, failed, _ = ask(server, "busy", "overloaded", "too long", "tool", "page", "half", "good")
    assert set(answers) == {"busy", "overloaded", "good"}
    assert failed["too long"] == "error in the answer: 400: 1200 tokens do not fit"
    assert "the tool 'abacus'" in failed["tool"]
    assert "Sign in: to the portal" in failed["page"]
    assert "engine died" in failed["half"]
    assert [server.asked[question] for question in ("too long", "tool", "half", "good")] == [1, 1, 1, 1]


def test_an_interrupted_answer_is_asked_for_again():
    times: Counter[str] = Counter()

    def reply(body: dict[str, Any]) -> Reply:
        question = body["messages"][-1]["content"]
        times[question] += 1
        if question == "full":
            return 200, completion(TEXT[:20], None, usage={"completion_tokens": body["max_tokens"]})
        if question == "always" or (question in ("abort", "timeout") and times[question] < 2):
            return 200, completion(TEXT[:20], "error" if question == "always" else question)
        return 200, completion(TEXT, "eos")

    with odd_server(reply) as server:
        probe(TEACHER, EndpointConfig(url=server.url), GREETING)
        answers, failed, _ = ask(server, "full", "always", "abort", "timeout", "good")
    assert answers.pop("full") == Written(TEXT[:20], "length", 0, 512)
    assert answers == dict.fromkeys(("abort", "timeout", "good"), Written(TEXT, "stop", 0, 0))
    assert failed == {"always": "unreadable answer: the answer is incomplete, with the finish reason 'error'"}
    assert [times[one] for one in ("full", "always", "abort", "timeout", "good")] == [1, 3, 2, 2, 1]


@pytest.mark.parametrize("status", [403, 404])
def test_a_refusal_of_one_question_does_not_give_up_the_others(status):
    def reply(body: dict[str, Any]) -> Reply:
        if body["messages"][-1]["content"].startswith("denied"):
            return refuse("not for you", status)
        return 200, completion(TEXT)

    questions = ["denied first", "good 1", *(f"denied {at}" for at in range(4)), "good 2"]
    with odd_server(reply) as server:
        answers, failed, _ = ask(server, *questions, concurrency=1)
    assert set(answers) == {"good 1", "good 2"}
    assert set(failed.values()) == {f"HTTP {status}: not for you"}
    assert all(server.asked[question] == 1 for question in questions)


@pytest.mark.parametrize(("status", "asked"), [(401, 1), (402, 1), (403, 3), (404, 3)])
def test_a_refusal_of_every_question_is_given_up_soon(status, asked):
    with odd_server(lambda body: refuse("not for you", status)) as server:
        _, failed, _ = ask(server, *(f"denied {at}" for at in range(9)), concurrency=1)
    assert len(failed) == 9
    assert sum(why.startswith("given up: ") for why in failed.values()) == 9 - asked
    assert len(server.bodies) == asked


def test_a_question_that_a_filter_flags_is_refused():
    flagged = [
        (403, {"error": {"code": 403, "message": 'The model requires moderation: "violence"'}}),
        (403, {"error": {"code": 403, "message": "Your input was flagged"}}),
        (400, {"error": {"code": "content_policy_violation", "message": "no"}}),
        (200, {"base_resp": {"status_code": 1027, "status_msg": "output new_sensitive"}, "choices": None}),
    ]
    other = [(403, {"error": {"message": "Requests of your account are flagged"}})]
    for reply in flagged:
        with odd_server(lambda body, said=reply: said) as server:
            probe(TEACHER, EndpointConfig(url=server.url), GREETING)
            answers, failed, _ = ask(server, "a question")
        assert (answers["a question"].finish, failed) == ("refused", {})
    for reply in other:
        with odd_server(lambda body, said=reply: said) as server:
            assert ask(server, "a question")[0] == {}


def test_a_paid_answer_without_final_text_is_not_asked_for_again():
    def reply(body: dict[str, Any]) -> Reply:
        match body["messages"][-1]["content"]:
            case "apart":
                return 200, completion({"content": None, "reasoning": "Four hives, six each"}, "length")
            case "hidden":
                return 200, completion("", "length", usage={"prompt_tokens": 9, "completion_tokens": 512})
            case "filtered":
                return 400, {"error": {"message": "the prompt triggered a policy", "code": "content_filter"}}
            case _:
                return 200, completion("", "stop", usage={"prompt_tokens": 9, "completion_tokens": 0})

    with odd_server(reply) as server:
        answers, failed, _ = ask(server, "apart", "hidden", "filtered", "empty")
    assert answers["apart"] == Written("", "length", 0, 0, "Four hives, six each")
    assert answers["hidden"] == Written("", "length", 9, 512)
    assert answers["filtered"] == Written("the prompt triggered a policy", "refused", 0, 0)
    assert failed == {"empty": "unreadable answer: the text is empty"}
    assert [server.asked[question] for question in ("apart", "hidden", "filtered")] == [1, 1, 1]


@pytest.mark.parametrize(
    "models",
    [
        (200, ["oracle"]),
        (200, [{"id": "oracle"}]),
        (403, {"error": {"message": "missing scope: model.read"}}),
        (404, b""),
        (200, b"<html>"),
        (200, {"data": None}),
        (500, b""),
    ],
)
def test_an_odd_list_of_models_does_not_reject_a_server(models):
    with odd_server(lambda body: (200, completion(TEXT)), models) as server:
        probe(TEACHER, EndpointConfig(url=server.url), GREETING)


def test_the_greeting_accepts_every_server_that_answers_the_questions():
    def refuses_one_token(body: dict[str, Any]) -> Reply:
        return (
            refuse("max_tokens must be at least 16") if body["max_tokens"] < 16 else (200, completion(TEXT))
        )

    def small_context(body: dict[str, Any]) -> Reply:
        return (
            refuse("This model's maximum context length is 128 tokens")
            if len(body["messages"]) > 2
            else (200, completion(TEXT))
        )

    replies: list[Reply] = [
        (503, {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}),
        (200, {"error": {"message": "Rate limit exceeded", "code": 429}}),
        (200, completion(None, "length")),
        (200, completion({"content": None, "reasoning_content": "Hm"}, "length")),
    ]
    for reply in (refuses_one_token, small_context, *(lambda body, said=said: said for said in replies)):
        with odd_server(reply) as server:
            probe(TEACHER, EndpointConfig(url=server.url), GREETING)


def test_the_greeting_names_faults_that_affect_every_question():
    wrong: list[tuple[Reply, str]] = [
        (
            (200, {"error": "Unexpected endpoint or method. (POST /chat/completions)"}),
            r"Unexpected endpoint or method.*ends in /v1",
        ),
        (
            (200, b"<html><title>Chat portal</title></html>"),
            r"not an OpenAI-compatible server.*Chat portal.*ends in /v1",
        ),
        ((402, {"error": {"message": "Insufficient credits"}}), "HTTP 402: Insufficient credits"),
        (
            (401, {"error": {"message": "bad key"}}),
            r"HTTP 401: bad key, and the key in the environment variable NO_SUCH_KEY is not set",
        ),
        ((400, {"error": {"message": "a chat template is needed"}}), "HTTP 400: a chat template is needed"),
    ]
    for reply, words in wrong:
        with odd_server(lambda body, said=reply: said) as server, pytest.raises(ValueError, match=words):
            probe(TEACHER, EndpointConfig(url=server.url, key_variable="NO_SUCH_KEY"), GREETING)


def test_the_key_is_hidden_in_every_message_that_quotes_it(monkeypatch):
    key = "sk-a/b+very secret&long"
    monkeypatch.setenv("TEACHER_KEY", key)
    said = f"{'x' * 290} Bearer {key} is unknown"  # the end of a long message is not shown
    escaped = json.dumps({"error": {"message": f"no {key}"}}).replace("/", "\\/")
    replies: list[Reply] = [
        (401, {"error": {"message": said}}),
        (400, {"error": {"message": f"Invalid token: Bearer {key}"}}),
        (400, escaped.encode()),
        (400, f"<html>Bearer {key}</html>".encode()),
        (200, {"error": {"message": f"Invalid token: {key}"}}),
        (200, completion("half", error=f"Invalid token: {key}")),
        (200, {"headers": {key: key}}),
        (200, f"<html>Bearer {key}</html>".encode()),
        (200, f'data: {{"error": "Invalid token: {key}"}}'.encode()),
        (200, completion("half", f"error: {key}")),
        (200, completion({"content": None, "tool_calls": [{"function": {"name": key}}]})),
    ]
    for reply in replies:
        with odd_server(lambda body, said=reply: said, (200, [key, f"oracle-{key}"])) as server:
            told = []
            try:
                probe(TEACHER, EndpointConfig(url=server.url, key_variable="TEACHER_KEY"), GREETING)
            except ValueError as error:
                told.append(str(error))
            _, failed, remarks = ask(server, "a question", key_variable="TEACHER_KEY")  # type: ignore[arg-type]
        shown = "\n".join([*told, *failed.values(), *remarks])
        assert len(failed) == 1
        assert "***" in shown or "x" * 280 in shown
        assert "sk-a" not in shown
        assert "secret" not in shown


def test_a_short_key_hides_no_part_of_a_word_and_changes_no_answer(monkeypatch):
    monkeypatch.setenv("TEACHER_KEY", "max")
    text = "The max is 4 * 6 = 24.\nThe answer is 24."

    def reply(body: dict[str, Any]) -> Reply:
        if "max_tokens" in body:
            return refuse("max: 'max_tokens' is not supported. Use 'max_completion_tokens' instead.")
        return 200, completion(text)

    with odd_server(reply) as server:
        answers, failed, said = ask(server, "a question", key_variable="TEACHER_KEY")  # type: ignore[arg-type]
    assert (answers["a question"].text, failed) == (text, {})
    assert any(one.startswith("the server says \"***: 'max_tokens' is not") for one in said)
