"""What a benchmark is: a kind of answer, a number of chunks, and where there is one a generator of toy questions."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from skipthink_ray.tasks.answers import AnswerKind, same_answer


class ToyRow(NamedTuple):
    question: str
    rationale: str
    answer: str


@dataclass(frozen=True)
class Task:
    name: str
    kind: AnswerKind
    num_chunks: int | None = None
    """M; None takes the mean number of steps of the rationales (the paper, outside arithmetic)."""
    toy: Callable[[Random, int], ToyRow] | None = None
    """(random, difficulty 1..3) -> a question with an oracle's rationale and answer."""

    def check(self, predicted: str | None, gold: str) -> bool:
        """Whether a predicted answer is right; a format error (None) is wrong."""
        return predicted is not None and same_answer(self.kind, predicted, gold)
