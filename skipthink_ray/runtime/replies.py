"""Reads a server's reply: an answer, an error, or something unreadable. No network.

Servers follow OpenAI's format loosely. This module reads only the text, the thinking, the finish reason and
the token counts, and ignores every other field. `server_errors.py` finds the errors.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from skipthink_ray.models.teacher import Finish, Written
from skipthink_ray.runtime.server_errors import (
    ServerError,
    error_in,
    http_error,
    one_line,
    words_of,
)

_THOUGHTS = (
    "reasoning_content",
    "reasoning",
    "thinking",
    "reasoning_text",
    "thoughts",
    "thought",
    "reasoning_details",
    "thinking_blocks",
)
_INSIDE = ("text", "content", "summary", *_THOUGHTS)
_FINISHES = ("finish_reason", "stop_reason", "done_reason")
_LENGTH = re.compile(
    r"length|max_?(?:output_?|new_?|completion_?)?tokens|token_?limit|context_window", re.IGNORECASE
)
_REFUSED = re.compile(
    r"content_?filter|safety|prohibited|recitation|blocklist|refus|spii|guardrail|sensitive|responsible_?ai",
    re.IGNORECASE,
)
_LARGEST = 2**53


def read_reply(content: bytes) -> Written:
    """The answer in a reply with HTTP 200.

    Raises ServerError if the reply is an error, and ValueError if it is neither an answer nor an error.
    """
    whole = _parse(content)
    whole = whole[0] if isinstance(whole, list) and whole and isinstance(whole[0], dict) else whole
    if not isinstance(whole, dict):
        raise ValueError(f"not a chat completion: {_shown(whole)}")
    value = _unwrapped(whole)
    choices = _choices(value)
    parts = [whole, *([value] if value is not whole else []), *choices, *map(_message, choices)]
    for part in parts:
        if error := error_in(part, has_choices=bool(choices)):
            raise error
    if not choices:
        raise ValueError(f"not a chat completion: {_shown(value)}")
    answers = [_written(choice, value.get("usage")) for choice in choices]
    answer = next((one for one in answers if one.text), answers[0])
    if answer.text or answer.finish == "refused":
        return answer
    for choice in choices:
        _raise_for_tool(choice)
    if not (answer.thinking or answer.finish == "length" or answer.tokens):
        raise ValueError("the text is empty")
    return answer


def read_failure(status: int, content: bytes) -> ServerError:
    """The error in a reply with another HTTP status."""
    try:
        value = _parse(content)
    except (ValueError, RecursionError):
        value = content.decode(errors="replace")
    return http_error(status, value)


def _unwrapped(value: dict[str, Any]) -> dict[str, Any]:
    """The completion in a reply. Some gateways wrap it."""
    if value.get("choices"):
        return value
    inside = (value.get(key) for key in ("data", "result", "response", "output"))
    return next((one for one in inside if isinstance(one, dict) and one.get("choices")), value)


def _choices(value: dict[str, Any]) -> list[dict[str, Any]]:
    listed = value.get("choices")
    return [choice for choice in listed if isinstance(choice, dict)] if isinstance(listed, list) else []


def _message(choice: dict[str, Any]) -> dict[str, Any]:
    message = choice.get("message", choice.get("delta"))
    return message if isinstance(message, dict) else {"content": message or choice.get("text")}


def _written(choice: dict[str, Any], usage: Any) -> Written:
    message = _message(choice)
    text, thinking = _parts(message.get("content"))
    thinking = next(
        (plain for key in _THOUGHTS if (plain := _plain(message.get(key)).strip())), thinking.strip()
    )
    refusal = _plain(message.get("refusal")).strip()
    text = text.strip() or refusal
    (text + thinking).encode()  # a lone surrogate cannot be stored, so it raises here
    ended = next((str(choice[key]) for key in _FINISHES if choice.get(key)), "")
    finish: Finish = (
        "refused" if refusal or _REFUSED.search(ended) else "length" if _LENGTH.search(ended) else "stop"
    )
    counts = usage if isinstance(usage, dict) else {}
    asked, written = (
        _count(counts, "prompt_tokens", "input_tokens"),
        _count(counts, "completion_tokens", "output_tokens"),
    )
    return Written(text, finish, asked, written, thinking)


def _parts(content: Any) -> tuple[str, str]:
    """Text and thinking of a message's content, which is a text or a list of parts."""
    if not isinstance(content, list):
        return _plain(content), ""
    text, thinking = "", ""
    for part in content:
        kind = str(part.get("type")) if isinstance(part, dict) else "text"
        if any(word in kind for word in ("think", "reason", "thought")):
            thinking += _plain(part)
        else:
            text += _plain(part)
    return text, thinking


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return "".join(map(_plain, value))
    if isinstance(value, dict):
        return next((plain for key in _INSIDE if (plain := _plain(value.get(key)))), "")
    return value if isinstance(value, str) else ""


