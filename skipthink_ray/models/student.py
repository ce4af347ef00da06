"""The student: a causal LM with markers (method §1), saved as a folder that transformers alone can load.

No pickle is read: weights are safetensors, and `trust_remote_code` stays off.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from skipthink_ray.config import ClusterConfig, CwtConfig, Precision, StudentConfig
from skipthink_ray.method.markup import (
    ANSWER,
    COMMON_MARKERS,
    SKIP,
    STAGE_MARKER,
    THOUGHT,
    MarkerIds,
    stage_markers,
)
from skipthink_ray.models.encoding import encode
from skipthink_ray.models.marker_start import add_embeddings, start_markers
from skipthink_ray.models.pretrained import first_line, resolve

PAD, EOS = "[pad]", "[eos]"
LINE_BREAK = "\n"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
FIXED_M = CwtConfig()


@dataclass(frozen=True)
class Student:
    """A model and its tokenizer, including the markers."""

    model: Any
    """A PreTrainedModel; typed as Any because the type stubs of transformers do not allow calling one."""
    tokenizer: Any
    ids: MarkerIds
    pad_id: int


def load_tokenizer(config: StudentConfig, texts: Iterable[str]) -> Any:
    """The pretrained tokenizer, or a new one trained on `texts`. Raises ValueError if it cannot be loaded.

    `check_pretrained` must have accepted the pretrained student.
    """
    if config.pretrained is None:
        return train_tokenizer(texts, config.vocabulary)
    source = resolve(config.pretrained)
    try:
        tokenizer = AutoTokenizer.from_pretrained(source)
    except Exception as error:  # damaged files raise almost anything
        raise ValueError(
            f"student.pretrained: no tokenizer could be loaded from '{config.pretrained}': "
            f"{first_line(error)}"
        ) from error
    if tokenizer.eos_token_id is None:
        raise ValueError(
            f"student.pretrained: the tokenizer of '{config.pretrained}' has no EOS token, "
            "so a student could not stop; set its eos_token"
        )
    if taken := own_words(tokenizer) & {*COMMON_MARKERS}:
        raise ValueError(
            f"student.pretrained: the vocabulary of '{config.pretrained}' has {', '.join(sorted(taken))} as "
            "ordinary tokens, but skipthink needs these names for markers; use another model"
        )
    return tokenizer


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE over words, punctuation and groups of up to three digits, each with its leading space.

    It can encode any text. With digit groups, a narrow student learns small arithmetic sooner than with
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


def build_student(config: StudentConfig, tokenizer: Any, seed: int) -> Student:
    """The student before training. Its tokenizer and embeddings lack only the stage markers, which need M."""
    known = len(tokenizer)
    # A text may contain `[1]`. Special tokens are never made from texts, so it does not become the marker.
    looks_like_stage = [token for token in tokenizer.get_added_vocab() if STAGE_MARKER.fullmatch(token)]
    tokenizer.add_tokens([*looks_like_stage, *COMMON_MARKERS], special_tokens=True)
    # never EOS: padding has no loss, and EOS must have one
    if tokenizer.pad_token_id in (None, tokenizer.eos_token_id):
        tokenizer.add_special_tokens({"pad_token": PAD})
    torch.manual_seed(seed)
    if config.pretrained is None:
        model = _from_scratch(config, len(tokenizer))
    else:
        model = _from_pretrained(resolve(config.pretrained))
        add_embeddings(model, known, len(tokenizer))
    start_markers(model, tokenizer, config.marker_start, list(COMMON_MARKERS), seed)
    _set_token_ids(model, tokenizer)
    made = model.config.skipthink = {"prompt_start": prompt_start(config), "num_chunks": 0}
    return Student(model, tokenizer, marker_ids(tokenizer, made), int(tokenizer.pad_token_id or 0))


def with_stages(
    student: Student, num_chunks: int, marker_start: str, seed: int, config: CwtConfig = FIXED_M
) -> Student:
    """The student with the stage markers, and all its markers at their start.

    The stage markers are `[1]` to `[M]`; with one chunk per step, only `[1]`. Changes the model and the
    tokenizer in place. marker_start: `student.marker_start`. Raises ValueError if the student has stage
    markers.
    """
    model, tokenizer = student.model, student.tokenizer
    if student.ids.stages:
        raise ValueError(f"the student already has markers for {len(student.ids.stages)} chunks")
    shared = config.num_chunks == "steps"
    known, stages = len(tokenizer), stage_names(tokenizer, 1 if shared else num_chunks)
    tokenizer.add_tokens(stages, special_tokens=True)
    add_embeddings(model, known, len(tokenizer))
    start_markers(model, tokenizer, marker_start, [*stages, *COMMON_MARKERS], seed)
    made = model.config.skipthink = {
        **model.config.skipthink,
        "num_chunks": num_chunks,
        "chunk_per_step": shared,
        "answer_marker": config.answer_marker,
    }
    return replace(student, ids=marker_ids(tokenizer, made))


def own_words(tokenizer: Any) -> set[str]:
    """The ordinary tokens of a tokenizer, as text: all but the added ones."""
    return tokenizer.get_vocab().keys() - tokenizer.get_added_vocab().keys()


def stage_names(tokenizer: Any, number: int) -> list[str]:
    """The tokens of the stage markers: `[m]`, or `[[m]]` if the pretrained vocabulary has `[m]` as a word.

    A tokenizer cannot have both under one name: text with the word would become the marker.
    """
    own = own_words(tokenizer)
    return [f"[{name}]" if name in own else name for name in stage_markers(number)]


def prompt_start(config: StudentConfig) -> str:
    """The text at the start of every prompt: as configured, or the default for this kind of student."""
    if config.prompt_start is not None:
        return config.prompt_start
    return LINE_BREAK if config.pretrained else ""


def save_student(student: Student, folder: Path) -> None:
    student.model.save_pretrained(folder)
    student.tokenizer.save_pretrained(folder)


def load_student(folder: str | Path, precision: Precision = "fp32") -> Student:
    """Load a student that `save_student` or a training stage wrote. ValueError for any other folder.

    :param precision: number format of the weights
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = _whole_model(folder, DTYPES[precision])
    except Exception as error:  # damaged files raise almost anything
        reason = first_line(error) if (Path(folder) / "config.json").exists() else "it has no config.json"
        raise ValueError(f"'{folder}' is not a student's folder (model and tokenizer): {reason}") from error
    ids = marker_ids(tokenizer, getattr(model.config, "skipthink", {}))
    return Student(model, tokenizer, ids, tokenizer.pad_token_id)


