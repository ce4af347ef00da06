"""Finds the conclusion of a teacher's free text, and removes conclusions and made-up follow-ups."""

import re

from skipthink_ray.tasks.answers import (
    AnswerKind,
    canonical,
    is_undecided,
    last_choice,
    last_number,
    number_in,
    without_latex,
    yes_or_no,
)
from skipthink_ray.tasks.words import words_of

_PHRASE = re.compile(  # a phrase that announces an answer, or a box that contains it
    r"""\\boxed\s*\{(?P<box>(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*)\}
    |(?:\banswer(?:\s*\([^()\n]{1,60}\))?
        (?:,?\ (?:to|for|of|in|as\ an?|from|among|here|choice|option|then|therefore|thus)\b[^.\n]{0,80}?)?
        (?:\**\s*[:=→]|\s+[–—-]\s+|(?<!there)\s+
            (?:is|are|was|equals|becomes|would\ be|will\ be|should\ be|must\ be|comes\ (?:out\ )?to)\b\s*:?
            |\s+(?=(?:cannot|can\ not|could\ not|can['’]t)\ be\b))
      |^[\s#*_]*(?:final\s+)?answer[\s*_]*$
      |-->|答案\s*(?:是|为|為|[:：])|答え\s*(?:は|[:：])
      |\#{4}(?!\#)(?!\s*(?:[A-Za-z]+\s+)?(?:step|part|case|solution|explanation|reasoning|answer|calculation|check)\b)
        (?!\s*\d+[.)]\s)
    )[*_\s]*""",
    re.IGNORECASE | re.VERBOSE | re.MULTILINE,
)
_REST_OF_SENTENCE = re.compile(
    r"[^\n]*?(?=(?<![.!?])[.!?]+[\"'”’)*]*(?:\s|\Z)|\n|\Z)"
)  # the lookbehind visits a run of marks only once
_QUOTED = re.compile(r"[\"“]([^\"“”\n]+)[\"”]|(?<!\w)['‘]([^'‘’\n]+)['’](?!\w)")
_AFTER_IS = re.compile(r"\b(?:is|are)\b:?\s+")
_UNKNOWN = re.compile(
    r"""\W*(?:(?:that|it|is|still|simply|therefore|currently)\ )*
    (?:neither|none|nothing|un(?:known|certain|determined|defined|decided)|indeterminate|inconclusive
    |impossible|ambiguous|cannot|can\ not|could\ not|can['’]t|no\ solution
    |not\ (?:possible|known|determin\w+|given))\b""",
    re.IGNORECASE | re.VERBOSE,
)
_DENIAL = re.compile(r"\W*(?:not|no|never|unclear)\b", re.IGNORECASE)
_REMARK = re.compile(  # a remark about an answer that stands elsewhere: "the answer is correct"
    r"""\W*(?:(?:indeed|also|therefore|thus|then|now|probably|quite|clearly)\ )*
    (?:correct|right|wrong|incorrect|valid|verified|confirmed|reasonable|plausible|consistent|clear
    |above|below|as\ (?:above|follows|stated)|shown|given|found|obtained)\b""",
    re.IGNORECASE | re.VERBOSE,
)
_SLIP = r"""forgot|missed|overlooked|mis(?:counted|calculated|read|took)"""
_RETRACTED = re.compile(
    rf"""(?:^|[.!?;:,…\n)–—-])[\s*]{{0,8}}(?:(?:but|oh|hmm|no|and|so|or)[,.\s]{{1,8}}){{0,3}}
      (?:wait\b(?!\s+(?:for|until|to|a\b|an\b|\d))|hold\ on\b|oops\b|hmm+\b|actually\b|rather,|sorry\b
        |correction\b|scratch\ that|on\ second\ thought|my\ (?:mistake|bad)
        |let\ me\ (?:re(?:count|calculate|do|consider|think)|correct|fix|start\ over|try\ again))
    |\b(?:I|we)\ (?:have\ )?(?:(?:just|also|completely|accidentally)\ )?
      (?:made\ an?\ (?:\w+\ )?(?:mistake|error)|{_SLIP})\b
    |\b(?:that|this|it|which)(?:['’]s|\ is|\ was|\ answer\ is|\ can['’]?t\ be|\ cannot\ be)
      \ (?:not\ (?:right|correct)|wrong|incorrect|a\ mistake|an\ error)\b
    |[.!\n–—-]\s{{0,8}}no[,:]""",
    re.IGNORECASE | re.VERBOSE,
)
_FAULT = re.compile(
    rf"""\bno[,.]|\b(?:that|this|it|which)\W{{0,2}}(?:s|is|was)\ (?:not|wrong|incorrect)\b
    |\ban?\ (?:\w+\ )?(?:mistake|error)\b|\b(?:{_SLIP}|scratch\ that|oops|my\ (?:mistake|bad))\b""",
    re.IGNORECASE | re.VERBOSE,
)
_BETWEEN_BOXES = re.compile(r"[\s$,;.&]*(?:\\text\s*\{)?\s*(?:\b(?:or|and)\b)?[\s}$]*", re.IGNORECASE)
_YES_OR_NO_ALONE = re.compile(
    r"(?<![\w-])(yes|no)(?=\s*(?:[,.;:!?\"'”’)*\n]|because\b|since\b|\Z))", re.IGNORECASE
)
_SPELLED = re.compile(r"[^\W\d_](?:[\s,+-]+[^\W\d_])+")
_AROUND = " \t\r\n\"'“”‘’*`"
_OPENER = re.compile(r"(?:^|\s)(?:so|thus|hence|therefore),?\Z", re.IGNORECASE)
_TURN = re.compile(
    r"""<\|[a-z_]{2,30}\|>|</s>|\[/?INST\]|\n[\s*#>]*(?:Human|User)\s*\**:
    |\n[ \t*#>_]*(?:(?:next|new|another)\ )?
        (?P<asks>question|problem|exercise|example|q|instruction|input|问题|問題|题目)
        (?:\ *\#?\d+)?[ *_]*(?:[:：]|\.(?=\ [A-Z]))[ *_]*(?P<asked>[^\n]*\n?[^\n]*)""",
    re.IGNORECASE | re.VERBOSE,
)
_ANSWERED = re.compile(r"\n[ \t*#>_]*(?:a|answer|solution|response)[ *_]*[:：]", re.IGNORECASE)
_MARKED = re.compile(r"^#{4}[ \t]*[-$\d][^\n]{0,40}$", re.MULTILINE)


