"""Renders items with their markers (method §2) and parses what a student wrote (§6).

It works on token ids and not on text, so that moving a chunk boundary never changes a token. Every target
ends in EOS; no prompt contains it.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

ANSWER, SKIP, THOUGHT = "[answer]", "[skip]", "[thought]"
COMMON_MARKERS = (ANSWER, SKIP, THOUGHT)
"""The markers that do not depend on M."""
STAGE_MARKER = re.compile(r"\[\d+\]|\[\[\d+\]\]")
"""`[m]`, or `[[m]]` if a pretrained vocabulary has `[m]` as a word."""
ARROW = "-->"

Ids = Sequence[int] | np.ndarray
Kept = Sequence[bool] | np.ndarray
"""For each of the M chunks: whether it is shown."""


def stage_markers(num_chunks: int) -> list[str]:
    """`[1]` to `[M]`."""
    return [f"[{stage}]" for stage in range(1, num_chunks + 1)]


@dataclass(frozen=True)
class MarkerIds:
    """Token ids of the markers, of EOS, and of the start of every prompt."""

    stages: tuple[int, ...]
    """The marker of each stage; with one chunk per step, `[1]` for every stage."""
    answer: int
    """The marker under which the student writes the answer: `[answer]`, or without it `[M]`."""
    skip: int
    thought: int
    eos: int
    start: tuple[int, ...] = ()
    """Start of every prompt (`student.prompt_start`); often empty."""

    @property
    def markers(self) -> tuple[int, ...]:
        """Every marker once."""
        return tuple(dict.fromkeys((*self.stages, self.answer, self.skip, self.thought)))

    @property
    def chunk_per_step(self) -> bool:
        """Whether all stages share a marker, so that an empty chunk ends the rationale."""
        return len({*self.stages}) < len(self.stages)

    @property
    def answer_in_last_chunk(self) -> bool:
        """Whether stage M writes ` --> y` after its chunk, because there is no `[answer]` marker."""
        return self.answer in self.stages


@dataclass(frozen=True)
class Sample:
    """One rationale as token ids. `sizes` counts the steps of each of the M chunks."""

    question: Ids
    steps: Sequence[Ids]
    sizes: Sequence[int]
    answer: Ids
    """y alone, the target of a CWT answer item."""
    conclusion: Ids
    """` --> y`, which follows a rationale."""

    @property
    def chunks(self) -> list[list[int]]:
        """Token ids of the chunks c_1..c_M. The last ones may be empty."""
        ends = [sum(self.sizes[: m + 1]) for m in range(len(self.sizes))]
        return [join(self.steps[end - size : end]) for end, size in zip(ends, self.sizes, strict=True)]


@dataclass(frozen=True)
class Item:
    """One training sequence. Only `target`, which ends in EOS, has a loss."""

    prompt: list[int]
    target: list[int]


def join(parts: Iterable[Ids]) -> list[int]:
    return list(chain.from_iterable(parts))


def full_item(sample: Sample, ids: MarkerIds, removed: int = 0) -> Item:
    """Base and icot: prompt q; target r without its first `removed` tokens, and ` --> y`."""
    rationale = join(sample.steps)[removed:]
    return Item(prompt(ids, None, sample.question), [*rationale, *sample.conclusion, ids.eos])


def stage_item(sample: Sample, ids: MarkerIds, stage: int) -> Item:
    """CWT stage m = `stage` + 1: prompt `[m]` q c_1..c_m-1; target c_m, or EOS alone if c_m is empty.

    Without the `[answer]` marker, the target of stage M continues with ` --> y`.
    """
    return Item(
        prompt(ids, ids.stages[stage], sample.question, join(sample.chunks[:stage])),
        stage_target(sample, ids, stage),
    )


def stage_target(sample: Sample, ids: MarkerIds, stage: int) -> list[int]:
    concludes = ids.answer_in_last_chunk and stage == len(ids.stages) - 1
    return [*sample.chunks[stage], *(sample.conclusion if concludes else ()), ids.eos]


def answer_item(sample: Sample, ids: MarkerIds, kept: Kept) -> Item:
    """CWT answer: prompt `[answer]` q and the kept chunks; target y."""
    return Item(
        prompt(ids, ids.answer, sample.question, kept_tokens(sample, kept)), [*sample.answer, ids.eos]
    )


def skip_item(sample: Sample, ids: MarkerIds, kept: Kept) -> Item:
    """STT: prompt `[skip]` q; target the kept chunks, `[thought]` for each skipped one, then ` --> y`.

    An empty chunk adds nothing to the target.
    """
    shown = (
        chunk if keep else [ids.thought] for chunk, keep in zip(sample.chunks, kept, strict=True) if chunk
    )
    return Item(prompt(ids, ids.skip, sample.question), [*join(shown), *sample.conclusion, ids.eos])


def kept_tokens(sample: Sample, kept: Kept) -> list[int]:
    return join(chunk for chunk, keep in zip(sample.chunks, kept, strict=True) if keep)


def prompt(ids: MarkerIds, marker: int | None, question: Ids, context: Ids = ()) -> list[int]:
    """The prompt for training, scoring and inference: start, marker (None: full thinking), q and context.

    With one chunk per step, the stage marker comes last. In front, two items would have one prefix and
    different next tokens: after `[1]` q c_1, the item of step 1 has EOS and the item of step 2 has c_2.
    """
    asked = [] if marker is None else [marker]
    if ids.chunk_per_step and marker == ids.stages[0]:
        return [*ids.start, *question, *context, *asked]
    return [*ids.start, *asked, *question, *context]


def parse_conclusion(text: str) -> str | None:
    """The answer in the text of a full or skip student; None for a format error."""
    _, arrow, answer = text.rpartition(ARROW)
    return (answer.strip() or None) if arrow else None
