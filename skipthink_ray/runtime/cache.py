"""The user's cache: converted students, compiled DeepSpeed operators, and the scripts of report pages."""

import os
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from platformdirs import user_cache_path

CACHE = "SKIPTHINK_CACHE"


def cache_folder() -> Path:
    """$SKIPTHINK_CACHE, or else the platform's cache folder."""
    return Path(os.environ.get(CACHE) or user_cache_path("skipthink_ray"))


def cached_text(name: str, make: Callable[[], str]) -> str:
    """The text of a file in the cache, made first if it is missing or damaged. The cache may be read-only."""
    file = cache_folder() / name
    with suppress(OSError, UnicodeDecodeError):
        if text := file.read_text("utf-8"):
            return text
    text, other = make(), file.with_name(f"{name}.{uuid.uuid4().hex}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        other.write_text(text, "utf-8")
        other.replace(file)  # other processes see the whole file or none
    except OSError:
        with suppress(OSError):
            other.unlink()
    return text
