"""What a benchmark is: a kind of answer, a number of chunks, its public data set, and where there is one a toy generator.

A class of one's own (`task: package.module:ClassName`) is a subclass of Task that needs no arguments, or has the same
fields and methods.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, NamedTuple

from skipthink_ray.tasks.answers import AnswerKind, same_answer
from skipthink_ray.tasks.public import PublicData
from skipthink_ray.tasks.splits import Split, drawn_split, is_listed, listed_split

UNLISTED = "unlisted"
"""The split of a question that the listed split of its task does not know."""


class ToyRow(NamedTuple):
    question: str
    rationale: str
    answer: str


@dataclass(frozen=True)
class Task:
    name: str
    kind: AnswerKind
    """Kind of the answer: decides the check, and what is a format error."""
    num_chunks: int | None = None
    """M; None takes the mean number of steps of the rationales (the paper, outside arithmetic)."""
    toy: Callable[[Random, int], ToyRow] | None = None
    """(random, difficulty 1..3) -> a question with an oracle's rationale and answer."""
    public: PublicData | None = None
    """The public data set that `rationales.source: dataset` reads where no path is named."""
    pattern: str | None = None
    """A regular expression whose one group is the answer, wherever it matches an answer or a teacher's text."""
    instruction: str | None = None
    """What the teacher is told about the questions; None takes the sentence of the kind of answer."""

    def parse(self, text: str) -> str:
        """The part of an answer that counts: the group of the last match of `pattern`, else the whole text."""
        matches = re.findall(self.pattern, text) if self.pattern else []
        return matches[-1].strip() if matches else text

    def check(self, predicted: str | None, gold: str) -> bool:
        """Whether a predicted answer is right; a format error (None) is wrong."""
        return predicted is not None and same_answer(self.kind, self.parse(predicted), self.parse(gold))

    def split(self, question: str) -> Split | None:
        """The side of a question in the benchmark: as Ho et al. have it, or drawn where none was published.

        None for a question that is not listed there, and for tasks whose data sets have a split of their own.
        """
        if self.public is None:
            return None
        if self.public.test_share is not None:
            return drawn_split(self.name, question, self.public.test_share)
        return listed_split(self.name, question)

    def read_public(self, row: dict[str, Any], split: str) -> dict[str, Any]:
        """Question, answer, split and, where there is one, rationale of a row of `split` of the public data set.

        A row that has not the expected form has neither question nor answer: the stage counts and shows it.
        """
        assert self.public
        try:
            values = self.public.read(row)
            side = self.split(values["question"]) or (
                UNLISTED if is_listed(self.name) else self.public.splits[split]
            )
        except (AttributeError, KeyError, IndexError, TypeError, ValueError):
            return {"question": None, "answer": None, "split": self.public.splits[split]}
        return {**values, "split": side}
