"""Rationale -> steps, the smallest unit of text that chunking moves (method: lines, then sentences).

A step carries its *leading* white space, so that `"".join(split_steps(r)) == r` for every string r.
A sentence ends at `.`, `!` or `?` (and closing quotes or brackets) before white space, unless what stands before the
full stop is an abbreviation, an initial, or a list number at the start of a line, or what follows cannot start a
sentence. Decimals never match, as no white space follows their point. A regular expression, because the sentence
splitters at hand either download models (punkt), are not lossless, or are unmaintained (pysbd).
"""

import re

_ABBREVIATIONS = frozenset(
    "mr mrs ms dr prof sr jr st mt ft no vs etc approx dept est fig vol inc ltd co corp gen col lt sgt capt rev hon "
    "jan feb mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu thurs fri "
    "a.m p.m e.g i.e u.s u.k u.n d.c b.c a.d ph.d cf al ed "
    "oz lb lbs in hr hrs min sec mi yd pt qt gal kg cm mm km".split()
)
# These are words as often as they are abbreviations: a capital letter after them starts a sentence.
_ALSO_WORDS = frozenset("in no mar sat sun may min sec ed al mi co etc a.m p.m oz lb lbs hr hrs ft yd pt qt gal kg cm mm km".split())
_END = re.compile(r"""[.!?]+["'”’)\]]*(?=\s)""")
_LAST_WORD = re.compile(r"[^\s(\[\"'“‘]*\Z")
_LIST_NUMBER = re.compile(r"(?:\A|\n)\s*(?:\d{1,3}|[A-Za-z])\Z")


def split_steps(rationale: str) -> list[str]:
    """Cut a rationale into steps without losing a character; `""` has no steps."""
    cuts = [0]
    for line_start, line_end in _lines(rationale):
        cuts.extend(_sentence_ends(rationale, line_start, line_end))
        if rationale[cuts[-1] : line_end].strip():
            cuts.append(line_end)
    cuts = [cut for cut in cuts if cut > 0]
    if not cuts:
        return [rationale] if rationale else []
    cuts[-1] = len(rationale)  # trailing white space belongs to the last step
    return [rationale[start:end] for start, end in zip([0, *cuts], cuts, strict=False) if end > start]


def _lines(text: str) -> list[tuple[int, int]]:
    """Start and end of every line, the line break belonging to the line that follows it."""
    breaks = [match.start() for match in re.finditer(r"\n", text)]
    return list(zip([0, *breaks], [*breaks, len(text)], strict=True))


def _sentence_ends(text: str, start: int, end: int) -> list[int]:
    return [m.end() for m in _END.finditer(text, start, end) if _ends_sentence(text[start : m.start()], m[0], text[m.end() : end])]


def _ends_sentence(before: str, mark: str, after: str) -> bool:
    following = after.lstrip()
    if not following:
        return False  # the end of the line cuts here anyway
    if not mark.startswith(".") or mark.startswith(".."):
        return not following[0].islower()
    last = _LAST_WORD.search(before)[0]  # type: ignore[index]  # \Z always matches
    if _LIST_NUMBER.search(before):
        return False
    if len(last) == 1 and last.isalpha() and last.isupper() and last != "I":
        return not (following[0].islower() or _is_initial(before, following))
    if last.lower() in _ABBREVIATIONS:
        return last.lower() in _ALSO_WORDS and following[0].isupper()
    return not following[0].islower()


def _is_initial(before: str, following: str) -> bool:
    """`J. Smith` and `George W. Bush` hold initials; `the answer is A. So` and `Tom chose B. He` do not."""
    words = before.split()
    starts = len(words) == 1
    after_name = len(words) > 1 and words[-2][0].isupper() and len(words[-2].rstrip(".")) <= 12
    return following[0].isupper() and (starts or after_name)
