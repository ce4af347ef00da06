"""Converts a GGUF file to an ordinary transformers folder: fp32 safetensors, configuration and tokenizer.

transformers reads such a file, quantised or not, but cannot save the model. So the weights are moved into a
new model of the same class and configuration, which is saved.

Tokenizer: a GGUF file names its pre-tokenizer, which splits text before BPE. transformers 5.23 knows some of
these names and uses GPT-2's split for all others. SmolLM2's `smollm` is one of the others: it splits numbers
into digits first, so GPT-2's split gives other tokens at white space before a digit ("\\n\\n4"). This module
corrects the split for the names in DIGITS_FIRST. For any other unknown name it prints a notice.

EOS is the one in the file. For SmolLM2-135M-Instruct that is `<|im_end|>`, which ends a turn. Its padding
token is `<|im_end|>` too, so models/student.py adds a `[pad]`, and EOS keeps its loss.
"""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.integrations.gguf import read_gguf_metadata

from skipthink_ray.models.pretrained import first_line

PRE = "tokenizer.ggml.pre"
DIGITS_FIRST = ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone")
"""llama.cpp's names of pre-tokenizers that split off each digit and then use GPT-2's split."""
GPT2_SPLIT = ("default", "gpt-2", "phi-2", "mpt", "olmo", "jais")
"""llama.cpp's names for GPT-2's split."""


def convert(file: Path, folder: Path, say: Callable[[str], None]) -> None:
    """Write the folder. Raises a one-line ValueError if the file is incomplete or not a causal LM."""
    try:
        metadata, _ = read_gguf_metadata(str(file))
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
        loaded: Any = AutoModelForCausalLM.from_pretrained(  # returns a pair because of output_loading_info
            file.parent, gguf_file=file.name, dtype=torch.float32, output_loading_info=True
        )
    except Exception as error:  # the readers raise almost anything for a damaged file
        raise ValueError(
            f"student.pretrained: the GGUF file {file.name} could not be read ({first_line(error)}). "
            "It may be truncated, damaged, one part of several, or of an unknown architecture; download it "
            "again, or use the model's folder or hub id"
        ) from error
    model, info = loaded
    if missing := sorted(info["missing_keys"]):
        raise ValueError(
            f"student.pretrained: the GGUF file {file.name} lacks {len(missing)} weights ({missing[0]}, "
            "...); use a file with the whole model"
        )
    _correct_split(tokenizer, metadata.get(PRE), say)
    _as_ordinary(model).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _correct_split(tokenizer: Any, name: str | None, say: Callable[[str], None]) -> None:
    backend = tokenizer.backend_tokenizer
    split = json.loads(backend.to_str())["pre_tokenizer"]
    if not (split and split["type"] == "ByteLevel" and split["use_regex"]):
        return  # not GPT-2's split, so transformers knew the name
    if name in DIGITS_FIRST:
        digits = pre_tokenizers.Digits(individual_digits=True)
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [digits, pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
    elif name not in GPT2_SPLIT:
        say(
            f"Note: the GGUF file splits text as '{name}', which transformers does not know. GPT-2's split "
            "is used instead, so some tokens may differ from pretraining. The model's folder or hub id has "
            "the original tokenizer."
        )


def _as_ordinary(model: Any) -> Any:
    """The same weights in a model whose config does not mention the GGUF file."""
    config = copy.deepcopy(model.config)
    del config.quantization_config
    with torch.device("meta"):
        ordinary = type(model)(config)
    ordinary.load_state_dict(model.state_dict(), assign=True)
    ordinary.tie_weights()
    ordinary.generation_config = model.generation_config
    return ordinary
