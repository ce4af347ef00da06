"""Separates a teacher's thinking from its final text, and chooses the rationale to train on. Pure text.

A reasoning teacher thinks first. Some servers return the thinking in a separate field. Others return it
within the text, between tags, or before a single closing tag if the opening one was part of the prompt. Only
the final text is searched for the conclusion. `rationales.teacher.rationale` selects the part that becomes
the rationale (r).
"""

import re
from typing import Any, NamedTuple

from skipthink_ray.config import RationalesConfig
from skipthink_ray.tasks.conclusions import conclusion, without_conclusion, without_run_on
from skipthink_ray.tasks.task import Task

SHOWN_CHARS = 300
_NAME = r"(?:\w{1,12}:)?(?:think(?:ing)?|thoughts?|reasoning|scratchpad)"
_OPEN = re.compile(
    rf"""<{_NAME}(?:\s[^<>\n]{{0,80}})?> | \[THINK\] | ◁think▷         # Qwen, DeepSeek | Magistral | Kimi
    | <\|(?:START_THINKING|begin_of_thought|thinking)\|> | <\|channel>\s*thought   # Command, Sky-T1 | Gemma
    | (?:<\|start\|>assistant)?<\|channel\|>(?:analysis|commentary)[^<]{{0,80}}<\|message\|>  # gpt-oss""",
    re.IGNORECASE | re.VERBOSE,
)
_CLOSE = re.compile(
    rf"""</{_NAME}\s?> | \[/THINK\] | ◁/think▷ | <\|(?:END_THINKING|end_of_thought|/thinking)\|> | <channel\|>
    | <\|start\|>assistant<\|channel\|>final<\|message\|> | <\|channel\|>final<\|message\|>""",
    re.IGNORECASE | re.VERBOSE,
)
_BARE_HARMONY = re.compile(r"\Aanalysis(?=[A-Z\s]).*?assistant\s?final(?=\S)", re.DOTALL)
"""gpt-oss channels after a server dropped the special tokens: `analysisWe need ...assistantfinalThe answer
...`."""
_WRAPPING = re.compile(
    r"</?answer>|<\|(?:begin|end)_of_solution\|>|<\|(?:START|END)_RESPONSE\|>", re.IGNORECASE
)
_END_OF_TURN = re.compile(
    r"<\|(?:im_end|im_start|eot_id|eom_id|end_of_text|endoftext|end|return|user|end_of_turn|eos)\|>"
    r"|<end_of_turn>|</s>|<｜[^｜<>\n]{1,30}｜>"
)
_LAST_LINE = re.compile(
    r"""(?:\A|\n)[ \t]*(?:(?:\\\[|\$\$)[ \t]*\n)?[ \t>*_#$\[\\()-]*
    (?:\#{4} | --> | \\?boxed\{
    | (?:(?:so|thus|hence|therefore),?\s)?(?:the\s|my\s)?(?:final\s|correct\s)?answer\b\W*\Z
    | (?:the\s|my\s)?(?:final\s|correct\s)?answer\s?\**\s?:(?![^\n]*(?:[.!?]\s+\w|[=+])))
    [^\n]{0,200}(?:\n[ \t]*(?:\\\]|\$\$))?\Z""",
    re.IGNORECASE | re.VERBOSE,
)
"""A last line with only the answer: after `####`, `-->` or `Answer:`, or in a LaTeX box."""
_ANNOUNCING = re.compile(
    r"\b(?:so|thus|hence|therefore|the|my|final|correct|right|answer|choice|option|letter|is|are|was|be|it|boxed|text)\b",
    re.IGNORECASE,
)


class Told(NamedTuple):
    """The two parts of a teacher's text, without tags. A missing part is an empty text."""

    thinking: str
    final: str


def tell_apart(text: str, thinking: str = "") -> Told:
    """Split a text into thinking and final text. `thinking` is the server's separate field.

    The final text follows the last closing tag. If there is none, it ends at the first opening tag. So an
    answer that stops while the teacher is thinking has no final text. The final text also ends at the first
    end-of-turn token, which some servers leave in the text.
    """
    told = _with_further_turns(text, thinking)
    return told._replace(final=_cut(told.final))


