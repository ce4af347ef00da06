"""The form in which a server accepts a question, learned from its refusals.

The question itself never changes.

If a server refuses a field, a role or a limit, the request leaves it out or expresses it differently: the
system message in front of the first question, `max_completion_tokens` for `max_tokens`, a smaller limit, a
stream. Pure functions, no network.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

from skipthink_ray.config import TeacherConfig
from skipthink_ray.teacher.requests import Request
from skipthink_ray.teacher.server_errors import ServerError

STATUSES = (400, 413, 422, 500, 501)
"""HTTP statuses of a server that refuses the form of a request. Some fail in their chat template, with 500.
"""
SMALLEST_ROOM_SHARE = 1 / 8
"""The smallest share of max_tokens to accept. If the prompt leaves less room in the context, the limit stays.
"""
_ROLE = re.compile(r"\broles?\b|\bsystem (?:prompt|message|instruction)|developer instruction", re.IGNORECASE)
_LIMIT = re.compile(r"\bmax[_ ](?:\w+[_ ])?tokens\b", re.IGNORECASE)
_LIMIT_NAME = re.compile(r"\bmax_(?:completion|output|new)_tokens\b")
_AT_MOST = re.compile(
    r"""(?:at\ most|<=?|≤|(?:less|lower|smaller)\ than(?:\ or\ equal\ to)?
    |maximum(?:\ value|\ allowed)*(?:\ is|\ of)?|no\ more\ than|not\ exceed|up\ to
    |between\ \d+\ and|\[\d+,[ ]?)\D{0,20}?(\d+)""",
    re.IGNORECASE | re.VERBOSE,
)
_CONTEXT = re.compile(
    r"context (?:length|window|size)|context_length|max_model_len|prompt is too long", re.IGNORECASE
)
_CONTEXT_TOKENS = re.compile(r"context (?:length|window|size)\D{0,30}(\d+)", re.IGNORECASE)
_PROMPT_TOKENS = re.compile(
    r"(\d+) (?:input tokens|(?:tokens )?(?:in|from|of) the (?:messages|prompt|input))", re.IGNORECASE
)
_STREAM = re.compile(r"\bstream", re.IGNORECASE)
_TEMPERATURE, _SEED = re.compile("temperature", re.IGNORECASE), re.compile(r"\bseed\b", re.IGNORECASE)


@dataclass(frozen=True)
class Form:
    """The form of a request."""

    roles: Literal["all", "no system", "one"] = "all"
    """no system: the system message goes in front of the first question; one: a single user message."""
    limit_field: str | None = "max_tokens"
    limit: int | None = None
    """A smaller limit than the configured one, in tokens."""
    without: frozenset[str] = frozenset()
    """Fields that the request leaves out."""
    stream: bool = False
    for_all: bool = True
    """False if the form suits only the question it was made for."""


def fields(form: Form, teacher: TeacherConfig, request: Request, limit: int | None = None) -> dict[str, Any]:
    """The body of a request; `limit` overrides the length limit."""
    body: dict[str, Any] = {
        "model": teacher.model,
        "messages": _messages(form, request),
        "temperature": teacher.temperature,
    }
    if teacher.temperature:
        body["seed"] = request.sample
    if form.limit_field:
        body[form.limit_field] = limit or form.limit or teacher.max_tokens
    if form.stream:
        body["stream"] = True
    return {name: value for name, value in body.items() if name not in form.without}


def adapt(
    form: Form, teacher: TeacherConfig, request: Request, error: ServerError
) -> tuple[Form, str] | None:
    """Another form that may avoid this error, and the change in one line; None if there is none."""
    if error.status not in STATUSES:
        return None
    words = f"{error.field} {error.words}"
    ways: list[tuple[re.Pattern[str], Callable[[], tuple[Form, str] | None]]] = [
        (_ROLE, lambda: _other_roles(form, request)),
        (_LIMIT, lambda: _other_limit(form, teacher, words)),
        (_CONTEXT, lambda: _other_limit(form, teacher, words)),
        (_TEMPERATURE, lambda: _left_out(form, "temperature", teacher.temperature)),
        (_SEED, lambda: _left_out(form, "seed", request.sample)),
        (
            _STREAM,
            lambda: None if form.stream else (replace(form, stream=True), "answers are read as a stream"),
        ),
    ]
    named = sorted(
        (found.start(), at) for at, (pattern, _) in enumerate(ways) if (found := pattern.search(words))
    )
    for _, at in named:
        if way := ways[at][1]():
            return way[0], f'the server says "{error.words[:120]}": {way[1]}'
    return None


def _messages(form: Form, request: Request) -> list[dict[str, str]]:
    if form.roles == "all" or request.messages[0]["role"] != "system":
        listed = list(request.messages)
    else:
        system, first, *rest = request.messages
        listed = [{"role": "user", "content": f"{system['content']}\n\n{first['content']}"}, *rest]
    if form.roles == "one":
        return [{"role": "user", "content": "\n\n".join(message["content"] for message in listed)}]
    return listed


def _other_roles(form: Form, request: Request) -> tuple[Form, str] | None:
    if form.roles == "all" and request.messages[0]["role"] == "system":
        return replace(form, roles="no system"), "the instruction is put in front of the first question"
    if form.roles != "one" and len(request.messages) > 2:
        return replace(form, roles="one"), "instruction, exemplars and question are one message"
    return None


def _other_limit(form: Form, teacher: TeacherConfig, words: str) -> tuple[Form, str] | None:
    limit = form.limit or teacher.max_tokens
    if _CONTEXT.search(words):
        context, prompt = _CONTEXT_TOKENS.search(words), _PROMPT_TOKENS.search(words)
        room = int(context[1]) - int(prompt[1]) if context and prompt else 0
        if not form.limit_field or not limit * SMALLEST_ROOM_SHARE <= room < limit:
            return None
        return replace(
            form, limit=room, for_all=False
        ), f"if {limit} tokens do not fit beside a question, its limit is the room that is left"
    if form.limit_field is None:
        return None
    named = _LIMIT_NAME.search(words)
    if named and form.limit_field == "max_tokens":
        return replace(form, limit_field=named[0]), f"max_tokens is sent as {named[0]}"
    smaller = [int(number) for number in _AT_MOST.findall(words) if 0 < int(number) < limit]
    if smaller:
        return replace(
            form, limit=max(smaller)
        ), f"rationales.teacher.max_tokens = {limit} is sent as {max(smaller)}"
    return replace(form, limit_field=None), f"{form.limit_field} is left out"


def _left_out(form: Form, name: str, value: object) -> tuple[Form, str] | None:
    if name in form.without:
        return None
    return replace(
        form, without=form.without | {name}
    ), f"{name} = {value} is left out, so the server's default applies"