def conclusion(kind: AnswerKind, text: str, pattern: str | None = None) -> str | None:
    """The answer that a teacher's free text concludes, in the text's own spelling; None if there is none.

    The first rule that finds an answer applies:
    1. The last match of `pattern`, a regular expression with one group.
    2. The last phrase (`the answer is`, `answer:`, `-->`, `####`) or LaTeX box with an answer of this kind.
    3. By kind: the last number; the last choice; the last yes or no by itself (not `there is no cure`); for
       a string, the last quoted text, else the last word of the last sentence with `is` or `are`; for a set,
       the text after `is` or `are` there.

    Rule 2 is final. There is no conclusion if the phrase names two answers and does not decide, names one
    that cannot be read, or says that there is none (`the answer is unknown`). If it names none (`the answer
    is not clear`), only the text after it is searched by rule 3. An answer that the text takes back (`Wait,
    I forgot ...`) is replaced by the last answer after that. An answer that the text denies (`not 5`, `(A)
    is wrong`) does not count.
    """
    matched = [found for found in re.findall(pattern, text) if found] if pattern else []
    if matched:
        return matched[-1].strip() or None
    end, searched = len(text), None
    phrases = list(_PHRASE.finditer(text))
    for at in reversed(range(len(phrases))):
        phrase = phrases[at]
        said = _boxes(text, phrases[: at + 1]) or _rest_of_sentence(text[phrase.end() : end])
        if canonical(kind, said) is not None:
            return _upheld(kind, said, text[phrase.end() :])
        if is_undecided(kind, said) or _UNKNOWN.match(said):
            return None
        if searched is None and not _REMARK.match(said):
            searched = phrase.start() if kind == "yes_no" else phrase.end()  # "answer to that, no, they are"
        if _DENIAL.match(said):
            break
        end = phrase.start()  # stop at the next phrase; otherwise a looping text takes quadratic time
    return _last_answer(kind, text[searched or 0 :])


