"""Finds the error in a server's reply. No network.

Servers report errors in many forms: with HTTP 200, beside half an answer, as an object, a sentence or a web
page. The error keeps the server's own words.
"""

import html
import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

SHOWN_CHARS = 300
LONG_KEY = 8
"""From this length on, an API key is hidden even inside a word. Short ones may be ordinary words: EMPTY."""
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
    r"|throttl|server_?error|internal.{0,8}error|bad gateway|loading|system_?resource|disconnected"
    r"|connection (?:reset|closed|lost|aborted|error)",
    re.IGNORECASE,
)
_FILTERED = re.compile(
    r"content_?filter|responsible_?ai|content_?policy|moderation|data_?inspection", re.IGNORECASE
)
"""Codes of a content filter."""
_FLAGGED = re.compile(
    r"\b(?:input|prompt|request|message|question|text|content)s?\b(?:(?!account|key|organi[sz]ation).){0,40}\bflagged\b"
    r"|requires moderation|content (?:filter|policy|management policy)|safety (?:system|filter|policy)"
    r"|(?:put|data) (?:new_)?sensitive|inappropriate content",
    re.IGNORECASE,
)
"""Words of a content filter."""
_STATUS_FLAGGED = (None, 400, 403, 422, 451)
_STATUS_AGAIN = (408, 409, 424, 425, 429)
_FINE = re.compile(
    r"\W{0,3}(?:(?:2\d\d|0)\W{0,3})?(?:ok|okay|success|successful|successfully|succeeded|done|completed?|成功"
    r"|none|no|no error|null|nil|false)?\W{0,3}",
    re.IGNORECASE,
)
"""Words and codes that say in a field for errors that there is none."""
_SUCCESS = ("success", "ok")
_STATUS = ("code", "status_code", "error_code", "err_code", "errcode", "http_status", "status")


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

    A reply with choices is an error only if one of its fields says so; see `_beside_choices`.
    """
    error = _beside_choices(value) if has_choices else _find_error(value)
    code = _code_of(error)
    words = one_line(words_of(error)) or (code if has_choices or isinstance(value.get("error"), dict) else "")
    words = words or (one_line(str(error)) if has_choices and error else "")
    if not words:
        return None
    number = re.match(r"[3-5]\d\d\b", code)
    return _make_error(
        f"error in the answer: {f'{number[0]}: ' if number else ''}",
        words,
        int(number[0]) if number else None,
        error,
    )


def is_temporary(words: str) -> bool:
    """Whether words tell of a fault that may pass."""
    return bool(_LATER.search(words))


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
    flagged = status in _STATUS_FLAGGED and bool(_FLAGGED.search(words))
    refuses = flagged or bool(_FILTERED.search(_code_of(error)))
    return ServerError(prefix + words, words, status, again, field, refuses)


def _beside_choices(value: dict[str, Any]) -> Any:
    """The part of a reply with choices that tells of an error; None if none does.

    Either a field for errors holds anything but a success, or a status says that the request failed.
    """
    about = {name: value[name] for name in (*_WORDS, *_CODES, *_STATUS, *_SUCCESS) if name in value}
    for name in ("error", "errors", "fault"):
        if _tells_error(value.get(name)):
            return _find_error({**about, name: value[name]})
    if _failed(value):
        return about
    inside = (value.get(name) for name in ("base_resp", "header", "status"))
    return next((part for part in inside if isinstance(part, dict) and _failed(part)), None)


def _tells_error(part: Any) -> bool:
    """Whether a field for errors holds one. Some servers always send it, with a success or empty texts."""
    if words := one_line(words_of(part)):
        return not _FINE.fullmatch(words)
    if code := _code_of(part):
        return not all(map(_FINE.fullmatch, code.split()))
    if isinstance(part, dict | list):
        return any(map(_tells_error, part.values() if isinstance(part, dict) else part))
    return bool(part)


def _failed(holder: dict[str, Any]) -> bool:
    """Whether the status fields beside an answer say that the request failed."""
    if any(str(holder.get(name)).lower() == "false" for name in _SUCCESS):
        return True
    if any(str(holder.get(name)).lower() == "error" for name in ("object", "type")):
        return True
    words = one_line(words_of(holder))
    for name in _STATUS:
        code = holder.get(name)
        if isinstance(code, bool) or not isinstance(code, int | float | str):
            continue
        told = code.strip() if isinstance(code, str) else f"{code:g}"
        if _FINE.fullmatch(told) or (words and _FINE.fullmatch(words)):
            continue
        if re.fullmatch(r"[45]\d\d", told) or re.fullmatch("error|fail(?:ed|ure)?", told, re.IGNORECASE):
            return True
        if words and (name != "status" or told.lstrip("-").isdigit()):
            return True
    return False


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
    """All codes of an error in one text, numbers first. Of several errors, the codes of the first."""
    if isinstance(error, list):
        return _code_of(error[0]) if error else ""
    codes = (
        [str(error[key]) for key in _CODES if error.get(key) not in (None, "")]
        if isinstance(error, dict)
        else []
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


def without_key(value: Any, key: str) -> Any:
    """A server's text, or the JSON of its reply, with `***` for the API key. Some servers echo it."""
    if not key:
        return value
    spellings = {key, json.dumps(key)[1:-1], key.replace("/", "\\/"), html.escape(key), quote(key, safe="")}
    either = "|".join(map(re.escape, sorted(spellings, key=len, reverse=True)))
    return _without(value, re.compile(either if len(key) >= LONG_KEY else rf"(?<!\w)(?:{either})(?!\w)"))


def _without(value: Any, secret: re.Pattern[str]) -> Any:
    if isinstance(value, str):
        return secret.sub("***", value)
    if isinstance(value, list):
        return [_without(one, secret) for one in value]
    if isinstance(value, dict):
        return {_without(name, secret): _without(one, secret) for name, one in value.items()}
    return value
