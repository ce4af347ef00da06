"""What a teacher's text in free form concludes, and the text without its conclusion and without what runs on after it."""

import re

from skipthink_ray.tasks.answers import (
    AnswerKind,
    canonical,
    last_choice,
    number_in,
    numbers_in,
    without_latex,
    yes_or_no,
)
from skipthink_ray.tasks.near import normalise
from skipthink_ray.tasks.plain import plain

_PHRASE = re.compile(  # what announces an answer; a box holds it
    r"""\\boxed\s*\{(?P<box>(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*)\}
    |(?:\banswer(?:\s*\([^()\n]{1,60}\))?
        (?:,?\ (?:to|for|of|in|as\ an?|from|among|here|choice|option|then|therefore|thus)\b[^.\n]{0,80}?)?
        (?:\**\s*[:=→]|\s+[–—-]\s+|(?<!there)\s+
            (?:is|are|was|equals|becomes|would\ be|will\ be|should\ be|must\ be|comes\ (?:out\ )?to)\b\s*:?)
      |^[\s#*_]*(?:final\s+)?answer[\s*_]*$
      |-->|答案\s*(?:是|为|為|[:：])|答え\s*(?:は|[:：])
      |\#{4}(?!\#)(?!\s*(?:[A-Za-z]+\s+)?(?:step|part|case|solution|explanation|reasoning|answer|calculation|check)\b)
        (?!\s*\d+[.)]\s)
    )[*_\s]*""",
    re.IGNORECASE | re.VERBOSE | re.MULTILINE,
)
_REST_OF_SENTENCE = re.compile(
    r"[^\n]*?(?=(?<![.!?])[.!?]+[\"'”’)*]*(?:\s|\Z)|\n|\Z)"
)  # a run of marks is looked at once
_QUOTED = re.compile(r"[\"“]([^\"“”\n]+)[\"”]|(?<!\w)['‘]([^'‘’\n]+)['’](?!\w)")
_AFTER_IS = re.compile(r"\b(?:is|are)\b:?\s+")
_NO_CHOICE = re.compile(r"\W*(?:neither|none)\b", re.IGNORECASE)
_YES_OR_NO_ALONE = re.compile(
    r"(?<![\w-])(yes|no)(?=\s*(?:[,.;:!?\"'”’)*\n]|because\b|since\b|\Z))", re.IGNORECASE
)
_SPELLED = re.compile(r"[^\W\d_](?:[\s,+-]+[^\W\d_])+")
_AROUND = " \t\r\n\"'“”‘’*`"
_OPENER = re.compile(r"(?:^|\s)(?:so|thus|hence|therefore),?\Z", re.IGNORECASE)
_TURN = re.compile(
    r"""<\|[a-z_]{2,30}\|>|</s>|\[/?INST\]|\n[\s*#>]*(?:Human|User)\s*\**:
    |\n[ \t*#>_]*(?:(?:next|new|another)\ )?(?P<asks>question|problem|exercise|example|q|instruction|input|问题|問題|题目)
        (?:\ *\#?\d+)?[ *_]*(?:[:：]|\.(?=\ [A-Z]))[ *_]*(?P<asked>[^\n]*\n?[^\n]*)""",
    re.IGNORECASE | re.VERBOSE,
)
_ANSWERED = re.compile(r"\n[ \t*#>_]*(?:a|answer|solution|response)[ *_]*[:：]", re.IGNORECASE)
_MARKED = re.compile(r"^#{4}[ \t]*[-$\d][^\n]{0,40}$", re.MULTILINE)


