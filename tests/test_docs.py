"""The sections, keys and files that the sources and docs/method.md refer to exist."""

import re
from pathlib import Path

import pytest
import yaml

from skipthink_ray.config import PipelineConfig
from skipthink_ray.options import known_keys
from skipthink_ray.settings import load_config

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "method.md").read_text(encoding="utf-8")
SOURCES = [
    file
    for folder in ("skipthink_ray", "jobs", "benchmarks", "examples", "tests", "tools", "docs")
    for file in sorted((ROOT / folder).rglob("*"))
    if file.suffix in (".py", ".md", ".html")
]
HEADINGS = {int(number) for number in re.findall(r"^## (\d+)\. ", PAGE, re.MULTILINE)}
CODE = re.findall(r"`([^`\n]+)`", re.sub(r"^```\n.*?^```$", "", PAGE, flags=re.MULTILINE | re.DOTALL))
KEY = re.compile(r"([a-z_]+(?:\.[a-z_0-9]+)+)(?:: (\w+))?|([a-z_]+): (\w+)")
"""A dotted key with or without a value, or a top-level key with a value."""
MATCHES = [match for match in map(KEY.fullmatch, CODE) if match]
SETTINGS = sorted({(match[1] or match[3], match[2] or match[4] or "") for match in MATCHES})
FILES = sorted({text for text in CODE if re.fullmatch(r"[\w/]+/[\w/]+\.(py|md)", text)})
LINKS = sorted(set(re.findall(r"\]\((?!https?:)([^)#]+)", PAGE)))


def test_every_section_that_a_source_names_is_in_the_method_document():
    texts = {file: file.read_text(encoding="utf-8") for file in SOURCES}
    named = {int(number): file for file, text in texts.items() for number in re.findall(r"§(\d+)", text)}
    assert set(range(1, 9)) <= HEADINGS
    assert {number: file for number, file in named.items() if number not in HEADINGS} == {}
    assert len(named) >= 7


def _is_file(name: str) -> bool:
    return name.endswith((".py", ".md", ".json"))


@pytest.mark.parametrize(("key", "value"), [setting for setting in SETTINGS if not _is_file(setting[0])])
def test_every_key_in_the_method_document_is_one_of_the_configuration(key, value, tmp_path):
    assert key in known_keys(PipelineConfig)
    setting = yaml.safe_load(value) if value else None
    for name in reversed(key.split(".")):
        setting = {name: setting}
    if value:
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(setting))
        load_config("default", str(tmp_path / "config.yaml"), [])


@pytest.mark.parametrize("name", FILES)
def test_every_file_in_the_method_document_exists(name):
    assert (ROOT / "skipthink_ray" / name).exists() or (ROOT / name).exists()


@pytest.mark.parametrize("name", LINKS)
def test_every_link_of_the_method_document_leads_to_a_file(name):
    assert (ROOT / "docs" / name).exists()