def _with_further_turns(text: str, thinking: str) -> Told:
    """Like `tell_apart`, but the final text may go on after the end of the turn."""
    if bare := _BARE_HARMONY.match(text):
        inside, final = (
            text[len("analysis") : bare.end() - len("final")].removesuffix("assistant"),
            text[bare.end() :],
        )
    else:
        closing = max((match.end() for match in _CLOSE.finditer(text)), default=0)
        inside, final = text[:closing], text[closing:]
    if again := _OPEN.search(final):
        inside, final = f"{inside}\n{final[again.end() :]}", final[: again.start()]
    inside = _END_OF_TURN.sub("\n", _CLOSE.sub("\n", _OPEN.sub("", inside))).strip()
    both = [thinking.strip()] if inside in thinking else [thinking.strip(), inside]
    return Told("\n".join(part for part in both if part), _WRAPPING.sub("", final).strip())


def is_tag(token: str) -> bool:
    """Whether a token opens or closes thinking."""
    return bool(_OPEN.fullmatch(token) or _CLOSE.fullmatch(token))


def reasons_of(text: str, concluded: str | None) -> str:
    """A text without the conclusion at its end. Empty if the text is only the conclusion."""
    left, before = text.rstrip(), ""
    while left != before:
        before, left = left, without_conclusion(left)
        if last := _LAST_LINE.search(left):
            left = left[: last.start()].rstrip()
    answer = rf"(?<!\w){re.escape(concluded)}(?!\w)" if concluded else r"\A\Z"
    rest = _ANNOUNCING.sub(" ", re.sub(answer, " ", left, count=1, flags=re.IGNORECASE))
    return left if re.search(r"[^\W_]", rest) else ""


def read_written(
    text: str, thinking: str, finish: str, config: RationalesConfig, task: Task, question: str = ""
) -> dict[str, Any]:
    """`rationale` and `concluded` of an answer, and `reason` and `detail` if it has no final text.

    The final text ends before any end-of-turn token, and before any made-up question other than `question`.
    If such a text reached the length limit, its `finish` becomes stop, because the answer was complete.

    finish: stop, length or refused. An answer longer than `max_chars` is not read further; its row is dropped
    as too long.
    """
    written = _with_further_turns(text, thinking)
    told = written._replace(final=without_run_on(_cut(written.final), question))
    if not told.final and finish != "refused":
        return {"rationale": told.thinking, "concluded": None} | _without_final(told, finish, config)
    longest = max(told.final, _chosen(told, config, None), key=len)
    if len(longest) > config.max_chars:
        return {"rationale": longest, "concluded": None}
    concluded = conclusion(task.kind, told.final, task.pattern)
    rationale = told.final if finish == "refused" else _chosen(told, config, concluded)
    ended = {"finish": "stop"} if finish == "length" and told != written else {}
    return {"rationale": rationale, "concluded": concluded} | ended


def _chosen(told: Told, config: RationalesConfig, concluded: str | None) -> str:
    """The part that becomes the rationale, without the conclusions at its ends."""
    parts = {"final": told[1:], "thinking": told[:1], "both": told}[config.teacher.rationale]
    return "\n\n".join(left for part in parts if (left := reasons_of(part, concluded)))


def _without_final(told: Told, finish: str, config: RationalesConfig) -> dict[str, str]:
    end = f": ... {told.thinking[-SHOWN_CHARS:]}" if told.thinking else ""
    if finish == "length":
        limit = config.teacher.max_tokens
        return {
            "reason": "cut off",
            "detail": f"it reached rationales.teacher.max_tokens = {limit} before any final text{end}",
        }
    if told.thinking:
        said = (
            "the answer ended during the thinking, without a final text "
            "(or the server labels the whole answer as thinking)"
        )
        return {"reason": "cut off", "detail": f"{said}; raise rationales.teacher.max_tokens{end}"}
    return {"reason": "no rationale", "detail": "the teacher's answer is empty"}


def _cut(text: str) -> str:
    """A text up to the first end-of-turn token."""
    end = _END_OF_TURN.search(text)
    return text[: end.start()].rstrip() if end else text