def marker_ids(tokenizer: Any, made: Mapping[str, Any]) -> MarkerIds:
    """The ids of the markers and of the prompt start. Raises ValueError if the tokenizer lacks markers.

    made: `skipthink` in the student's config.json. Its `num_chunks` is M, or 0 for base and before cwt;
    without it, the stage markers of the tokenizer are counted.
    """
    vocabulary = tokenizer.get_added_vocab()
    missing = [marker for marker in COMMON_MARKERS if marker not in vocabulary]
    if missing:
        raise ValueError(
            f"the tokenizer lacks the markers {', '.join(missing)}; use a student that skipthink trained"
        )
    num_chunks, start = made.get("num_chunks"), made.get("prompt_start")
    if num_chunks is None:
        num_chunks = next(m for m in range(1, len(vocabulary) + 2) if f"[{m}]" not in vocabulary) - 1
    shared = made.get("chunk_per_step")
    names = stage_names(tokenizer, 1) * num_chunks if shared else stage_names(tokenizer, num_chunks)
    stages = tuple(vocabulary[name] for name in names)
    answer = vocabulary[ANSWER] if made.get("answer_marker", True) else stages[-1]
    first = tuple(encode(tokenizer, [start])[0]) if start else ()
    return MarkerIds(stages, answer, vocabulary[SKIP], vocabulary[THOUGHT], tokenizer.eos_token_id, first)


def _from_pretrained(name: str) -> Any:
    try:
        return _whole_model(name)
    except Exception as error:  # damaged files raise almost anything
        raise ValueError(
            f"student.pretrained: no causal LM could be loaded from '{name}': {first_line(error)}"
        ) from error


def _whole_model(name: str | Path, dtype: torch.dtype = torch.float32) -> Any:
    """A causal LM. Raises ValueError if a weight is missing, which transformers would draw at random."""
    loaded: Any = AutoModelForCausalLM.from_pretrained(  # returns a pair because of output_loading_info
        name, dtype=dtype, use_safetensors=True, output_loading_info=True
    )
    model, info = loaded
    if missing := sorted(info["missing_keys"]):
        raise ValueError(f"it lacks {len(missing)} weights ({missing[0]}, ...), which would be random")
    return model


def _from_scratch(config: StudentConfig, vocabulary: int) -> PreTrainedModel:
    if config.width % (2 * config.heads):
        raise ValueError(
            f"student.width: {config.width} is not a multiple of 2 * student.heads = {2 * config.heads}"
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


def place(student: Student, cluster: ClusterConfig) -> None:
    """Move a student to an actor's device and set it to inference mode."""
    torch.set_num_threads(max(1, int(cluster.cpus_per_worker)))
    student.model.to("cuda" if cluster.use_gpu else "cpu").eval()


def _set_token_ids(model: Any, tokenizer: Any) -> None:
    model.config.pad_token_id, model.config.eos_token_id = tokenizer.pad_token_id, tokenizer.eos_token_id
    model.generation_config = GenerationConfig(
        do_sample=False, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
