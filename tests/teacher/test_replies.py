"""Reading replies: unneeded fields do not matter, and errors keep the words of the server."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skipthink_ray.teacher.replies import read_failure, read_reply
from skipthink_ray.teacher.requests import Written
from skipthink_ray.teacher.server_errors import ServerError
from tests.odd_servers import completion

TEXT = "7 trays hold 3 cups. 7 * 3 = 21.\nThe answer is 21."


def read(value: Any) -> Written:
    return read_reply(value if isinstance(value, bytes) else json.dumps(value).encode())


@pytest.mark.parametrize(
    "value",
    [
        completion(
            TEXT, service_tier="flex-2", created="yesterday", id=None, model=["a"], system_fingerprint=5
        ),
        completion(TEXT, "eos_token"),
        completion(TEXT, "eos"),
        completion(TEXT, "end"),
        completion(TEXT, "COMPLETE"),
        completion(TEXT, "stop_sequence"),
        completion(TEXT, "xyz"),
        completion(TEXT, ""),
        completion(TEXT, None),
        completion(TEXT, {"type": "stop"}),
        completion(TEXT, None, stop_reason="end_turn"),
        completion({"content": TEXT, "role": None, "tool_calls": [], "annotations": 3, "audio": ""}),
        completion({"content": [{"type": "text", "text": TEXT[:9]}, {"type": "text", "text": TEXT[9:]}]}),
        completion({"content": {"type": "text", "text": TEXT}}),
        completion(TEXT, error=None),
        completion(TEXT, error={"code": 0, "message": ""}),
        completion(TEXT, usage=[1], prompt_logprobs=float("nan")),
        completion(TEXT, usage={"prompt_tokens": "many", "completion_tokens": -4, "total_tokens": 1e300}),
        {"choices": [{"text": TEXT}]},
        {"choices": [{"message": TEXT}]},
        {"choices": [{"message": {"content": ""}}, {"message": {"content": TEXT}}]},
        {"code": 200, "message": "success", "data": completion(TEXT)},
        b"\xef\xbb\xbf\n\n  " + json.dumps(completion(TEXT)).encode(),
        json.dumps(completion(TEXT)).replace("\\n", "\n").encode(),
        ": working\n\n"
        f"data: {json.dumps({'choices': [{'delta': {'role': 'assistant', 'content': TEXT[:30]}}]})}\n\n"
        f"data: {json.dumps({'choices': [{'delta': {'content': TEXT[30:]}}]})}\n\ndata: [DONE]\n".encode(),
    ],
)
def test_the_text_is_read_whatever_the_other_fields_are(value):
    assert read(value) == Written(TEXT, "stop", 0, 0)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(
    st.dictionaries(
        st.sampled_from(
            ["id", "object", "created", "model", "usage", "service_tier", "system_fingerprint", "x"]
        ),
        JSON,
    )
)
@settings(max_examples=200)
def test_unneeded_fields_of_any_value_do_not_spoil_an_answer(beside):
    assert read({**completion(TEXT), **beside}).text == TEXT


@given(
    JSON
    | st.fixed_dictionaries(
        {}, optional=dict.fromkeys(("choices", "error", "errors", "message", "detail", "data"), JSON)
    )
)
@settings(max_examples=400)
def test_every_reply_is_an_answer_an_error_or_unreadable(value):
    try:
        written = read(value)
    except (ServerError, ValueError) as error:
        told = str(error)
    else:
        told = written.text or written.thinking or written.finish != "stop" or written.tokens
    assert told
    assert read_failure(400, json.dumps(value).encode()).words


@pytest.mark.parametrize(
    "message",
    [
        {"content": TEXT, "reasoning_content": "Count."},
        {"content": TEXT, "reasoning": "Count.", "reasoning_content": None},
        {"content": TEXT, "reasoning_details": [{"type": "reasoning.text", "text": "Count."}]},
        {"content": TEXT, "thinking": "Count."},
        {
            "content": [
                {"type": "thinking", "thinking": [{"type": "text", "text": "Count."}]},
                {"type": "text", "text": TEXT},
            ]
        },
        {
            "content": [
                {"type": "thinking", "thinking": "Count.", "signature": "s"},
                {"type": "text", "text": TEXT},
            ]
        },
    ],
)
def test_thinking_in_its_own_field_stays_separate(message):
    assert read(completion(message)) == Written(TEXT, "stop", 0, 0, "Count.")


def test_a_stream_separates_thinking_from_text_and_a_cut_stream_is_unreadable():
    pieces = [
        {"delta": {"reasoning_content": "Co"}},
        {"delta": {"reasoning_content": "unt."}},
        {"delta": {"content": TEXT}},
    ]
    events = "".join(f"data: {json.dumps({'choices': [piece]})}\n\n" for piece in pieces)
    last = {
        "choices": [{"delta": {}, "finish_reason": "length"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4},
    }
    assert read(f"{events}data: {json.dumps(last)}\n".encode()) == Written(TEXT, "length", 3, 4, "Count.")
    with pytest.raises(ValueError, match="breaks off"):
        read(events.encode())


@pytest.mark.parametrize(
    "finish",
    [
        "length",
        "max_tokens",
        "MAX_TOKENS",
        "model_length",
        "max_output_tokens",
        "model_context_window_exceeded",
        "limit",
        {"type": "length", "length": 512},
    ],
)
def test_every_name_for_the_length_limit_is_recognised(finish):
    assert read(completion(TEXT, finish)).finish == "length"


INTERRUPTED = [
    "error",
    "abort",
    "cancelled",
    "timeout",
    "incomplete",
    "truncated",
    "insufficient_system_resource",
    "pause_turn",
    "MALFORMED_FUNCTION_CALL",
    {"type": "abort", "message": "gone"},
]


@pytest.mark.parametrize("finish", INTERRUPTED)
def test_an_interrupted_answer_is_not_complete(finish):
    half = [
        completion("7 trays hold 3", finish),
        completion("7 trays hold 3", None, stop_reason=finish),
        {"choices": [{"message": {"content": "7 trays hold 3", "finish_reason": finish}}]},
        stream({"choices": [{"delta": {"content": "7 trays"}}]}, {"choices": [{"finish_reason": finish}]}),
        stream({"choices": [{"delta": {"content": "7 trays"}}]}, {"choices": [{"stop_reason": finish}]}),
    ]
    for value in half:
        with pytest.raises((ServerError, ValueError), match="the answer is incomplete") as caught:
            read(value)
        temporary = finish in ("timeout", "insufficient_system_resource")
        assert isinstance(caught.value, ServerError) == temporary
        assert not temporary or caught.value.again  # type: ignore[union-attr]


@pytest.mark.parametrize(("finish", "ended"), [(None, "length"), ("incomplete", "length"), ("eos", "stop")])
def test_an_answer_of_as_many_tokens_as_the_limit_is_cut_off_unless_it_ended(finish, ended):
    full = json.dumps(completion(TEXT, finish, usage={"completion_tokens": 40})).encode()
    assert read_reply(full, 40).finish == ended
    if finish != "incomplete":
        assert read_reply(full, 41).finish == "stop"


def stream(*chunks: dict[str, Any], last: str = "data: [DONE]\n") -> bytes:
    return ("".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + last).encode()


@pytest.mark.parametrize(
    "end",
    [
        'data: {"error": {"message": "engine stopped"}}',
        'data: {"error": "engine stopped"}',
        'data: {"code": 500, "message": "engine stopped"}',
        'data: {"choices": [{"delta": {}, "error": {"message": "engine stopped"}}]}',
        'event: error\ndata: {"message": "engine stopped"}',
        'event: error\ndata: {"error": {"message": "engine stopped"}}',
        "event: error\ndata: engine stopped",
        'error: {"message": "engine stopped"}',
    ],
)
def test_an_error_in_a_stream_spoils_its_answer(end):
    with pytest.raises(ServerError, match="engine stopped"):
        read(stream({"choices": [{"delta": {"content": TEXT}}]}, last=f"{end}\n\ndata: [DONE]\n"))


def test_a_stream_names_its_length_limit_in_any_field():
    for name in ("finish_reason", "stop_reason", "done_reason"):
        last = {"choices": [{"delta": {}, name: "length"}]}
        assert read(stream({"choices": [{"delta": {"content": TEXT}}]}, last)).finish == "length"


@pytest.mark.parametrize(
    "finish", ["content_filter", "SAFETY", "PROHIBITED_CONTENT", "refusal", "guardrail_intervened"]
)
def test_every_name_for_a_content_filter_is_a_refusal(finish):
    assert read(completion("", finish)).finish == "refused"


@pytest.mark.parametrize(
    ("value", "words", "again"),
    [
        ({"error": {"message": "wait a bit", "code": 429}}, "wait a bit", True),
        ({"error": {"message": "wait a bit", "code": "rate_limit_exceeded"}}, "wait a bit", True),
        ([{"error": {"code": 503, "message": "no worker", "status": "UNAVAILABLE"}}], "no worker", True),
        ({"error": "upstream timed out"}, "upstream timed out", True),
        ({"error": {"message": "no money", "code": "insufficient_quota", "status": 429}}, "no money", False),
        ({"error": {"message": "no field top_q", "type": "invalid_request_error"}}, "no field top_q", False),
        ({"error": True, "message": "out of memory"}, "out of memory", None),
        ({"detail": "worker died"}, "worker died", None),
        (
            {"base_resp": {"status_code": 1002, "status_msg": "too many requests"}, "choices": None},
            "too many requests",
            True,
        ),
        ({"errors": [{"message": "a"}, {"message": "b"}]}, "a; b", None),
        ({"error": {"code": 500}}, "500", True),
    ],
)
def test_an_error_with_http_200_keeps_its_words_and_says_whether_to_try_again(value, words, again):
    with pytest.raises(ServerError) as caught:
        read(value)
    assert (caught.value.words, caught.value.again) == (words, again)


@pytest.mark.parametrize(
    ("beside", "words", "again"),
    [
        ({"error": "engine stopped: connection reset"}, "engine stopped: connection reset", True),
        ({"error": {"message": "engine stopped"}}, "engine stopped", None),
        ({"error": {"message": "engine stopped", "code": ""}}, "engine stopped", None),
        ({"error": {"message": "engine stopped", "code": 0}}, "engine stopped", None),
        ({"error": {"detail": "engine stopped"}}, "engine stopped", None),
        ({"error": {"why": "engine stopped"}}, "{'why': 'engine stopped'}", None),
        ({"error": ["engine stopped"]}, "engine stopped", None),
        ({"errors": [{"message": "slow down", "code": 429}]}, "slow down", True),
        ({"error": True, "message": "engine stopped"}, "engine stopped", None),
        ({"error": "engine stopped", "status": 502}, "engine stopped", True),
        ({"code": 500, "msg": "engine stopped"}, "engine stopped", True),
        ({"status_code": "503"}, "503", True),
        ({"code": "EngineStopped", "message": "no card"}, "no card", None),
        ({"base_resp": {"status_code": 1013, "status_msg": "engine stopped"}}, "engine stopped", None),
        ({"success": False, "message": "engine stopped"}, "engine stopped", None),
        ({"object": "error", "message": "engine stopped"}, "engine stopped", None),
        ({"status": "failed"}, "failed", None),
    ],
)
def test_an_error_beside_half_an_answer_is_an_error(beside, words, again):
    half = completion("7 trays hold 3")
    choice = {**half["choices"][0], **beside}
    message = {**half["choices"][0]["message"], **beside}
    replies = [{**half, **beside}, {"choices": [choice]}, completion(message), {"data": half, **beside}]
    for value in replies:
        with pytest.raises(ServerError) as caught:
            read(value)
        assert (caught.value.words, caught.value.again) == (words, again)


@pytest.mark.parametrize(
    "beside",
    [
        {"error": "", "errors": [], "success": True},
        {"error": {"code": "", "message": "", "type": None, "param": None}},
        {"error": {"code": "0", "message": "Success."}},
        {"error": "none"},
        {"error": False, "message": "a note"},
        {"code": 0, "message": "fine by us"},
        {"code": 20000, "msg": "ok"},
        {"code": "", "message": ""},
        {"status": "completed", "message": "a note"},
        {"status": 200, "message": "a note"},
        {"base_resp": {"status_code": 0, "status_msg": ""}},
    ],
)
def test_a_success_in_a_field_for_errors_does_not_spoil_an_answer(beside):
    assert read({**completion(TEXT), **beside}).text == TEXT
    assert read({"data": completion(TEXT), **beside}).text == TEXT


@pytest.mark.parametrize(
    ("status", "content", "words", "again"),
    [
        (
            502,
            b"<html><head><title>502</title></head><body><h1>the proxy is sad</h1></body></html>",
            "502: the proxy is sad",
            True,
        ),
        (
            422,
            b'{"detail": [{"loc": ["body", "seed"], "msg": "not permitted"}]}',
            "body.seed: not permitted",
            False,
        ),
        (400, b"plain words \xff", "plain words \ufffd", False),
        (400, b"", "empty reply", False),
        (400, b'{"error": "\\ud83d half"}', "? half", False),
    ],
)
def test_a_failure_keeps_the_words_of_the_server(status, content, words, again):
    failure = read_failure(status, content)
    assert (failure.said, failure.again) == (f"HTTP {status}: {words}", again)
