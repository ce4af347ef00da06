"""The user's cache: converted students, compiled DeepSpeed operators, and the scripts of report pages."""

import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from platformdirs import user_cache_path

CACHE = "SKIPTHINK_CACHE"


def cache_folder() -> Path:
    """$SKIPTHINK_CACHE, or else the platform's cache folder."""
    return Path(os.environ.get(CACHE) or user_cache_path("skipthink_ray"))


def cached_text(name: str, make: Callable[[], str]) -> str:
    """The text of a file in the cache, made first if it is not there. The cache may be read-only."""
    file = cache_folder() / name
    with suppress(OSError):
        return file.read_text("utf-8")
    text = make()
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=file.parent, delete=False) as other:
            other.write(text)
        os.replace(other.name, file)  # other processes see the whole file or none
    return text
