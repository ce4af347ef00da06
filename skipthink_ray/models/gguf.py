"""A GGUF file as an ordinary folder of transformers: fp32 safetensors, configuration and tokenizer.

transformers reads the file, quantised or not, but does not save such a model. So its weights go into a fresh
model of the same class and configuration, and that is saved.

Tokenizer: a GGUF file names the way in which text is split before BPE. transformers 5.23 knows some of these
names and uses GPT-2's split for the others. SmolLM2's `smollm` is one of the others: it cuts numbers into
digits first, so GPT-2's split gives other tokens at white space before a digit ("\\n\\n4"). The names in
DIGITS_FIRST are mended here. For any other unknown name the user is told.

EOS is the file's own. For SmolLM2-135M-Instruct that is `<|im_end|>`, the token with which it ends a turn.
Padding is `<|im_end|>` too, so models/student.py adds a `[pad]`, and EOS stays in the loss.
"""

import copy
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.integrations.gguf import read_gguf_metadata

PRE = "tokenizer.ggml.pre"
DIGITS_FIRST = ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone")
"""llama.cpp's names for: every digit by itself, then GPT-2's split."""
GPT2_SPLIT = ("default", "gpt-2", "phi-2", "mpt", "olmo", "jais")
"""Its names for GPT-2's split."""
BROKEN = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    RuntimeError,
    ArithmeticError,
    struct.error,
)
"""What the readers raise for a file that is cut off or damaged, or for an unknown architecture."""


def convert(file: Path, folder: Path, say: Callable[[str], None]) -> None:
    """Write the folder. ValueError, in one line: the file cannot be read whole, or holds no causal LM."""
    try:
        metadata, _ = read_gguf_metadata(str(file))
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
        loaded: Any = AutoModelForCausalLM.from_pretrained(  # with loading info it returns a pair
            file.parent, gguf_file=file.name, dtype=torch.float32, output_loading_info=True
        )
    except BROKEN as error:
        raise ValueError(
            f"student.pretrained: the GGUF file {file.name} could not be read ({_first_line(error)}). "
            "It may be cut off, damaged, one part of several, or of an unknown architecture; download it "
            "again, or give the model's folder or hub id"
        ) from error
    model, found = loaded
    if missing := sorted(found["missing_keys"]):
        raise ValueError(
            f"student.pretrained: the GGUF file {file.name} lacks {len(missing)} weights ({missing[0]}, "
            "...); give a whole model in one file"
        )
    _mend_split(tokenizer, metadata.get(PRE), say)
    _as_ordinary(model).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _mend_split(tokenizer: Any, name: str | None, say: Callable[[str], None]) -> None:
    backend = tokenizer.backend_tokenizer
    split = json.loads(backend.to_str())["pre_tokenizer"]
    if not (split and split["type"] == "ByteLevel" and split["use_regex"]):
        return  # not GPT-2's: transformers knew the name
    if name in DIGITS_FIRST:
        digits = pre_tokenizers.Digits(individual_digits=True)
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [digits, pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
    elif name not in GPT2_SPLIT:
        say(
            f"Note: the GGUF file splits text as '{name}', which transformers does not know. GPT-2's split "
            "is used, so some tokens may differ from those of pretraining. The model's folder or hub id has its "
            "own tokenizer."
        )


def _as_ordinary(model: Any) -> Any:
    """The same weights in a model that does not remember the GGUF file."""
    config = copy.deepcopy(model.config)
    del config.quantization_config
    with torch.device("meta"):
        ordinary = type(model)(config)
    ordinary.load_state_dict(model.state_dict(), assign=True)
    ordinary.tie_weights()
    ordinary.generation_config = model.generation_config
    return ordinary


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
