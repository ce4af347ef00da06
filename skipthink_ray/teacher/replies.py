"""Reads a server's reply: an answer, an error, or something unreadable. No network.

Servers follow OpenAI's format loosely. This module reads only the text, the thinking, the finish reason and
the token counts, and ignores every other field. `server_errors.py` finds the errors. An answer counts as
complete unless its finish reason says otherwise, because servers have many names for a normal end.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from skipthink_ray.teacher.requests import Finish, Written
from skipthink_ray.teacher.server_errors import (
    ServerError,
    error_in,
    http_error,
    is_temporary,
    one_line,
    without_key,
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
_FINISHES = ("finish_reason", "finishReason", "stop_reason", "done_reason")
_LENGTH = re.compile(
    r"length|max_?(?:output_?|new_?|completion_?)?tokens|token_?limit|context_window|error_limit|\Alimit\Z",
    re.IGNORECASE,
)
_REFUSED = re.compile(
    r"content_?filter|safety|prohibited|recitation|blocklist|refus|spii|guardrail|sensitive|responsible_?ai"
    r"|toxic",
    re.IGNORECASE,
)
_INTERRUPTED = re.compile(
    r"error|exception|abort|cancel|time[_ -]?d?[_ -]?out|time_?limit|max_?time|incomplete|unfinished"
    r"|partial|truncat|interrupt|pause|resource|overload|unavailable|exhaust|fail|crash|disconnect|connection|kill|evict"
    r"|pre-?empt|malformed",
    re.IGNORECASE,
)
"""Finish reasons of an answer that is not complete, for another reason than its length."""
_LARGEST = 2**53


def read_reply(content: bytes, limit: int | None = None, key: str = "") -> Written:
    """The answer in a reply with HTTP 200.

    Raises ServerError if the reply is an error, and ValueError if it is neither a complete answer nor an
    error.

    limit: the length limit that the request named, in tokens.
    key: the API key. No message of an error shows it.
    """
    whole = _parse(content, key)
    whole = whole[0] if isinstance(whole, list) and whole and isinstance(whole[0], dict) else whole
    _raise_for_error(without_key(whole, key))
    value = _unwrapped(whole)
    choices = _choices(value)
    answers = [_written(choice, value, limit) for choice in choices]
    at = next((at for at, one in enumerate(answers) if one.text), 0)
    answer = answers[at]
    if answer.finish == "stop":
        _raise_for_interruption(without_key(_ended(choices[at], _message(choices[at]), value), key))
    if answer.text or answer.finish == "refused":
        return answer
    for choice in choices:
        _raise_for_tool(without_key(choice, key))
    if not (answer.thinking or answer.finish == "length" or answer.tokens):
        raise ValueError("the text is empty")
    return answer


def read_failure(status: int, content: bytes, key: str = "") -> ServerError:
    """The error in a reply with another HTTP status. Its texts do not show `key`, the API key."""
    try:
        value = _parse(content, key)
    except (ValueError, RecursionError):
        value = content.decode(errors="replace")
    return http_error(status, without_key(value, key))


def _raise_for_error(whole: Any) -> None:
    """Raises ServerError for an error, and ValueError for a reply that is neither an error nor an answer."""
    if not isinstance(whole, dict):
        raise ValueError(f"not a chat completion: {_shown(whole)}")
    value = _unwrapped(whole)
    choices = _choices(value)
    for part in (whole, value, *choices, *map(_message, choices)):
        if error := error_in(part, has_choices=bool(choices)):
            raise error
    if not choices:
        raise ValueError(f"not a chat completion: {_shown(value)}")


def _unwrapped(value: Any) -> dict[str, Any]:
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


def _written(choice: dict[str, Any], value: dict[str, Any], limit: int | None) -> Written:
    message = _message(choice)
    text, thinking = _parts(message.get("content"))
    thinking = next(
        (plain for key in _THOUGHTS if (plain := _plain(message.get(key)).strip())), thinking.strip()
    )
    refusal = _plain(message.get("refusal")).strip()
    text = text.strip() or refusal
    (text + thinking).encode()  # a lone surrogate cannot be stored, so it raises here
    usage = value.get("usage")
    counts = usage if isinstance(usage, dict) else {}
    asked, tokens = (
        _count(counts, "prompt_tokens", "input_tokens"),
        _count(counts, "completion_tokens", "output_tokens"),
    )
    finish = "refused" if refusal else _finish(_ended(choice, message, value), tokens, limit)
    return Written(text, finish, asked, tokens, thinking)


def _ended(*holders: dict[str, Any]) -> str:
    """The first finish reason that one of them names; an empty text if none does."""
    for holder in holders:
        for reason in (holder.get(key) for key in _FINISHES):
            if isinstance(reason, dict):  # SGLang's own form: {"type": "length", "length": 512}
                reason = reason.get("type") or reason.get("reason") or reason
            if reason:
                return str(reason)
    return ""


def _finish(ended: str, tokens: int, limit: int | None) -> Finish:
    if _REFUSED.search(ended):
        return "refused"
    full = limit is not None and tokens >= limit and (not ended or _INTERRUPTED.search(ended))
    return "length" if full or _LENGTH.search(ended) else "stop"


def _raise_for_interruption(ended: str) -> None:
    """Raises ServerError if the interruption may pass, else ValueError."""
    if not _INTERRUPTED.search(ended):
        return
    said = f"the answer is incomplete, with the finish reason '{one_line(ended)}'"
    if is_temporary(ended):
        raise ServerError(said, one_line(ended), again=True)
    raise ValueError(said)


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


def _parse(content: bytes, key: str) -> Any:
    """The JSON of a reply.

    A stream of events becomes one answer. Raises ValueError with the text of anything else, without `key`.
    """
    text = content.decode("utf-8-sig").strip()
    try:
        return json.loads(text, strict=False)
    except ValueError:
        if chunks := list(_events(text)):
            return _joined(chunks, whole="[DONE]" in text)
        raise ValueError(
            f"not a chat completion: {one_line(words_of(without_key(text, key)))[:120]!a}"
        ) from None


def _events(text: str) -> Iterator[dict[str, Any]]:
    """The objects of an event stream (`data: {...}`) or of JSON Lines. An error event becomes `error`."""
    event = ""
    for line in text.splitlines():
        field, _, rest = line.partition(":")
        if field == "event" or not line.strip():
            event = rest.strip()
            continue
        failed = event == "error" or field == "error"
        try:
            value = json.loads(rest if field in ("data", "error") else line, strict=False)
        except ValueError:
            value = rest.strip() if event == "error" and field == "data" else None
        if failed and value and value != "[DONE]":
            yield value if isinstance(value, dict) and value.get("error") else {"error": value}
        elif isinstance(value, dict):
            yield value


def _joined(chunks: list[dict[str, Any]], whole: bool) -> dict[str, Any]:
    """Join the pieces of a streamed answer into one completion. An error among them replaces the whole reply.

    Raises ValueError if the end of the stream is missing.
    """
    message: dict[str, Any] = {}
    ended, usage = "", None
    for chunk in chunks:
        choices = _choices(chunk)[:1]
        if any(error_in(part, has_choices=True) for part in (chunk, *choices)):
            return chunk
        usage = chunk.get("usage") or usage
        for choice in choices:
            piece = choice.get("delta") or choice.get("message")
            piece = piece if isinstance(piece, dict) else {"content": piece or choice.get("text")}
            for key in ("content", "refusal", *_THOUGHTS):
                if plain := _plain(piece.get(key)):
                    message[key] = message.get(key, "") + plain
        ended = (_ended(*choices, chunk) if choices else "") or ended
    if not (message or ended):
        return chunks[-1]
    if not (ended or whole):
        raise ValueError("the stream breaks off")
    return {"choices": [{"message": message, "finish_reason": ended}], "usage": usage}


def _shown(value: Any) -> str:
    return f"{str(value)[:120]!a}"
