"""Greedy decoding with the `generate` of transformers, in the modes of inference (method §6)."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from skipthink_ray.method.markup import Ids, parse_conclusion, prompt
from skipthink_ray.method.modes import Mode
from skipthink_ray.models.student import Student

STEP_LIMIT = 2
"""With one chunk per step: a student may write this many times M chunks. M - 1 is the number of steps of the
longest training rationale."""


@dataclass(frozen=True)
class Answer:
    """What a student wrote: the whole text, the answer in it (None: format error), and the cost."""

    text: str
    answer: str | None
    tokens: int
    """Generated tokens of all stages, EOS included."""
    stopped: bool
    """Every decoding ended in EOS before the length limit. With one chunk per step, the chunks ended too."""


def generate(student: Student, prompts: list[list[int]], max_new_tokens: int) -> list[list[int]]:
    """Greedy continuations, each up to and including EOS, or up to the limit.

    The limit is `max_new_tokens`, or the end of the model's positions. A prompt that fills all positions gets
    an empty continuation.
    """
    positions = max_positions(student)
    together = [at for at, tokens in enumerate(prompts) if len(tokens) + max_new_tokens <= positions]
    written: list[list[int]] = [[] for _ in prompts]
    for at, ids in zip(
        together, _generate_batch(student, [prompts[at] for at in together], max_new_tokens), strict=True
    ):
        written[at] = ids
    for at, tokens in enumerate(prompts):  # near the end of the positions, each prompt has its own limit
        room = min(max_new_tokens, positions - len(tokens))
        if room > 0 and len(tokens) + max_new_tokens > positions:
            written[at] = _generate_batch(student, [tokens], room)[0]
    return written


def max_positions(student: Student) -> int:
    """The student's maximum sequence length; unlimited if its config gives none."""
    return getattr(student.model.config, "max_position_embeddings", None) or sys.maxsize


@torch.no_grad()
def _generate_batch(student: Student, prompts: list[list[int]], max_new_tokens: int) -> list[list[int]]:
    if not prompts:
        return []
    width = max(map(len, prompts))
    ids_BT = torch.full((len(prompts), width), student.pad_id)
    mask_BT = torch.zeros_like(ids_BT)
    for at, tokens in enumerate(prompts):  # pad on the left: every row ends where its continuation begins
        ids_BT[at, width - len(tokens) :] = torch.tensor(tokens)
        mask_BT[at, width - len(tokens) :] = 1
    device = student.model.device
    written_BT = student.model.generate(
        input_ids=ids_BT.to(device),
        attention_mask=mask_BT.to(device),
        max_new_tokens=max_new_tokens,
        do_sample=False,
    )[:, width:].tolist()
    return [_until_eos(ids, student.ids.eos) for ids in written_BT]


def answer_questions(
    student: Student, mode: Mode, questions: Sequence[Ids], max_new_tokens: int
) -> list[Answer]:
    """Answer questions (token ids of the question part q) in one batch and one mode."""
    if mode == "staged":
        return _answer_in_stages(student, questions, max_new_tokens)
    written = generate(student, first_prompts(student, mode, questions), max_new_tokens)
    answers = []
    for ids in written:
        text = text_of(student, ids)
        answers.append(Answer(text, parse_conclusion(text), len(ids), _stopped(student, ids)))
    return answers


def first_prompts(student: Student, mode: Mode, questions: Sequence[Ids]) -> list[list[int]]:
    """The prompts of a mode; in staged mode, those of the first chunk."""
    ids = student.ids
    marker = {"skip": ids.skip, "staged": next(iter(ids.stages), None)}.get(mode)
    return [prompt(ids, marker, question) for question in questions]


def _answer_in_stages(student: Student, questions: Sequence[Ids], max_new_tokens: int) -> list[Answer]:
    """Prompt with `[1]` .. `[M]` and `[answer]` in turn, each with the question and all chunks so far.

    With one chunk per step, a student is asked for another chunk until it writes an empty one. Without the
    `[answer]` marker, the answer is what it concludes in its last chunk.
    """
    ids, answers = student.ids, list[str | None]()
    contexts: list[list[int]] = [[] for _ in questions]
    tokens, stopped, ended = [0] * len(questions), [True] * len(questions), [False] * len(questions)
    for marker in ids.stages * (STEP_LIMIT if ids.chunk_per_step else 1):
        asked = [at for at, end in enumerate(ended) if not end]
        prompts = [prompt(ids, marker, questions[at], contexts[at]) for at in asked]
        for at, written in zip(asked, generate(student, prompts, max_new_tokens), strict=True):
            tokens[at] += len(written)
            stopped[at] &= _stopped(student, written)
            ended[at] = ids.chunk_per_step and written == [ids.eos]
            contexts[at].extend(token for token in written if token != ids.eos)
    texts = [text_of(student, context) for context in contexts]
    if ids.answer_in_last_chunk:
        answers = [parse_conclusion(text) for text in texts]
        return [Answer(*fields) for fields in zip(texts, answers, tokens, stopped, strict=True)]
    prompts = [prompt(ids, ids.answer, *parts) for parts in zip(questions, contexts, strict=True)]
    for at, written in enumerate(generate(student, prompts, max_new_tokens)):
        tokens[at] += len(written)
        stopped[at] &= _stopped(student, written) and ended[at] == ids.chunk_per_step
        answers.append(text_of(student, written).strip() or None)
        texts[at] += f" --> {answers[at] or ''}"
    return [Answer(*fields) for fields in zip(texts, answers, tokens, stopped, strict=True)]


def _until_eos(ids: list[int], eos: int) -> list[int]:
    return ids[: ids.index(eos) + 1] if eos in ids else ids


def _stopped(student: Student, ids: list[int]) -> bool:
    return bool(ids) and ids[-1] == student.ids.eos


def text_of(student: Student, ids: Ids) -> str:
    """The generated text, without EOS and padding."""
    shown = [token for token in ids if token not in (student.ids.eos, student.pad_id)]
    return student.tokenizer.decode(shown, skip_special_tokens=False)
