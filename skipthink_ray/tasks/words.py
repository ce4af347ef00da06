"""The words of a text, to compare texts by."""

import re
import unicodedata

_WORD = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+|[^\w\s.,;:!?'’‘\"“”`…]")


def words_of(text: str) -> list[str]:
    """The words, numbers and signs of a text, without case, punctuation, white space and Unicode variants."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())
