"""Splits a rationale into steps, the units that chunking moves (method §1): lines, then sentences.

A step includes its *leading* white space, so that `"".join(split_steps(r)) == r` for every string r.
Fenced code blocks and LaTeX displays are never cut. A Markdown rule belongs to the text after it.

A sentence ends at `.`, `!` or `?` (with closing quotes or brackets) before white space. It does not end at an
abbreviation, an initial, or a list number at the start of a line, or if the text after it cannot start a
sentence. The full stops of Chinese, Japanese and Hindi need no white space after them. If both readings are
possible (`in the U.S. Army`, `in the U.S. The`), the next word decides: some words often open a sentence.
Decimals never match, because no white space follows their point.

This uses regular expressions because the available sentence splitters download models (punkt), are not
lossless, or are unmaintained (pysbd).
"""

import re
from bisect import bisect_right

_ABBREVIATIONS = frozenset(
    "mr mrs ms dr prof sr jr st mt ft no vs etc approx dept est fig vol inc ltd co corp bros "
    "gen col lt sgt capt rev hon "
    "jan feb mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu thurs fri "
    "a.m p.m e.g i.e ph.d cf al ed "
    "oz lb lbs in hr hrs min sec mi yd pt qt gal sq sq.ft kg cm mm km".split()
)
# These may also be words: a capital letter after them starts a sentence.
_ALSO_WORDS = frozenset(
    "in no mar sat sun may min sec ed al mi co etc a.m p.m "
    "oz lb lbs hr hrs ft yd pt qt gal sq.ft kg cm mm km".split()
)
# These are words unless a number comes before them: `it is 5 in. long`, `14 more are brought in. 3 go`.
_UNITS = frozenset("oz lb lbs in hr hrs min sec mi ft yd pt qt gal kg cm mm km".split())
# After these the sentence always goes on, with a name, a day or an example: `Mr. So`, `e.g. The Hobbit`.
_ALWAYS_GO_ON = frozenset(
    "mr mrs ms dr prof st mt vs approx e.g i.e cf jan feb apr jun jul aug sep sept oct nov dec".split()
)
# Words that often open a sentence. They decide after `the U.S.`, `Inc.` or `vitamin C.`.
_OPENER = re.compile(
    r"""["'“‘(\[]*(?:(?:a|an|the|this|that|these|those|there|here|he|she|it|we|they|you|i
    |his|her|its|their|our|my|your|so|then|therefore|thus|hence|however|but|if|when|since|because|as|finally
    |next|now|also|initially|in|on|at|to|for|from|after|before|once|each|every|all|both|some|most|no|yes|not
    |how|what|which|who|where|why|let|according|although|while|additionally|furthermore|moreover|instead
    |based|given|and|is|are|was|did|does)(?![\w-])|(?:first|second|third|fourth|last|lastly),)""",
    re.IGNORECASE | re.VERBOSE,
)
# For writers without capitals: `Tom has 3. so he needs 2`.
_LOWER_OPENER = re.compile(r"(?:so|then|therefore|thus|hence|if|he|she|they|we|this)\s")
_AFTER_NUMBER = re.compile(r"\d\S*\s+\Z")
_DOTTED_CAPITALS = re.compile(r"(?:[A-Z]\.)*[A-Z]")
_INITIAL = re.compile(r"[A-Z]\.\s")
_OPERATORS = "=+*/×÷<>"
_BEFORE_A_LETTER = frozenset("is are be answer option choice letter".split())
_END = re.compile(r"""[.!?…]+["'”’)\]*_`]*(?=\s)""")
_WIDE_END = re.compile(  # `。` and the like; `「行く。」と言った` and `（好。），` go on
    r"""(?:[。！？｡।] | (?<=[^\x00-\x7f])．(?!\d))+
    (?:[」』”’）】》"')\]*_]+(?![てのなにをはがもで]))?
    (?![，、；：,;:」』”’）】》と] | って)""",
    re.VERBOSE,
)
_LAST_WORD = re.compile(r"[^\s(\[\"'“‘]*\Z")
# The start of a line up to the full stop of a list number: `1`, `2.1`, `### Step 3`, `**b`, `- iv`.
_LIST_NUMBER = re.compile(
    r"[\s>#*_-]*(?:(?:step|part|case)\ )?(?:\d{1,3}(?:\.\d{1,3})*|[A-Za-z]|[ivx]{2,5})[*_]*",
    re.IGNORECASE | re.VERBOSE,
)
_BLOCK = re.compile(  # lengths are bounded, because a text with many block starts would take quadratic time
    r"""^[ \t]*(?P<fence>```|~~~).{0,8000}?\n[ \t]*(?P=fence)[ \t]*$
    | \\\[.{0,4000}?\\\] | ^[ \t]*\$\$.{0,4000}?\$\$
    | \\begin\{(?P<name>\w{1,20}\*?)\}.{0,4000}?\\end\{(?P=name)\}""",
    re.DOTALL | re.MULTILINE | re.VERBOSE,
)
LONGEST_RULE = 200
_RULE = re.compile(r"\s*(?:[-*_=]{3,}|\|?[ :|-]*-{2,}[ :|-]*)\s*")


