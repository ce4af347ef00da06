"""Texts that are made once per machine."""

from pathlib import Path

import pytest

from skipthink_ray.runtime.cache import CACHE, cache_folder, cached_text


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What `_make` has made; the cache is a new folder."""
    monkeypatch.setenv(CACHE, str(tmp_path / "new/cache"))
    return []


def _text(made: list[str]) -> str:
    def make() -> str:
        made.append("größer")
        return made[-1]

    return cached_text("text.js", make)


def test_a_text_is_made_once_and_read_again_afterwards(made: list[str]):
    assert [_text(made), _text(made)] == ["größer", "größer"]
    assert made == ["größer"]
    assert [file.name for file in cache_folder().iterdir()] == ["text.js"]


def test_a_cache_that_cannot_be_written_costs_only_time(made: list[str]):
    cache_folder().parent.mkdir()
    cache_folder().touch()  # a file, where the folder would be
    assert [_text(made), _text(made)] == ["größer", "größer"]
    assert len(made) == 2


@pytest.mark.parametrize("content", [b"", b"\xff"])
def test_a_damaged_text_is_made_again(made: list[str], content: bytes):
    cache_folder().mkdir(parents=True)
    (cache_folder() / "text.js").write_bytes(content)
    assert [_text(made), _text(made)] == ["größer", "größer"]
    assert len(made) == 1
