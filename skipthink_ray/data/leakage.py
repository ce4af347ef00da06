"""Finds duplicate training rows, and test questions that leaked into train.

Two questions are near if they have the same numbers and names in the same order and share most of their word
triples. A different number or name makes a different problem, however similar the words are. A name is a
capitalised word inside a sentence. The search is an exact set-similarity join with prefix filtering. Unlike
MinHash (datasketch) it misses nothing, and a question without near neighbours costs only a few look-ups.
"""

import hashlib
import math
import re
import unicodedata
from typing import Any

import numpy as np

from skipthink_ray.tasks.words import words_of

_SENTENCE = re.compile(r"[.!?:\n]\s")
_PARTICULAR = re.compile(r"\d+(?:[.,]\d+)*|(?<=[\s\"'“‘(])[A-Z]\w*")


def same_key(*texts: str) -> int:
    """A 63-bit hash, equal for texts that are equal after `words_of` (and for one in 10^19 other pairs)."""
    return _hash("\n".join(" ".join(words_of(text)) for text in texts)) >> 1


def with_key(row: dict[str, Any]) -> dict[str, Any]:
    """The draft with a `key` that training rows with the same question and rationale share.

    Other rows get None.
    """
    kept = not row["reason"] and row["split"] == "train"
    return {**row, "key": same_key(row["question"], row["rationale"]) if kept else None}


class HeldOutQuestions:
    """An index of test questions that finds the nearest one.

    Shape suffixes: Q questions, T triples of one question.

    Word triples are 64-bit hashes in flat arrays, 8 bytes each, so that a large test set can be sent to every
    worker.
    """

    def __init__(self, questions: list[str], similarity: float) -> None:
        """`similarity`: the smallest Jaccard index of word triples for near questions.

        1 accepts only equal questions.
        """
        self.similarity = similarity
        words = [words_of(text) for text in questions]
        self.equal = {_hash(" ".join(one)): at for at, one in enumerate(words)}
        self.particulars_Q = np.array([_particulars(text) for text in questions], dtype=np.uint64)
        triples = [_triples(one) for one in words]
        self.offsets = np.concatenate([[0], np.cumsum([len(one) for one in triples], dtype=np.int64)])
        self.triples = np.concatenate([np.zeros(0, np.uint64), *triples])
        self.known, self.holders = np.unique(self.triples, return_counts=True)
        self.prefixes: dict[int, list[int]] = {}
        for at, one in enumerate(triples):
            for triple in self._prefix(one).tolist():
                self.prefixes.setdefault(triple, []).append(at)

    def near(self, text: str) -> tuple[int, float] | None:
        """Number and similarity of the nearest test question. None if none is near."""
        words = words_of(text)
        if (equal := self.equal.get(_hash(" ".join(words)))) is not None:
            return equal, 1.0
        if self.similarity == 1:
            return None
        triples_T, particulars = _triples(words), _particulars(text)
        candidates = {
            at for triple in self._prefix(triples_T).tolist() for at in self.prefixes.get(triple, ())
        }
        found = [
            (self._jaccard(triples_T, at), -at) for at in candidates if self.particulars_Q[at] == particulars
        ]
        best, at = max(found, default=(-1.0, 0))
        return (-at, best) if best >= self.similarity else None

    def _prefix(self, triples_T: np.ndarray) -> np.ndarray:
        """The rarest triples.

        Two sets that reach the similarity share at least one of their rarest triples.
        """
        place_T = np.searchsorted(self.known, triples_T).clip(max=max(len(self.known) - 1, 0))
        rarity_T = (
            np.where(self.known[place_T] == triples_T, self.holders[place_T], 0)
            if len(self.known)
            else np.zeros(len(triples_T))
        )
        rarest_first_T = triples_T[np.lexsort((triples_T, rarity_T))]
        shared = math.ceil(self.similarity * len(triples_T) - 1e-9)  # 1e-9 absorbs rounding errors
        return rarest_first_T[: len(triples_T) - shared + 1]

    def _jaccard(self, triples_T: np.ndarray, at: int) -> float:
        other_T = self.triples[self.offsets[at] : self.offsets[at + 1]]
        common = len(np.intersect1d(triples_T, other_T, assume_unique=True))
        return common / (len(triples_T) + len(other_T) - common)


def _triples(words: list[str]) -> np.ndarray:
    """Sorted distinct hashes of every three consecutive words; one hash of all words if there are fewer than
    three.
    """
    texts = {" ".join(words[at : at + 3]) for at in range(max(1, len(words) - 2))}
    return np.sort(np.array([_hash(text) for text in texts], dtype=np.uint64))


def _particulars(text: str) -> int:
    """A hash of the numbers and names of a question, in order."""
    plain = unicodedata.normalize("NFKC", text)
    return _hash(
        " ".join(
            found for sentence in _SENTENCE.split(plain) for found in _PARTICULAR.findall(sentence.strip())
        )
    )


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
