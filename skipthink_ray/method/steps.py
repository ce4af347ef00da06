"""Rationale -> steps, the smallest unit of text that chunking moves (method: lines, then sentences).

A step carries its *leading* white space, so that `"".join(split_steps(r)) == r` for every string r.
A fenced code block and a LaTeX display are never cut inside; a Markdown rule belongs to what follows it.
A sentence ends at `.`, `!` or `?` (and closing quotes or brackets) before white space, unless what stands before the
full stop is an abbreviation, an initial, or a list number at the start of a line, or what follows cannot start a
sentence. The full stops of Chinese, Japanese and Hindi need no white space after them. Where both readings are possible
(`in the U.S. Army`, `in the U.S. The`), a word that often opens a sentence decides. Decimals never match, as no white
space follows their point. A regular expression, because the sentence splitters at hand either download models (punkt),
are not lossless, or are unmaintained (pysbd).
"""

import re
from bisect import bisect_right

_ABBREVIATIONS = frozenset(
    "mr mrs ms dr prof sr jr st mt ft no vs etc approx dept est fig vol inc ltd co corp bros gen col lt sgt capt rev hon "
    "jan feb mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu thurs fri "
    "a.m p.m e.g i.e ph.d cf al ed "
    "oz lb lbs in hr hrs min sec mi yd pt qt gal sq sq.ft kg cm mm km".split()
)
# These are words as often as they are abbreviations: a capital letter after them starts a sentence.
_ALSO_WORDS = frozenset(
    "in no mar sat sun may min sec ed al mi co etc a.m p.m oz lb lbs hr hrs ft yd pt qt gal sq.ft kg cm mm km".split()
)
# These are words unless a number stands before them: `it is 5 in. long`, `14 more are brought in. 3 go`.
_UNITS = frozenset("oz lb lbs in hr hrs min sec mi ft yd pt qt gal kg cm mm km".split())
# These stand before a name, a day or an example, whatever it begins with: `Mr. So`, `e.g. The Hobbit`.
_ALWAYS_GO_ON = frozenset(
    "mr mrs ms dr prof st mt vs approx e.g i.e cf jan feb apr jun jul aug sep sept oct nov dec".split()
)
# What often opens a sentence; it decides after `the U.S.`, `Inc.` or `vitamin C.`, where a sentence may go on or end.
_OPENER = re.compile(
    r"""["'“‘(\[]*(?:(?:a|an|the|this|that|these|those|there|here|he|she|it|we|they|you|i|his|her|its|their|our|my|your|so|then|therefore
    |thus|hence|however|but|if|when|since|because|as|finally|next|now|also|initially|in|on|at|to|for|from|after|before|once|each|every
    |all|both|some|most|no|yes|not|how|what|which|who|where|why|let|according|although|while|additionally|furthermore|moreover
    |instead|based|given|and|is|are|was|did|does)(?![\w-])|(?:first|second|third|fourth|last|lastly),)""",
    re.IGNORECASE | re.VERBOSE,
)
# A writer without capitals: `Tom has 3. so he needs 2`.
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
# What stands before the full stop of a list number, from the start of the line: `1`, `2.1`, `### Step 3`, `**b`, `- iv`.
_LIST_NUMBER = re.compile(
    r"[\s>#*_-]*(?:(?:step|part|case)\ )?(?:\d{1,3}(?:\.\d{1,3})*|[A-Za-z]|[ivx]{2,5})[*_]*",
    re.IGNORECASE | re.VERBOSE,
)
_BLOCK = re.compile(  # an end that is far away is none, so that a text with many beginnings takes no quadratic time
    r"""^[ \t]*(?P<fence>```|~~~).{0,8000}?\n[ \t]*(?P=fence)[ \t]*$ | \\\[.{0,4000}?\\\] | ^[ \t]*\$\$.{0,4000}?\$\$
    | \\begin\{(?P<name>\w{1,20}\*?)\}.{0,4000}?\\end\{(?P=name)\}""",
    re.DOTALL | re.MULTILINE | re.VERBOSE,
)
LONGEST_RULE = 200
_RULE = re.compile(r"\s*(?:[-*_=]{3,}|\|?[ :|-]*-{2,}[ :|-]*)\s*")


def split_steps(rationale: str) -> list[str]:
    """Cut a rationale into steps without losing a character; `""` has no steps."""
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
    """Start and end of every line, the line break belonging to the line that follows it; a block has no line breaks."""
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
        return False  # the end of the line cuts here anyway; `2 + ? = 5` goes on
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
    """`by J. R. R. Tolkien`, `the U.S. Army` go on; `in the U.S. The`, `Tom chose B. He` and `the answer is A. Bob` do not."""
    if _INITIAL.match(following):
        return True
    if _OPENER.match(following) or not following[0].isupper():
        return False
    word = before[: -len(capitals)].rsplit(maxsplit=1)[-1:]
    return len(capitals) > 1 or not word or word[0].lower().rstrip(":") not in _BEFORE_A_LETTER
