"""Finds the error in a server's reply. No network.

Servers report errors in many forms: with HTTP 200, as an object, a sentence or a web page. The error keeps
the server's own words.
"""

import re
from dataclasses import dataclass
from typing import Any

SHOWN_CHARS = 300
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
_NEVER = re.compile(
    r"insufficient_quota|invalid.?request|bad.?request|context.?length|not.?found|billing", re.IGNORECASE
)
_LATER = re.compile(
    r"rate.?limit|too.?many|overload|unavailable|try again|time[d ]?.?out|temporar|busy|exhausted|capacity"
    r"|throttl|server_?error|internal.{0,8}error|bad gateway|loading",
    re.IGNORECASE,
)
_FILTERED = re.compile(r"content_?filter|responsible_?ai", re.IGNORECASE)
_STATUS_AGAIN = (408, 409, 424, 425, 429)
_FINE = ("", "0", "200", "ok", "success")


@dataclass(eq=False)
class ServerError(Exception):
    """What a server said instead of an answer."""

    said: str
    """The message with its origin, for the row's `detail`."""
    words: str = ""
    """The message in the server's own words."""
    status: int | None = None
    """HTTP status, from the reply or from its body."""
    again: bool | None = False
    """Whether the same request may succeed later. None if the reply does not tell."""
    field: str = ""
    """The part of the request that the server names."""
    refuses: bool = False
    """Whether a content filter of the server refuses the question."""
    pause_s: float | None = None
    """Seconds that the server asks to wait."""

    def __str__(self) -> str:
        return self.said


def error_in(value: dict[str, Any], has_choices: bool) -> ServerError | None:
    """The error in a reply with HTTP 200, or None.

    If the reply has choices, only `error` and `errors` count.
    """
    error = (
        next((value[key] for key in ("error", "errors") if value.get(key)), None)
        if has_choices
        else _find_error(value)
    )
    code = _code_of(error)
    words = one_line(words_of(error)) or (code if isinstance(value.get("error"), dict) else "")
    if not words or (has_choices and code in _FINE):
        return None
    number = re.match(r"[1-5]\d\d\b", code)
    return _make_error(
        f"error in the answer: {f'{number[0]}: ' if number else ''}",
        words,
        int(number[0]) if number else None,
        error,
    )


def http_error(status: int, value: Any) -> ServerError:
    """The error in a reply with an HTTP status other than 200; `value` is its parsed JSON or its text."""
    error = _find_error(value)
    words = one_line(words_of(error) or words_of(value)) or "empty reply"
    return _make_error(f"HTTP {status}: ", words, status, error)


def _make_error(prefix: str, words: str, status: int | None, error: Any) -> ServerError:
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
    """The part of a reply that describes an error; the reply itself if no part is named so."""
    if isinstance(value, list):
        return _find_error(value[0]) if value else value
    if not isinstance(value, dict):
        return value
    named = (value.get(key) for key in ("error", "errors", "fault", "base_resp"))
    found = next((one for one in named if one and isinstance(one, dict | list | str)), value)
    if isinstance(found, str):  # `{"error": "invalid_request", "message": "..."}`: the longer text says more
        return {
            **value,
            "message": max(
                (text for text in (found, value.get("message")) if isinstance(text, str)), key=len
            ),
        }
    return found


def _code_of(error: Any) -> str:
    """All codes of an error in one text, numbers first."""
    codes = (
        [str(error[key]) for key in _CODES if error.get(key) is not None] if isinstance(error, dict) else []
    )
    return " ".join(sorted(codes, key=lambda code: not code.isdigit())).lower()


def words_of(value: Any) -> str:
    """The text of an error, whatever its form."""
    if isinstance(value, str):
        value = value[:20_000]
        title = re.search(r"<title[^>]*>(.*?)</title>", value, re.IGNORECASE | re.DOTALL)
        bare = re.sub(
            r"<(?:style|script|title)\b.*?</\w+>|<[^<>]*>", " ", value, flags=re.IGNORECASE | re.DOTALL
        )
        return f"{title[1]}: {bare}" if title else bare
    if isinstance(value, list):
        return "; ".join(filter(None, map(words_of, value)))
    if not isinstance(value, dict):
        return ""
    said = next((words for key in _WORDS if (words := words_of(value.get(key)))), "")
    place = value.get("loc")
    raw = value["metadata"].get("raw") if isinstance(value.get("metadata"), dict) else None
    return ": ".join(
        filter(None, (".".join(map(str, place)) if isinstance(place, list) else "", said, words_of(raw)))
    )


def one_line(text: str) -> str:
    return " ".join(text.encode(errors="replace").decode().split())[:SHOWN_CHARS]
