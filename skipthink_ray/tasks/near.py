"""Rows that say the same: duplicates within train, and test questions that leaked into it.

Two questions are near where they hold the same numbers in the same order and share most of their word triples: other
numbers make another problem, however alike the words are. An exact set-similarity join with prefix filtering, instead of
MinHash (datasketch): nothing is missed, and a question that is near to none costs a few look-ups.
"""

import hashlib
import math
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from typing import Any

_WORD = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+|[-+*/=%$€£]")


def normalise(text: str) -> list[str]:
    """Words, numbers and signs of calculation, without case, punctuation, compatibility forms and white space."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def same_key(*texts: str) -> int:
    """A 63-bit hash that texts share if they are equal once normalised (and else once in 10^19 pairs)."""
    joined = "\n".join(" ".join(normalise(text)) for text in texts)
    return int.from_bytes(hashlib.blake2b(joined.encode(), digest_size=8).digest(), "big") >> 1


def with_key(row: dict[str, Any]) -> dict[str, Any]:
    """A draft with its `key`: equal for training rows with the same question and rationale, none for other rows."""
    kept = not row["reason"] and row["split"] == "train"
    return {**row, "key": same_key(row["question"], row["rationale"]) if kept else None}


@dataclass(frozen=True)
class _Question:
    words: tuple[str, ...]
    triples: frozenset[tuple[str, ...]]
    numbers: tuple[str, ...]

    @classmethod
    def read(cls, text: str) -> "_Question":
        words = tuple(normalise(text))
        triples = frozenset(words[at : at + 3] for at in range(max(1, len(words) - 2)))
        return cls(words, triples, tuple(word for word in words if word[0].isdigit()))


class TestQuestions:
    """Test questions, to ask which of them another question is near to."""

    __test__ = False  # no test class, whatever its name looks like

    def __init__(self, questions: list[str], similarity: float) -> None:
        """`similarity`: the least share of word triples (Jaccard) at which questions are near; 1 takes equal ones alone."""
        self.similarity = similarity
        self.questions = [_Question.read(text) for text in questions]
        self.equal = {question.words: at for at, question in enumerate(self.questions)}
        self.rarity = Counter(triple for question in self.questions for triple in question.triples)
        self.holders: dict[tuple[str, ...], list[int]] = {}
        for at, question in enumerate(self.questions):
            for triple in self._prefix(question):
                self.holders.setdefault(triple, []).append(at)

    def near(self, text: str) -> tuple[int, float] | None:
        """Number and similarity of the nearest test question; None where none is near."""
        question = _Question.read(text)
        if question.words in self.equal:
            return self.equal[question.words], 1.0
        if self.similarity == 1:
            return None
        candidates = {at for triple in self._prefix(question) for at in self.holders.get(triple, ())}
        found = [(_jaccard(question, self.questions[at]), at) for at in candidates if self.questions[at].numbers == question.numbers]
        best, at = max(found, default=(0.0, -1))
        return (at, best) if at >= 0 and best >= self.similarity else None

    def _prefix(self, question: _Question) -> list[tuple[str, ...]]:
        """The rarest triples: two sets that reach the similarity have one of these in common."""
        rarest_first = sorted(question.triples, key=lambda triple: (self.rarity[triple], triple))
        shared = math.ceil(self.similarity * len(rarest_first) - 1e-9)  # rounding must not ask for one more
        return rarest_first[: len(rarest_first) - shared + 1]


def _jaccard(left: _Question, right: _Question) -> float:
    return len(left.triples & right.triples) / len(left.triples | right.triples)
