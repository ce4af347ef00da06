"""The table and the examples of docs/tasks.md agree with the code."""

import re
from pathlib import Path
from textwrap import dedent

import pytest

from skipthink_ray.settings import load_config
from skipthink_ray.tasks import GROUPS, TASKS, Task, get_task, task_of
from skipthink_ray.tasks.splits import is_listed

PAGE = (Path(__file__).parents[2] / "docs" / "tasks.md").read_text(encoding="utf-8")
ROW = re.compile(
    r"^\| `(\w+)`( \*)? \| (.+?) \| (.+?) \| .+? \| (.+?) \| (.+?) \| (yes|no) \|$", re.MULTILINE
)
ROWS = {cells[0]: cells[1:] for cells in ROW.findall(PAGE)}


@pytest.mark.parametrize("name", TASKS)
def test_the_table_agrees_with_the_registry(name):
    task, (star, kind, num_chunks, public, split, toy) = TASKS[name], ROWS[name]
    assert bool(star) == (name in GROUPS["seven"])
    assert kind.replace("/", "_") == task.kind
    assert num_chunks == ("mean steps" if task.num_chunks is None else str(task.num_chunks))
    assert task.public
    assert (f"`{task.public.hub_id}`" in public) == bool(task.public.hub_id)
    assert ("with rationales" in public) == task.public.has_rationale
    assert split.startswith("listed" if is_listed(name) else "drawn" if task.public.test_share else "its own")
    assert (toy == "yes") == bool(task.toy)


def test_the_table_has_no_other_task():
    assert set(ROWS) == set(TASKS)


def _block(first_words: str) -> str:
    return dedent(
        next(
            block for block in re.findall(r"(?:^(?:    .*)?\n)+", PAGE, re.MULTILINE) if first_words in block
        )
    )


def test_the_example_without_code_is_a_configuration(tmp_path):
    (tmp_path / "config.yaml").write_text(_block("own_task:"))
    task = task_of(load_config("default", str(tmp_path / "config.yaml"), []))
    assert task == Task(
        "invoices", "number", 4, pattern=r"Total:\s*(.+)", instruction="Add up the invoice line by line."
    )
    assert task.check("3 + 4\nTotal: 7.00 euros", "7")


def test_the_example_in_python_is_a_task(tmp_path, monkeypatch):
    (tmp_path / "letters.py").write_text(_block("class Letters"))
    monkeypatch.syspath_prepend(tmp_path)
    task = task_of(load_config("default", None, ["--task", "letters:Letters", "--rationales.source", "file"]))
    assert (task.name, task.num_chunks) == ("letters", 4)
    assert task.check("ab", "ba")
    assert not task.check("ab", "bb")
    assert not task.check(None, "ba")


def test_the_example_with_math_verify_is_a_task(tmp_path, monkeypatch):
    pytest.importorskip("math_verify")
    (tmp_path / "formulas.py").write_text(_block("class Formulas"))
    monkeypatch.syspath_prepend(tmp_path)
    task = task_of(
        load_config("default", None, ["--task", "formulas:Formulas", "--rationales.source", "file"])
    )
    assert task.check(r"So we get \boxed{1 + x^2}.", "x^2 + 1")
    assert not task.check(r"So we get \boxed{1 - x^2}.", "x^2 + 1")
    assert not task.check(None, "x^2 + 1")
    assert task.check(r"\sqrt{12}", r"2\sqrt{3}")


AGREEING = re.compile(
    r"^\| number \| within 1e-6, however it is written: (.+?) \| .+?: (.+) are not 5 \|$", re.MULTILINE
)


def test_the_numbers_of_the_page_are_read_as_documented():
    written, parts = (re.findall(r"`([^`]+)`", cell) for cell in AGREEING.search(PAGE).groups())
    values = ("1234.5", "1234.5", "1000", "1500", "-0.75", "2.5", "0.5", "7", "2500000", "-5", "-5")
    assert [get_task("gsm8k").check(text, value) for text, value in zip(written, values, strict=True)] == [
        True
    ] * len(values)
    assert not any(get_task("gsm8k").check(text, "5") for text in parts)
