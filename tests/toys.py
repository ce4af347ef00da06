"""Small builders for tests: toy rows, in-memory samples, tiny students and checkpoints of real architectures.

They do the work of the stage samples without a cluster.
"""

import json
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from skipthink_ray.config import SamplesConfig, StudentConfig, TrainConfig
from skipthink_ray.method.cutting import cut, texts
from skipthink_ray.method.samples import Samples
from skipthink_ray.models.encoding import encode
from skipthink_ray.models.student import Student, build_student, load_tokenizer, with_stages
from skipthink_ray.rows import CHUNKED_SCHEMA
from skipthink_ray.tasks import TASKS, ToyRow
from skipthink_ray.training.batches import Stage
from skipthink_ray.training.checkpoint import Progress
from skipthink_ray.training.engine import DataParallelEngine
from skipthink_ray.training.loop import Hooks, Job, train
from skipthink_ray.training.markers import attach, merge

FORMATS = SamplesConfig()
ARCHITECTURES = ("gpt2", "llama", "qwen2")
SPARE_ROWS = 6
"""Extra embedding rows of the tiny Qwen2 beyond its tokenizer, as in the released checkpoints."""


def toy_rows(task: str, count: int, difficulty: int = 1, seed: int = 0) -> list[ToyRow]:
    random, toy = Random(seed), TASKS[task].toy
    assert toy is not None
    return [toy(random, difficulty) for _ in range(count)]


def read_rows(path: Path) -> list[ToyRow]:
    """The rows of a JSON Lines file that have a rationale."""
    rows = (json.loads(line) for line in path.read_text(encoding="utf-8").strip().split("\n"))
    return [
        ToyRow(row["question"], row["rationale"], row["answer"]) for row in rows if row["rationale"].strip()
    ]


def written(rows: list[ToyRow]) -> Iterator[str]:
    """All texts that a student reads or writes for these rows."""
    for row in rows:
        yield "".join(texts(row._asdict(), FORMATS))


def new_student(
    config: StudentConfig, num_chunks: int | None = 4, seed: int = 0, texts: Iterable[str] = ()
) -> Student:
    """The student before training, with the markers for `num_chunks`; None leaves out the stage markers."""
    student = build_student(config, load_tokenizer(config, texts), seed)
    return with_stages(student, num_chunks, config.marker_start, seed) if num_chunks else student


def make_student(rows: list[ToyRow], num_chunks: int | None = 4, **shape: Any) -> Student:
    """A student from scratch, with a tokenizer trained on `rows`."""
    config = StudentConfig(
        **{"layers": 2, "width": 32, "heads": 2, "vocabulary": 400, "max_tokens": 256, **shape}
    )
    return new_student(config, num_chunks, texts=written(rows))


def make_samples(rows: list[ToyRow], tokenizer: Any, num_chunks: int = 4) -> Samples:
    """Samples with average chunks."""
    numbered = [
        {**row._asdict(), "row": at, "id": f"row-{at}", "split": "train"} for at, row in enumerate(rows)
    ]
    return Samples(cut(numbered, partial(encode, tokenizer), FORMATS)).in_average_chunks(num_chunks)


def token_samples(
    questions: list[list[int]],
    steps: list[list[list[int]]],
    answers: list[list[int]],
    conclusions: list[list[int]],
    ends_RM: np.ndarray,
    rows: list[ToyRow] | None = None,
) -> Samples:
    """Samples with the given tokens, and with texts if given."""
    rows = rows or [ToyRow("", "", "")] * len(steps)
    table = [
        {
            **rows[at]._asdict(),
            "row": at,
            "id": f"row-{at}",
            "split": "train",
            "question_tokens": questions[at],
            "rationale_tokens": [token for step in steps[at] for token in step],
            "step_tokens": [len(step) for step in steps[at]],
            "answer_tokens": answers[at],
            "conclusion_tokens": conclusions[at],
            "chunk_steps": np.diff(ends_RM[at], prepend=0).tolist(),
        }
        for at in range(len(steps))
    ]
    return Samples(pa.Table.from_pylist(table, schema=CHUNKED_SCHEMA))


def train_briefly(
    student: Student,
    samples: Samples,
    stage: Stage,
    config: TrainConfig,
    updates: int,
    kept_RM: np.ndarray | None = None,
) -> list[float]:
    """Train in this process and return the losses of all updates. Leaves the student in eval mode."""
    progress, nothing = Progress(), Hooks(lambda *_: None, lambda *_: None)
    job = Job(stage, config, updates, seed=0, kept_RM=kept_RM)
    markers = attach(student.model, student.ids, config.optim)
    engine = DataParallelEngine(student.model, config, markers)
    train(job, samples, student, engine, progress, nothing)
    merge(student.model, markers)
    student.model.eval()
    return [row["loss_nats"] for row in progress.history]


def save_tiny(architecture: str, folder: Path, texts: Iterator[str]) -> None:
    """Save a random checkpoint with a tokenizer like that of the architecture's released checkpoints."""
    names = {
        "gpt2": ["<|endoftext|>"],
        "llama": ["<unk>", "<s>", "</s>"],
        "qwen2": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
    }
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # type: ignore[assignment]
    tokenizer.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = names[architecture]
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokens = {"eos_token": special[0], "bos_token": special[0]}
    if architecture == "llama":  # writes <s> before every text, unless told not to
        tokens = {"eos_token": "</s>", "bos_token": "<s>", "unk_token": "<unk>"}
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])  # type: ignore[assignment]
    if architecture == "qwen2":
        tokens = {"eos_token": special[0], "pad_token": special[0]}
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, **tokens
    ).save_pretrained(folder)
    _tiny_model(architecture, tokenizer.get_vocab_size()).save_pretrained(folder)


def _tiny_model(architecture: str, vocabulary: int) -> Any:
    """A model with widely spread weights, so that losses differ between tokens."""
    if architecture == "gpt2":
        shape = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 512, "initializer_range": 0.2}
        return GPT2LMHeadModel(GPT2Config(vocab_size=vocabulary, bos_token_id=0, eos_token_id=0, **shape))
    shape = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "initializer_range": 0.2,
    }
    if architecture == "llama":
        return LlamaForCausalLM(
            LlamaConfig(
                vocab_size=vocabulary, max_position_embeddings=256, tie_word_embeddings=False, **shape
            )
        )
    heads = {"num_key_value_heads": 1, "max_position_embeddings": 256, "tie_word_embeddings": True}
    return Qwen2ForCausalLM(Qwen2Config(vocab_size=vocabulary + SPARE_ROWS, **heads, **shape))


def tiny_llama(**settings: Any) -> LlamaForCausalLM:
    """A Llama of 50 tokens with random weights, the same at every call."""
    torch.manual_seed(0)
    shape = {
        "vocab_size": 50,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    return LlamaForCausalLM(LlamaConfig(**shape, tie_word_embeddings=True, **settings))
