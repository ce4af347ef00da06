"""Tokenised rationales and random students for bench_chunking.py, with torch and transformers only.

It replaces samples.py and student.py, so that the benchmark runs on a bare GPU machine without pyarrow and
pydantic.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from skipthink_ray.method import chunking
from skipthink_ray.method.markup import MarkerIds, join
from skipthink_ray.method.steps import split_steps

GSM8K_STEPS = {2: 1918, 3: 2124, 4: 1657, 5: 976, 6: 435, 7: 242, 8: 101, 9: 16, 10: 1, 12: 3}
"""Rationales of GSM8K's train split by number of steps."""
GPT2 = {"gpt2-124m": (12, 768, 12), "gpt2-355m": (24, 1024, 16), "gpt2-774m": (36, 1280, 20)}
"""Layers, width and heads; 1,024 positions and 50,257 tokens each."""


@dataclass(frozen=True)
class Ragged:
    """The same as samples.Ragged, without pyarrow."""

    values: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of(cls, lists: list[list[int]]) -> "Ragged":
        return cls(
            np.array(join(lists), dtype=np.int64),
            np.concatenate([[0], np.cumsum([len(one) for one in lists])]),
        )


@dataclass(frozen=True)
class Rationales:
    """Replaces samples.Samples with the fields that `stage_losses` and the literal search read."""

    questions: list[list[int]]
    tokens: list[list[list[int]]]
    num_chunks: int

    @cached_property
    def question(self) -> Ragged:
        return Ragged.of(self.questions)

    @cached_property
    def rationale(self) -> Ragged:
        return Ragged.of([join(steps) for steps in self.tokens])

    @cached_property
    def steps(self) -> Ragged:
        return Ragged.of([[len(step) for step in steps] for steps in self.tokens])

    @cached_property
    def step_ends(self) -> Ragged:
        ends = [np.cumsum([len(step) for step in steps]).tolist() for steps in self.tokens]
        return Ragged.of(ends)

    @property
    def ends_RM(self) -> np.ndarray:
        return chunking.average_chunks(np.diff(self.steps.offsets), self.num_chunks)


Text = tuple[list[int], list[list[int]]]
"""Token ids of a question and of each step of its rationale."""


def read_texts(path: str | None, vocabulary: int) -> list[Text]:
    """All rationales as tokens of a BPE trained on them. Random tokens without a file."""
    if path is None:
        rng = np.random.default_rng(0)
        sizes = rng.choice(
            list(GSM8K_STEPS), 2000, p=np.array(list(GSM8K_STEPS.values())) / sum(GSM8K_STEPS.values())
        )
        draw = lambda low, high: rng.integers(0, vocabulary, rng.integers(low, high)).tolist()  # noqa: E731
        return [(draw(40, 90), [draw(10, 45) for _ in range(size)]) for size in sizes]
    rows = _read_rows(path)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # type: ignore[assignment]
    texts = [text for row in rows for text in (row["question"], row["rationale"])]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=vocabulary, initial_alphabet=alphabet, show_progress=False)
    )
    steps = [split_steps(row["rationale"]) for row in rows]
    flat = iter([one.ids for one in tokenizer.encode_batch([step for one in steps for step in one])])
    questions = [one.ids for one in tokenizer.encode_batch([f" {row['question']} ###" for row in rows])]
    return [(question, [next(flat) for _ in one]) for question, one in zip(questions, steps, strict=True)]


def _read_rows(path: str) -> list[dict[str, str]]:
    """Raises SystemExit with the number of a line that is not a JSON object with both texts."""
    rows = []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").strip().split("\n"), start=1):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise SystemExit(f"{path}, line {number}: {error}; every line must be a JSON object") from error
        if not (
            isinstance(row, dict)
            and all(isinstance(row.get(name), str) for name in ("question", "rationale"))
        ):
            raise SystemExit(
                f"{path}, line {number}: no text in `question` or `rationale`; every line needs both"
            )
        rows.append(row)
    return rows


def join_texts(texts: list[Text], num_steps: int, count: int) -> list[Text]:
    """Join the rationales of several questions after the first question, cut to `num_steps` steps."""
    joined, rest = [], iter(texts * (1 + count * num_steps // len(texts)))
    while len(joined) < count:
        question, steps = next(rest)
        while len(steps) < num_steps:
            steps = [*steps, *next(rest)[1]]
        joined.append((question, steps[:num_steps]))
    return joined


def build_student(name: str, vocabulary: int, num_chunks: int, positions: int) -> tuple[Any, MarkerIds]:
    """A random student. Its weights have a large spread, so that losses differ and boundaries move."""
    torch.manual_seed(0)
    size = vocabulary + num_chunks + 4
    first = vocabulary
    ids = MarkerIds(tuple(range(first, first + num_chunks)), size - 4, size - 3, size - 2, size - 1)
    if name == "toy":  # the demo's architecture
        shape = {
            "hidden_size": 96,
            "intermediate_size": 288,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
        }
        config = LlamaConfig(
            vocab_size=size,
            max_position_embeddings=positions,
            tie_word_embeddings=True,
            initializer_range=0.2,
            **shape,
        )
        return LlamaForCausalLM(config), ids
    layers, width, heads = GPT2[name]
    config = GPT2Config(
        vocab_size=size,
        n_layer=layers,
        n_embd=width,
        n_head=heads,
        n_positions=positions,
        initializer_range=0.05,
    )
    return GPT2LMHeadModel(config), ids