def split_steps(rationale: str) -> list[str]:
    """Cut a rationale into steps without losing a character. `""` gives no steps."""
    blocks = [match.span() for match in _BLOCK.finditer(rationale)]
    cuts = [0]
    for line_start, line_end in _lines(rationale, blocks):
        cuts.extend(_sentence_ends(rationale, line_start, line_end, blocks))
        rest = rationale[cuts[-1] : line_end]
        if rest.strip() and not (len(rest) < LONGEST_RULE and _RULE.fullmatch(rest)):
            cuts.append(line_end)
    cuts = [cut for cut in cuts if cut > 0]
    if not cuts:
        return [rationale] if rationale else []
    cuts[-1] = len(rationale)  # trailing white space belongs to the last step
    return [rationale[start:end] for start, end in zip([0, *cuts], cuts, strict=False) if end > start]


def _lines(text: str, blocks: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Start and end of every line. A line break belongs to the line after it; blocks are not split."""
    breaks = [match.start() for match in re.finditer(r"\n", text) if not _within(match.start(), blocks)]
    return list(zip([0, *breaks], [*breaks, len(text)], strict=True))


def _within(place: int, blocks: list[tuple[int, int]]) -> bool:
    at = bisect_right(blocks, (place, 0)) - 1
    return at >= 0 and blocks[at][0] < place < blocks[at][1]


def _sentence_ends(text: str, start: int, end: int, blocks: list[tuple[int, int]]) -> list[int]:
    plain = [
        m.end()
        for m in _END.finditer(text, start, end)
        if _ends_sentence(text[start : m.start()], m[0], text[m.end() : end])
    ]
    wide = [m.end() for m in _WIDE_END.finditer(text, start, end) if text[m.end() : end].strip()]
    return sorted(cut for cut in {*plain, *wide} if not _within(cut, blocks))


def _ends_sentence(before: str, mark: str, after: str) -> bool:
    following = after.lstrip()
    if not following or following[0] in _OPERATORS:
        return False  # the line ends here anyway, or the sentence goes on as in `2 + ? = 5`
    if not mark.startswith(".") or mark.startswith(".."):
        return not following[0].islower()
    last = _LAST_WORD.search(before[-40:])[0]  # type: ignore[index]  # \Z always matches
    if _LIST_NUMBER.fullmatch(before):
        return False
    if _DOTTED_CAPITALS.fullmatch(last) and last != "I":
        return not (following[0].islower() or _goes_on(before, last, following))
    if last.lower() in _ABBREVIATIONS and not (following[0].isdigit() and _is_word(before, last)):
        opens = last.lower() in _ALSO_WORDS or (
            last.lower() not in _ALWAYS_GO_ON and _OPENER.match(following)
        )
        return bool(opens and following[0].isupper())
    return not following[0].islower() or bool(mark == "." and _LOWER_OPENER.match(following))


def _is_word(before: str, last: str) -> bool:
    return last.lower() in _UNITS and not _AFTER_NUMBER.search(before[-40 : -len(last)])


def _goes_on(before: str, capitals: str, following: str) -> bool:
    """True for `by J. R. R. Tolkien` and `the U.S. Army`; False for `the U.S. The` and `Tom chose B. He`."""
    if _INITIAL.match(following):
        return True
    if _OPENER.match(following) or not following[0].isupper():
        return False
    word = before[: -len(capitals)].rsplit(maxsplit=1)[-1:]
    return len(capitals) > 1 or not word or word[0].lower().rstrip(":") not in _BEFORE_A_LETTER
