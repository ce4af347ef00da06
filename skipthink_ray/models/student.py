"""The student: a causal LM of transformers with its markers, as a folder that transformers alone can load.

Source: method §1 (markers, "new rows initialised from the mean embedding"). No pickle is read: weights are
safetensors, and `trust_remote_code` stays off.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from skipthink_ray.config import StudentConfig
from skipthink_ray.method.markup import ANSWER, SKIP, THOUGHT, MarkerIds, markers
from skipthink_ray.models.marker_start import add_embeddings, start_markers
from skipthink_ray.models.pretrained import Say, resolve

PAD, EOS = "[pad]", "[eos]"
LINE_BREAK = "\n"


@dataclass(frozen=True)
class Student:
    """A model and its tokenizer, markers included."""

    model: Any
    """A PreTrainedModel; typed loosely, as transformers' own stubs forbid to call one."""
    tokenizer: Any
    ids: MarkerIds
    pad_id: int


def load_tokenizer(config: StudentConfig, texts: Iterable[str]) -> Any:
    """The pretrained tokenizer, or one trained on `texts` (read only then). ValueError where a folder has none."""
    if config.pretrained is None:
        return train_tokenizer(texts, config.vocabulary)
    source = check_pretrained(config.pretrained)
    try:
        tokenizer = AutoTokenizer.from_pretrained(source)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"student.pretrained: no tokenizer could be loaded from '{config.pretrained}': {error}"
        ) from error
    if tokenizer.eos_token_id is None:
        raise ValueError(
            f"student.pretrained: the tokenizer of '{config.pretrained}' has no EOS token; a student must be able to stop"
        )
    return tokenizer


def check_pretrained(name: str, say: Say = lambda _: None) -> str:
    """The folder or hub id that `student.pretrained` means, fetched and converted if it was not yet (`say` is told).

    ValueError as `resolve`, and for a folder without model or tokenizer, or a hub id that cannot be found or reached.
    """
    source = resolve(name, say)
    check_causal_lm("student.pretrained", source)
    return source


def check_causal_lm(key: str, name: str) -> None:
    """ValueError, which names the configuration's `key`, where a folder or hub id can hold no causal LM."""
    folder = Path(name)
    if not (folder.is_absolute() or folder.exists()):
        try:
            AutoConfig.from_pretrained(name)
        except (OSError, ValueError) as error:
            first = str(error).splitlines()[0]
            raise ValueError(f"{key}: '{name}' is no folder, and the hub gave no model: {first}") from error
        return
    if not (folder / "config.json").exists():
        gguf = "; name its GGUF file itself" if any(folder.glob("*.gguf")) else ""
        raise ValueError(f"{key}: '{folder}' holds no model (no config.json){gguf}")
    if not any(folder.glob("*token*")):
        raise ValueError(f"{key}: the folder '{folder}' holds no tokenizer; save one beside the model")


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE over words, punctuation and groups of up to three digits, each with its leading space.

    No text is out of vocabulary. With digit groups a narrow student learns small arithmetic sooner than with
    single digits.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r" ?\d{1,3}| ?\p{L}+| ?[^\s\p{L}\d]+|\s+"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )  # type: ignore[assignment]
    tokenizer.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=EOS, clean_up_tokenization_spaces=False
    )


def build_student(config: StudentConfig, tokenizer: Any, num_chunks: int, seed: int) -> Student:
    """The student before training, markers added to its tokenizer and embeddings."""
    known = len(tokenizer)
    tokenizer.add_tokens(markers(num_chunks), special_tokens=True)
    if tokenizer.pad_token_id in (
        None,
        tokenizer.eos_token_id,
    ):  # never EOS: padding must not hide it from the loss
        tokenizer.add_special_tokens({"pad_token": PAD})
    torch.manual_seed(seed)
    if config.pretrained is None:
        model = _from_scratch(config, len(tokenizer))
    else:
        model = _from_pretrained(resolve(config.pretrained))
        add_embeddings(model, known, len(tokenizer))
    start_markers(model, tokenizer, config.marker_start, num_chunks, seed)
    _set_token_ids(model, tokenizer)
    start = prompt_start(config)
    model.config.skipthink = {"prompt_start": start}
    return Student(model, tokenizer, marker_ids(tokenizer, start), int(tokenizer.pad_token_id or 0))


def prompt_start(config: StudentConfig) -> str:
    """The text in front of every prompt, as configured or by the kind of student."""
    if config.prompt_start is not None:
        return config.prompt_start
    return LINE_BREAK if config.pretrained else ""


def save_student(student: Student, folder: Path) -> None:
    student.model.save_pretrained(folder)
    student.tokenizer.save_pretrained(folder)


def load_student(folder: str | Path) -> Student:
    """A student written by `save_student` or by a training stage. ValueError where the folder is none."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, use_safetensors=True)
    except (OSError, ValueError) as error:
        raise ValueError(f"'{folder}' is not a student's folder (model and tokenizer): {error}") from error
    start = getattr(model.config, "skipthink", {}).get("prompt_start", "")
    return Student(model, tokenizer, marker_ids(tokenizer, start), tokenizer.pad_token_id)


def marker_ids(tokenizer: Any, start: str = "") -> MarkerIds:
    """ValueError if the markers are missing, as in a model that this project never prepared. start: text of every prompt's start."""
    vocabulary = tokenizer.get_added_vocab()
    missing = [marker for marker in markers(1) if marker not in vocabulary]
    if missing:
        raise ValueError(
            f"the tokenizer has no marker {', '.join(missing)}; it belongs to no skipthink student"
        )
    num_chunks = next(m for m in range(1, len(vocabulary) + 2) if f"[{m}]" not in vocabulary) - 1
    stages = tuple(vocabulary[f"[{stage}]"] for stage in range(1, num_chunks + 1))
    first = tuple(encode(tokenizer, [start])[0]) if start else ()
    return MarkerIds(
        stages, vocabulary[ANSWER], vocabulary[SKIP], vocabulary[THOUGHT], tokenizer.eos_token_id, first
    )


def encode(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    """Token ids of plain text; a marker written out by a user is text here, never a special token."""
    return tokenizer(texts, add_special_tokens=False, split_special_tokens=True)["input_ids"] if texts else []


def _from_pretrained(name: str) -> Any:
    try:
        return AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32, use_safetensors=True)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"student.pretrained: no causal LM could be loaded from '{name}': {error}"
        ) from error


def _from_scratch(config: StudentConfig, vocabulary: int) -> PreTrainedModel:
    if config.width % (2 * config.heads):
        raise ValueError(
            f"student.width: {config.width} is no multiple of 2 * student.heads = {2 * config.heads}"
        )
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=config.width,
            intermediate_size=3 * config.width,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            max_position_embeddings=2 * config.max_tokens,
            tie_word_embeddings=True,
            initializer_range=config.width**-0.5,
        )
    )


def _set_token_ids(model: Any, tokenizer: Any) -> None:
    model.config.pad_token_id, model.config.eos_token_id = tokenizer.pad_token_id, tokenizer.eos_token_id
    model.generation_config = GenerationConfig(
        do_sample=False, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
