"""Rows that say the same: duplicates within train, and test questions that leaked into it.

Two questions are near where they hold the same numbers and names in the same order and share most of their word triples:
another number or name makes another problem, however alike the words are. A name is a word with a capital inside a
sentence. An exact set-similarity join with prefix filtering, instead of MinHash (datasketch): nothing is missed, and a
question that is near to none costs a few look-ups.
"""

import hashlib
import math
import re
import unicodedata
from typing import Any

import numpy as np

_WORD = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+|[^\w\s.,;:!?'’‘\"“”`…]")


_SENTENCE = re.compile(r"[.!?:\n]\s")
_PARTICULAR = re.compile(r"\d+(?:[.,]\d+)*|(?<=[\s\"'“‘(])[A-Z]\w*")


def normalise(text: str) -> list[str]:
    """Words, numbers and signs, without case, punctuation, compatibility forms and white space."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def same_key(*texts: str) -> int:
    """A 63-bit hash that texts share if they are equal once normalised (and else once in 10^19 pairs)."""
    return _hash("\n".join(" ".join(normalise(text)) for text in texts)) >> 1


def with_key(row: dict[str, Any]) -> dict[str, Any]:
    """A draft with its `key`: equal for training rows with the same question and rationale, none for other rows."""
    kept = not row["reason"] and row["split"] == "train"
    return {**row, "key": same_key(row["question"], row["rationale"]) if kept else None}


class TestQuestions:
    """Test questions, to ask which of them another question is near to. Shape suffixes: Q questions, T triples of one.

    Words are held as 64-bit hashes in flat arrays, 8 bytes a triple, so that a large test set can be sent to every worker.
    """

    __test__ = False  # no test class, whatever its name looks like

    def __init__(self, questions: list[str], similarity: float) -> None:
        """`similarity`: the least share of word triples (Jaccard) at which questions are near; 1 takes equal ones alone."""
        self.similarity = similarity
        words = [normalise(text) for text in questions]
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
        """Number and similarity of the nearest test question; None where none is near."""
        words = normalise(text)
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
        """The rarest triples: two sets that reach the similarity have one of these in common."""
        place_T = np.searchsorted(self.known, triples_T).clip(max=max(len(self.known) - 1, 0))
        rarity_T = (
            np.where(self.known[place_T] == triples_T, self.holders[place_T], 0)
            if len(self.known)
            else np.zeros(len(triples_T))
        )
        rarest_first_T = triples_T[np.lexsort((triples_T, rarity_T))]
        shared = math.ceil(self.similarity * len(triples_T) - 1e-9)  # rounding must not ask for one more
        return rarest_first_T[: len(triples_T) - shared + 1]

    def _jaccard(self, triples_T: np.ndarray, at: int) -> float:
        other_T = self.triples[self.offsets[at] : self.offsets[at + 1]]
        common = len(np.intersect1d(triples_T, other_T, assume_unique=True))
        return common / (len(triples_T) + len(other_T) - common)


def _triples(words: list[str]) -> np.ndarray:
    """Hashes of every three words in a row, each once, ascending; of all words where there are fewer."""
    texts = {" ".join(words[at : at + 3]) for at in range(max(1, len(words) - 2))}
    return np.sort(np.array([_hash(text) for text in texts], dtype=np.uint64))


def _particulars(text: str) -> int:
    """A hash of the numbers and names of a question, in their order."""
    plain = unicodedata.normalize("NFKC", text)
    return _hash(
        " ".join(
            found for sentence in _SENTENCE.split(plain) for found in _PARTICULAR.findall(sentence.strip())
        )
    )


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
