"""What a server's reply says: an answer, an error in whatever clothes, or nothing that makes sense. No network.

Servers are almost OpenAI's. Of an answer only the text, the thinking and why it ended are needed; whatever else is missing
or odd is not looked at. An error may come with HTTP 200, as an object, a sentence or a web page; its own words are kept.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from skipthink_ray.models.teacher import Finish, Written

SHOWN_CHARS = 300
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
_WORDS = (
    "message",
    "msg",
    "error",
    "detail",
    "error_message",
    "error_msg",
    "status_msg",
    "description",
    "title",
    "reason",
)
_CODES = ("code", "status", "status_code", "error_code", "http_status", "type", "error_type")
_FINISHES = ("finish_reason", "stop_reason", "done_reason")
_LENGTH = re.compile(
    r"length|max_?(?:output_?|new_?|completion_?)?tokens|token_?limit|context_window", re.IGNORECASE
)
_REFUSED = re.compile(
    r"content_?filter|safety|prohibited|recitation|blocklist|refus|spii|guardrail|sensitive|responsible_?ai",
    re.IGNORECASE,
)
_NEVER = re.compile(
    r"insufficient_quota|invalid.?request|bad.?request|context.?length|not.?found|billing", re.IGNORECASE
)
_LATER = re.compile(
    r"rate.?limit|too.?many|overload|unavailable|try again|time[d ]?.?out|temporar|busy|exhausted|capacity|throttl"
    r"|server_?error|internal.{0,8}error|bad gateway|loading",
    re.IGNORECASE,
)
_FILTERED = re.compile(r"content_?filter|responsible_?ai", re.IGNORECASE)
_STATUS_AGAIN = (408, 409, 424, 425, 429)
_FINE = ("", "0", "200", "ok", "success")
_LARGEST = 2**53


@dataclass(eq=False)
class ServerError(Exception):
    """What a server said instead of an answer."""

    said: str
    """Where and what, for the row's `detail`."""
    words: str = ""
    """The server's own."""
    status: int | None = None
    """HTTP status, of the reply or in its body."""
    again: bool | None = False
    """Whether the same request may succeed later; None: nobody knows."""
    field: str = ""
    """The part of the request that the server names."""
    refuses: bool = False
    """A filter of the server refuses what is asked."""
    pause_s: float | None = None
    """How long the server asks to wait."""

    def __str__(self) -> str:
        return self.said


def read_reply(content: bytes) -> Written:
    """The answer of a reply with HTTP 200. ServerError for an error; ValueError for what is neither an answer nor an error."""
    value = _parse(content)
    value = value[0] if isinstance(value, list) and value and isinstance(value[0], dict) else value
    if isinstance(value, dict) and not value.get("choices"):  # some gateways wrap what they pass on
        inside = (value.get(key) for key in ("data", "result", "response", "output"))
        value = next((one for one in inside if isinstance(one, dict) and one.get("choices")), value)
    if not isinstance(value, dict):
        raise ValueError(f"no chat completion: {_shown(value)}")
    listed = value.get("choices")
    choices = [choice for choice in listed if isinstance(choice, dict)] if isinstance(listed, list) else []
    for part in (value, *choices):
        if error := _error_in(part, has_choices=bool(choices)):
            raise error
    if not choices:
        raise ValueError(f"no chat completion: {_shown(value)}")
    answers = [_written(choice, value.get("usage")) for choice in choices]
    answer = next((one for one in answers if one.text), answers[0])
    if answer.text or answer.finish == "refused":
        return answer
    for choice in choices:
        _raise_for_tool(choice)
    if not (answer.thinking or answer.finish == "length" or answer.tokens):
        raise ValueError("an empty text")
    return answer


def read_failure(status: int, content: bytes) -> ServerError:
    """The error of a reply with another HTTP status."""
    try:
        value = _parse(content)
    except (ValueError, RecursionError):
        value = content.decode(errors="replace")
    error = _find_error(value)
    words = _one_line(_words_of(error) or _words_of(value)) or "without a word"
    return _error(f"HTTP {status}: ", words, status, error)


def _error_in(value: dict[str, Any], has_choices: bool) -> ServerError | None:
    """The error that a reply with HTTP 200 holds. Beside an answer only what is called an error is one."""
    error = (
        next((value[key] for key in ("error", "errors") if value.get(key)), None)
        if has_choices
        else _find_error(value)
    )
    code = _code_of(error)
    words = _one_line(_words_of(error)) or (code if isinstance(value.get("error"), dict) else "")
    if not words or (has_choices and code in _FINE):
        return None
    number = re.match(r"[1-5]\d\d\b", code)
    return _error(
        f"error in the answer: {f'{number[0]}: ' if number else ''}",
        words,
        int(number[0]) if number else None,
        error,
    )