def _boxes(text: str, phrases: list[re.Match[str]]) -> str:
    """The content of the last phrase if it is a LaTeX box. Boxes joined by `and` or `or` count as one."""
    last = phrases[-1]["box"]
    if not last:
        return ""
    before = phrases[-2] if len(phrases) > 1 else None
    between = text[before.end() : phrases[-1].start()] if before else ""
    joined = before and before["box"] and len(between) < 40 and _BETWEEN_BOXES.fullmatch(between)
    return without_latex(f"{before['box']} or {last}" if before and joined else last)


def _upheld(kind: AnswerKind, said: str, rest: str) -> str | None:
    """The announced answer, or the last answer after the words that take it back."""
    taken_back = _RETRACTED.search(rest)
    if not taken_back:
        return _stated(kind, said)
    after = rest[taken_back.start() :]
    return _last_answer(kind, after) or (None if _FAULT.search(after) else _stated(kind, said))


def _last_answer(kind: AnswerKind, text: str) -> str | None:
    said = _last(kind, text) or ""
    return said if canonical(kind, said) is not None else None


def without_run_on(text: str, question: str) -> str:
    """Cut a teacher's text before the first turn or question that the teacher made up after its answer.

    A turn starts with a chat-template token or `User:`. A made-up question is a line like `Question:`, `Q:`
    or `### Problem 2:`, after an announced answer or before an `Answer:`, that does not restate `question`.
    Before the first announced answer, a question that the teacher asks itself is part of its reasons, and so
    is its answer. Such a question is about the same numbers or mostly in words that came before.
    """
    marks = list(_MARKED.finditer(text))
    if len(marks) > 1:
        text = text[: marks[0].end()]
    answered = max((found.start() for found in _ANSWERED.finditer(text)), default=-1)
    read = len(text) - len(text.lstrip())
    known, phrases = set(words_of(question)), list(_PHRASE.finditer(text))
    announced, asks_itself = False, False
    for turn in _TURN.finditer(text, read):
        asked = turn["asked"] or ""
        known.update(words_of(text[read : turn.start()]))
        while phrases and phrases[0].end() <= turn.start():
            begin = max(0, text.rfind("\n", 0, phrases[0].start()))
            announced |= not (asks_itself and _ANSWERED.match(text, begin))
            phrases.pop(0)
        read, is_answered = turn.start(), answered >= turn.end() - len(asked)
        if turn["asks"] and _restates(asked, question):
            asks_itself |= not _covers(asked, question)
            continue
        if turn["asks"] is None or announced or (is_answered and not _is_a_step(turn, known)):
            return text[: turn.start()].rstrip()
        asks_itself = True
    return text


def _covers(asked: str, question: str) -> bool:
    """Whether `asked` is the question itself, not only a part of it: it has half of its words."""
    words = set(words_of(question))
    return 2 * len(words & set(words_of(asked))) >= len(words)


def _is_a_step(turn: re.Match[str], known: set[str]) -> bool:
    """Whether a question is a step on the way: it adds no number, or at most half of its words are new."""
    if turn["asks"].lower() not in ("q", "question", "问题", "問題", "题目"):
        return False
    words = words_of(turn["asked"].split("\n")[0] or turn["asked"])
    new = [word for word in words if word not in known]
    return not any(word[0].isdigit() for word in new) or 2 * len(new) <= len(words)


def _restates(asked: str, question: str) -> bool:
    """Whether `asked` restates the question: it adds no number, and at most half of its words are new."""
    words, known = words_of(asked.split("\n")[0] or asked), set(words_of(question))
    new = [word for word in words if word not in known]
    return not any(word[0].isdigit() for word in new) and 2 * len(new) <= len(words)


def without_conclusion(text: str) -> str:
    """A teacher's text without its final sentence "The answer is X."; unchanged if nothing else is left."""
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
    """The bare answer from a short text that contains one."""
    if kind == "number" and (number := number_in(said)):
        return number.text
    if kind == "string":
        return _joined(_last_quoted(said) or said.strip())
    return (canonical(kind, said) if kind in ("choice", "yes_no") else None) or said.strip()


def _last(kind: AnswerKind, text: str) -> str | None:
    if kind == "number":
        return number.text if (number := last_number(text)) else None
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