def _count(usage: dict[str, Any], *names: str) -> int:
    """A number of tokens; 0 if it is missing or invalid."""
    value = next((usage[name] for name in names if usage.get(name) is not None), 0)
    try:
        number = float(value)
    except (TypeError, ValueError):
        return 0
    return int(number) if 0 <= number < _LARGEST else 0


def _raise_for_tool(choice: dict[str, Any]) -> None:
    message = choice.get("message")
    calls = (message.get("tool_calls") or message.get("function_call")) if isinstance(message, dict) else None
    if calls:
        first = calls[0] if isinstance(calls, list) else calls
        function = first.get("function", first) if isinstance(first, dict) else {}
        name = function.get("name") if isinstance(function, dict) else None
        raise ServerError(f"the teacher calls the tool '{name}' instead of writing an answer")


def _parse(content: bytes) -> Any:
    """The JSON of a reply.

    A stream of events becomes one answer. Raises ValueError with the text of anything else.
    """
    text = content.decode("utf-8-sig").strip()
    try:
        return json.loads(text, strict=False)
    except ValueError:
        if chunks := list(_events(text)):
            return _joined(chunks, whole="[DONE]" in text)
        raise ValueError(f"not a chat completion: {one_line(words_of(text))[:120]!a}") from None


def _events(text: str) -> Iterator[dict[str, Any]]:
    """The objects of an event stream (`data: {...}`) or of JSON Lines."""
    for line in text.splitlines():
        try:
            value = json.loads(line.removeprefix("data:"), strict=False)
        except ValueError:
            continue
        if isinstance(value, dict):
            yield value


def _joined(chunks: list[dict[str, Any]], whole: bool) -> dict[str, Any]:
    """Join the pieces of a streamed answer into one completion. An error among them replaces the whole reply.

    Raises ValueError if the end of the stream is missing.
    """
    message: dict[str, Any] = {}
    ended, usage = None, None
    for chunk in chunks:
        if chunk.get("error") or chunk.get("object") == "error":
            return chunk
        usage = chunk.get("usage") or usage
        listed = chunk.get("choices")
        for choice in (
            listed[:1] if isinstance(listed, list) and isinstance(listed[0] if listed else None, dict) else []
        ):
            piece = choice.get("delta") or choice.get("message")
            piece = piece if isinstance(piece, dict) else {"content": piece or choice.get("text")}
            for key in ("content", "refusal", *_THOUGHTS):
                if plain := _plain(piece.get(key)):
                    message[key] = message.get(key, "") + plain
            ended = choice.get("finish_reason") or ended
    if not message:
        return chunks[-1]
    if not (ended or whole):
        raise ValueError("the stream breaks off")
    return {"choices": [{"message": message, "finish_reason": ended}], "usage": usage}


def _shown(value: Any) -> str:
    return f"{str(value)[:120]!a}"
