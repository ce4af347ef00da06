"""The only place that knows the markers: renders items (method §2) and parses what a student wrote (§6).

Works on token ids and never on text, so that moving a chunk boundary never changes a token. EOS ends every target
and enters no prompt.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

ANSWER, SKIP, THOUGHT = "[answer]", "[skip]", "[thought]"
ARROW = "-->"

Ids = Sequence[int] | np.ndarray
Kept = Sequence[bool] | np.ndarray
"""Of the M chunks, which are shown."""


def markers(num_chunks: int) -> list[str]:
    """The special tokens of a student with M = num_chunks stages, in the order in which they are added."""
    return [*(f"[{stage}]" for stage in range(1, num_chunks + 1)), ANSWER, SKIP, THOUGHT]


@dataclass(frozen=True)
class MarkerIds:
    """Token ids of the markers, of EOS, and of the start of every prompt."""

    stages: tuple[int, ...]
    answer: int
    skip: int
    thought: int
    eos: int
    start: tuple[int, ...] = ()
    """In front of every prompt (`student.prompt_start`); often nothing."""


@dataclass(frozen=True)
class Sample:
    """One rationale as token ids. `sizes` counts the steps of each of the M chunks."""

    question: Ids
    steps: Sequence[Ids]
    sizes: Sequence[int]
    answer: Ids
    """y alone, the target of a CWT answer item."""
    conclusion: Ids
    """` --> y`, as it stands after a rationale."""

    @property
    def chunks(self) -> list[list[int]]:
        """Token ids of chunk c_1..c_M; trailing ones may be empty."""
        ends = [sum(self.sizes[: m + 1]) for m in range(len(self.sizes))]
        return [join(self.steps[end - size : end]) for end, size in zip(ends, self.sizes, strict=True)]


@dataclass(frozen=True)
class Item:
    """One training sequence. The loss is taken over `target`, which ends in EOS."""

    prompt: list[int]
    target: list[int]


def join(parts: Iterable[Ids]) -> list[int]:
    return list(chain.from_iterable(parts))


def full_item(sample: Sample, ids: MarkerIds) -> Item:
    """The Base: q, then r and ` --> y`."""
    return Item(prompt(ids, None, sample.question), [*join(sample.steps), *sample.conclusion, ids.eos])


def stage_item(sample: Sample, ids: MarkerIds, stage: int) -> Item:
    """CWT stage m (0-based): `[m]` q c_1..c_m-1, then c_m; an empty chunk's target is EOS alone."""
    chunks = sample.chunks
    return Item(
        prompt(ids, ids.stages[stage], sample.question, join(chunks[:stage])), [*chunks[stage], ids.eos]
    )


def answer_item(sample: Sample, ids: MarkerIds, kept: Kept) -> Item:
    """CWT answer: `[answer]` q and the kept chunks, then y."""
    return Item(
        prompt(ids, ids.answer, sample.question, kept_tokens(sample, kept)), [*sample.answer, ids.eos]
    )


def skip_item(sample: Sample, ids: MarkerIds, kept: Kept) -> Item:
    """STT: `[skip]` q, then every kept chunk, `[thought]` for a skipped one, nothing for an empty one, ` --> y`."""
    shown = (
        chunk if keep else [ids.thought] for chunk, keep in zip(sample.chunks, kept, strict=True) if chunk
    )
    return Item(prompt(ids, ids.skip, sample.question), [*join(shown), *sample.conclusion, ids.eos])


def kept_tokens(sample: Sample, kept: Kept) -> list[int]:
    return join(chunk for chunk, keep in zip(sample.chunks, kept, strict=True) if keep)


def prompt(ids: MarkerIds, marker: int | None, question: Ids, context: Ids = ()) -> list[int]:
    """Every prompt of training, scoring and inference: its start, the marker (None: full thinking), q and the context."""
    return [*ids.start, *([] if marker is None else [marker]), *question, *context]


def parse_conclusion(text: str) -> str | None:
    """The answer in what a full or skip student wrote; None is a format error."""
    _, arrow, answer = text.rpartition(ARROW)
    return (answer.strip() or None) if arrow else None