def conclusion(kind: AnswerKind, text: str, pattern: str | None = None) -> str | None:
    """What a teacher's text in free form concludes, as the text writes it, without what stands around it; None if nothing.

    pattern, a regular expression with one group, goes before: its last match. Then what follows the last `the answer
    is`, `answer:`, `-->`, `####` or stands in the last box of LaTeX, where that holds an answer of this kind. Then, by
    kind: the last number; the last choice; the last yes or no that stands alone (`there is no cure` is no answer); the
    last string in quotes, else the last word of the last sentence with `is`; of a set, what follows `is` or `are` there.
    What a text denies (`not 5`, `(A) is wrong`) it does not conclude.
    """
    matched = [found for found in re.findall(pattern, text) if found] if pattern else []
    if matched:
        return matched[-1].strip() or None
    end = len(text)
    for phrase in reversed(list(_PHRASE.finditer(text))):
        said = without_latex(phrase["box"]) if phrase["box"] else _rest_of_sentence(text[phrase.end() : end])
        if canonical(kind, said) is not None:
            return _stated(kind, said)
        if kind == "choice" and _NO_CHOICE.match(said):
            return None
        end = phrase.start()  # not into the next phrase, or a text that loops takes quadratic time
    said = _last(kind, text) or ""
    return said if canonical(kind, said) is not None else None


def without_run_on(text: str, question: str) -> str:
    """A teacher's text up to the next turn or question that it made up after its own answer; the text itself if there is none.

    Turns are the marks of chat templates and `User:`. Questions are lines like `Question:`, `Q:` or `### Problem 2:`, after an
    announced answer or before an `Answer:`, unless they restate the question that was asked.
    """
    marks = list(_MARKED.finditer(text))
    if len(marks) > 1:
        text = text[: marks[0].end()]
    for turn in _TURN.finditer(text):
        before = text[: turn.start()]
        if not before.strip():
            continue
        announced = _PHRASE.search(before) or _ANSWERED.search(text, turn.end() - len(turn["asked"] or ""))
        if turn["asks"] is None or (announced and not _restates(turn["asked"], question)):
            return before.rstrip()
    return text


def _restates(asked: str, question: str) -> bool:
    """Whether a question says nothing new: no other number, and mostly the same words."""
    words, known = normalise(asked.split("\n")[0] or asked), set(normalise(question))
    new = [word for word in words if word not in known]
    return not any(word[0].isdigit() for word in new) and 2 * len(new) <= len(words)


def without_conclusion(text: str) -> str:
    """A teacher's text without the sentence "The answer is X." at its end; itself if nothing else is left."""
    text = text.rstrip()
    line = text.rfind("\n") + 1
    phrases = re.finditer(
        r"\bthe (?:final |correct |right )?answer(?: \([^()\n]{1,60}\))? is", text[line:], re.IGNORECASE
    )
    at = max((line + found.start() for found in phrases), default=-1)
    if at < 0 or re.search(r"[.!?]\s+\w", text[at:]):
        return text
    before = text[:at].rstrip(" \t*#_")
    opener = _OPENER.search(before, max(line - 1, len(before) - 12))
    before = (before[: opener.start()] if opener else before).rstrip(" \t*#_")
    inside = before and len(before) > line and before[-1] not in ".!?:;)"
    return text if inside else before.rstrip() or text


def _stated(kind: AnswerKind, said: str) -> str:
    """The answer itself in a short text that holds one."""
    if kind == "number" and (number := number_in(said)):
        return number.text
    if kind == "string":
        return _joined(_last_quoted(said) or said.strip())
    return (canonical(kind, said) if kind in ("choice", "yes_no") else None) or said.strip()


def _last(kind: AnswerKind, text: str) -> str | None:
    if kind == "number":
        return numbers[-1].text if (numbers := numbers_in(plain(text))) else None
    if kind == "choice":
        return last_choice(text)
    if kind == "yes_no":
        return words[-1] if (words := yes_or_no(_YES_OR_NO_ALONE, text)) else None
    if kind == "string" and (quoted := _last_quoted(text)):
        return _joined(quoted)
    ends = [found.end() for found in _AFTER_IS.finditer(text)]
    said = _rest_of_sentence(text[ends[-1] :]).strip(_AROUND) if ends else ""
    return (said.split()[-1] if kind == "string" and said else said) or None


def _last_quoted(text: str) -> str:
    return "".join(quoted[-1]) if (quoted := _QUOTED.findall(text)) else ""


def _joined(text: str) -> str:
    """`n-k`, `n, k` and `n + k` spell nk."""
    return re.sub(r"[\s,+-]+", "", text) if _SPELLED.fullmatch(text) else text


def _rest_of_sentence(text: str) -> str:
    rest = _REST_OF_SENTENCE.match(text)
    return rest[0] if rest else ""
