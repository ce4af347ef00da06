"""Texts to token ids. Importing this module imports neither torch nor transformers.

The workers of the stage samples encode with the `tokenizers` library alone: transformers would take seconds
and hundreds of MiB in each of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from tokenizers import Tokenizer


def encode(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    """Token ids of plain text. A marker in the text is encoded as text, never as a special token."""
    return tokenizer(texts, add_special_tokens=False, split_special_tokens=True)["input_ids"] if texts else []


def sendable(tokenizer: Any) -> Callable[[list[str]], list[list[int]]]:
    """`encode` with this tokenizer, as a function that can be sent to other processes.

    A tokenizer without a `tokenizers` back end is sent whole, and needs transformers there.
    """
    if tokenizer.is_fast:
        return FastEncoder(tokenizer.backend_tokenizer.to_str())
    return partial(encode, tokenizer)


@dataclass(frozen=True)
class FastEncoder:
    """`encode` with a tokenizer of the `tokenizers` library, given as its JSON."""

    definition: str

    def __call__(self, texts: list[str]) -> list[list[int]]:
        encoded = _load(self.definition).encode_batch(texts, add_special_tokens=False)
        return [one.ids for one in encoded]


@lru_cache(maxsize=1)
def _load(definition: str) -> Tokenizer:
    tokenizer = Tokenizer.from_str(definition)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.encode_special_tokens = True
    return tokenizer