def _error(prefix: str, words: str, status: int | None, error: Any) -> ServerError:
    told = f"{_code_of(error)} {words}"
    again: bool | None = (
        status in _STATUS_AGAIN or status >= 500 if status else bool(_LATER.search(told)) or None
    )
    if "insufficient_quota" in told or (
        status not in _STATUS_AGAIN and _NEVER.search(_code_of(error) if status else told)
    ):
        again = False
    field = str(error.get("param") or "") if isinstance(error, dict) else ""
    return ServerError(
        prefix + words, words, status, again, field, refuses=bool(_FILTERED.search(_code_of(error)))
    )


def _find_error(value: Any) -> Any:
    """The part of a reply that is about an error; the reply itself if none is named."""
    if isinstance(value, list):
        return _find_error(value[0]) if value else value
    if not isinstance(value, dict):
        return value
    named = (value.get(key) for key in ("error", "errors", "fault", "base_resp"))
    found = next((one for one in named if one and isinstance(one, dict | list | str)), value)
    if isinstance(found, str):  # `{"error": "invalid_request", "message": "..."}`: the longer one says more
        return {
            **value,
            "message": max(
                (text for text in (found, value.get("message")) if isinstance(text, str)), key=len
            ),
        }
    return found


def _code_of(error: Any) -> str:
    """All codes of an error in one text, its number first."""
    codes = (
        [str(error[key]) for key in _CODES if error.get(key) is not None] if isinstance(error, dict) else []
    )
    return " ".join(sorted(codes, key=lambda code: not code.isdigit())).lower()


def _words_of(value: Any) -> str:
    """What an error says, in its own words."""
    if isinstance(value, str):
        value = value[:20_000]
        title = re.search(r"<title[^>]*>(.*?)</title>", value, re.IGNORECASE | re.DOTALL)
        bare = re.sub(
            r"<(?:style|script|title)\b.*?</\w+>|<[^<>]*>", " ", value, flags=re.IGNORECASE | re.DOTALL
        )
        return f"{title[1]}: {bare}" if title else bare
    if isinstance(value, list):
        return "; ".join(filter(None, map(_words_of, value)))
    if not isinstance(value, dict):
        return ""
    said = next((words for key in _WORDS if (words := _words_of(value.get(key)))), "")
    place = value.get("loc")
    raw = value["metadata"].get("raw") if isinstance(value.get("metadata"), dict) else None
    return ": ".join(
        filter(None, (".".join(map(str, place)) if isinstance(place, list) else "", said, _words_of(raw)))
    )


def _written(choice: dict[str, Any], usage: Any) -> Written:
    message = choice.get("message", choice.get("delta"))
    message = message if isinstance(message, dict) else {"content": message or choice.get("text")}
    text, thinking = _parts(message.get("content"))
    thinking = next(
        (plain for key in _THOUGHTS if (plain := _plain(message.get(key)).strip())), thinking.strip()
    )
    refusal = _plain(message.get("refusal")).strip()
    text = text.strip() or refusal
    (text + thinking).encode()  # half a character cannot be stored
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
    """Text and thinking of a content, which is a text or a list of parts."""
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
    """A number of tokens; 0 if it is missing or makes no sense."""
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
        raise ServerError(f"it calls the tool '{name}' instead of writing an answer")


def _parse(content: bytes) -> Any:
    """The JSON of a reply; a stream of events as one answer. ValueError for anything else, with the words of the page."""
    text = content.decode("utf-8-sig").strip()
    try:
        return json.loads(text, strict=False)
    except ValueError:
        if chunks := list(_events(text)):
            return _joined(chunks, whole="[DONE]" in text)
        raise ValueError(f"no chat completion: {_one_line(_words_of(text))[:120]!a}") from None


def _events(text: str) -> Iterator[dict[str, Any]]:
    """The objects of a stream of events (`data: {...}`), or of one object a line."""
    for line in text.splitlines():
        try:
            value = json.loads(line.removeprefix("data:"), strict=False)
        except ValueError:
            continue
        if isinstance(value, dict):
            yield value


def _joined(chunks: list[dict[str, Any]], whole: bool) -> dict[str, Any]:
    """The pieces of a streamed answer as one completion; an error among them is the whole reply. ValueError if the end is missing."""
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
        raise ValueError("a stream that breaks off")
    return {"choices": [{"message": message, "finish_reason": ended}], "usage": usage}


def _one_line(text: str) -> str:
    return " ".join(text.encode(errors="replace").decode().split())[:SHOWN_CHARS]


def _shown(value: Any) -> str:
    return f"{str(value)[:120]!a}"
