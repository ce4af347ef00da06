"""A benchmark task: its kind of answer, number of chunks, public data set and toy generator.

A user's own class (`task: package.module:ClassName`) must be constructible without arguments. It is a
subclass of Task or has the same fields and methods.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, NamedTuple

from skipthink_ray.tasks.answers import AnswerKind, same_answer
from skipthink_ray.tasks.public import Form, PublicData
from skipthink_ray.tasks.splits import Split, drawn_split, is_listed, listed_split

UNLISTED = "unlisted"
"""The split of a question that is missing from the listed split of its task."""


class ToyRow(NamedTuple):
    question: str
    rationale: str
    answer: str


@dataclass(frozen=True)
class Task:
    name: str
    kind: AnswerKind
    """Kind of the answer. It decides how answers are checked and what counts as a format error."""
    num_chunks: int | None = None
    """M. None means the mean number of steps of the rationales (the paper's rule outside arithmetic)."""
    toy: Callable[[Random, int], ToyRow] | None = None
    """(random, difficulty 1..3) -> a question with an oracle's rationale and answer. None without a toy."""
    public: PublicData | None = None
    """The public data set that `rationales.source: dataset` reads if no path is set."""
    pattern: str | None = None
    """A regular expression with one group, which captures the answer in an answer or a teacher's text."""
    instruction: str | None = None
    """The teacher's instruction about the questions. None means the default for the kind of answer."""

    def parse(self, text: str) -> str:
        """The part of an answer to compare: the group of the last match of `pattern`, else the whole text."""
        matches = re.findall(self.pattern, text) if self.pattern else []
        return matches[-1].strip() if matches else text

    def check(self, predicted: str | None, gold: str) -> bool:
        """Whether a predicted answer is right. A format error (None) is wrong."""
        return predicted is not None and same_answer(self.kind, self.parse(predicted), self.parse(gold))

    def form_of(self, row: dict[str, Any], plain: Sequence[str]) -> Form | None:
        """The form of the benchmark's own files that a row has. None: it has the `plain` columns."""
        for form in self.public.forms if self.public else ():
            if form.fits(row) and (form.sign or any(name not in row for name in plain)):
                return form
        return None

    def split(self, question: str) -> Split | None:
        """The split of a question: the one of Ho et al., or drawn at random if none was published.

        None for questions that Ho et al. do not list, and for tasks whose data sets have their own split.
        """
        if self.public is None:
            return None
        if self.public.test_share is not None:
            return drawn_split(self.name, question, self.public.test_share)
        return listed_split(self.name, question)

    def read_public(self, row: dict[str, Any], split: str) -> dict[str, Any]:
        """Question, answer, split and perhaps rationale of a row of the public data set's `split`.

        A row without the expected form gets no question and no answer. The stage counts and shows such rows.
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
