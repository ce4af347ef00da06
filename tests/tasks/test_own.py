"""User-defined tasks. Every mistake in one is named before a run starts."""

from pathlib import Path
from typing import get_args

import pytest
import yaml

from skipthink_ray.config import OwnTaskConfig, PipelineConfig
from skipthink_ray.identity import identify
from skipthink_ray.preflight import check_settings
from skipthink_ray.settings import load_config
from skipthink_ray.tasks import Task, task_of
from skipthink_ray.tasks.answers import AnswerKind


class Roman(Task):
    """Roman numerals, compared without case."""

    def __init__(self) -> None:
        super().__init__("roman", "string", num_chunks=3)

    def check(self, predicted: str | None, gold: str) -> bool:
        return predicted is not None and self.parse(predicted).upper() == gold.upper()


class Alike:
    """The fields and methods of Task without its name."""

    name, kind, num_chunks, toy, public, pattern, instruction = (
        "alike",
        "number",
        None,
        None,
        None,
        None,
        None,
    )

    def parse(self, text: str) -> str:
        return text

    def check(self, predicted: str | None, gold: str) -> bool:
        return predicted == gold

    def split(self, question: str) -> None:
        return None


class Incomplete:
    name, kind, check = "incomplete", "number", "not a method"


class NeedsArguments(Task):
    pass


class WrongKind(Task):
    def __init__(self) -> None:
        super().__init__("wrong", "numbers")  # type: ignore[arg-type]


class WrongPattern(Task):
    def __init__(self) -> None:
        super().__init__("wrong", "number", pattern="a")


FILE = ["--rationales.source", "file", "--rationales.path", "rows.jsonl"]


def configured(tmp_path: Path, **values: object) -> PipelineConfig:
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump({"rationales": {"source": "file", "path": "rows.jsonl"}, **values}))
    config = load_config("default", str(file), [])
    check_settings(config)
    return config


def test_an_own_task_is_described_by_its_configuration(tmp_path):
    block = {
        "answer_type": "number",
        "pattern": r"Result:\s*(\S+)",
        "num_chunks": 3,
        "instruction": "Calculate.",
    }
    task = task_of(configured(tmp_path, task="invoices", own_task=block))
    assert task == Task(
        "invoices", "number", num_chunks=3, pattern=r"Result:\s*(\S+)", instruction="Calculate."
    )
    assert task.check("Result: 7, then Result: 12.00", "12")
    assert not task.check("Result: 7", "12")
    assert not task.check(None, "12")
    assert task.check("12", "see below. Result: 12")


def test_an_own_task_may_have_the_name_of_a_benchmark_or_a_group(tmp_path):
    own = {"answer_type": "string"}
    assert task_of(configured(tmp_path, task="svamp", own_task=own)) == Task("svamp", "string")
    assert task_of(configured(tmp_path, task="seven", own_task=own)) == Task("seven", "string")


def test_command_line_options_also_define_an_own_task():
    own = ["--own-task.answer-type", "set", "--own-task.num-chunks", "2"]
    assert task_of(load_config("default", None, [*FILE, "--task", "mine", *own])) == Task(
        "mine", "set", num_chunks=2
    )
    assert load_config("default", None, [*FILE, "--task", "svamp"]).own_task is None


def test_own_tasks_support_every_kind_of_answer():
    assert set(get_args(OwnTaskConfig.model_fields["answer_type"].annotation)) == set(get_args(AnswerKind))


@pytest.mark.parametrize(
    ("own", "fault"),
    [
        ({"pattern": "(a"}, r"own_task\.pattern: not a regular expression: missing \)"),
        ({"pattern": "answer"}, r"own_task\.pattern: it has 0 groups; use one group for the answer"),
        ({"pattern": "(a)(b)"}, r"own_task\.pattern: it has 2 groups"),
        ({"answer_type": "numbr"}, r"own_task\.answer_type: input should be 'number', .*found 'numbr'"),
        (
            {"answer_typ": "number"},
            r"own_task\.answer_typ: unknown key; did you mean 'own_task\.answer_type'\?",
        ),
        ({"num_chunks": 0}, r"own_task\.num_chunks: input should be greater than or equal to 1"),
    ],
)
def test_a_mistake_in_an_own_task_names_the_key(tmp_path, own, fault):
    with pytest.raises(ValueError, match=fault):
        configured(tmp_path, own_task=own)


def test_an_unknown_option_of_an_own_task_gets_a_suggestion():
    with pytest.raises(
        ValueError, match=r"--own-task\.patern: unknown option; did you mean '--own-task\.pattern'\?"
    ):
        load_config("default", None, ["--own-task.patern", "(a)"])


@pytest.mark.parametrize(
    ("wrong", "right"), [("svmp", "svamp"), ("strategyqa", "strategy_qa"), ("sevn", "seven")]
)
def test_a_misspelt_task_gets_a_suggestion(tmp_path, wrong, right):
    with pytest.raises(ValueError, match=f"unknown task '{wrong}'; did you mean '{right}'"):
        configured(tmp_path, task=wrong)


def test_a_class_becomes_a_task_by_its_import_path():
    task = task_of(PipelineConfig(task=f"{__name__}:Roman"))
    assert (task.name, task.kind, task.num_chunks) == ("roman", "string", 3)
    assert task.check("xiv", "XIV")
    assert not task.check("xv", "XIV")
    assert task_of(PipelineConfig(task=f"{__name__}:Alike")).name == "alike"


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        ("no.such:Roman", r"cannot import the module of 'no\.such:Roman': No module named 'no'"),
        ("{here}:Romn", r"has no class 'Romn'.*expected a subclass of skipthink_ray\.tasks\.Task"),
        ("{here}:pytest", r"has no class 'pytest'"),
        ("{here}:", r"is not an import path; expected package\.module:ClassName"),
        ("a-b:Roman", r"'a-b:Roman' is not an import path"),
        (
            "{here}:Incomplete",
            r"lacks num_chunks, toy, public, pattern, instruction, parse, split, check; expected",
        ),
        (
            "{here}:NeedsArguments",
            r"cannot be constructed without arguments: .*missing 2 required.*'name' and 'kind'",
        ),
        ("{here}:WrongKind", r"is 'numbers'; expected one of number, "),
        ("{here}:WrongPattern", r"the pattern of '.*WrongPattern': it has 0 groups"),
    ],
)
def test_a_mistake_in_an_import_path_or_its_class_is_named(tmp_path, path, fault):
    with pytest.raises(ValueError, match=f"^task: .*{fault}"):
        configured(tmp_path, task=path.format(here=__name__))


def test_a_module_that_is_not_python_is_named(tmp_path, monkeypatch):
    (tmp_path / "broken_task.py").write_text("class Broken(")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=r"cannot import the module of 'broken_task:Broken': .*never closed"):
        configured(tmp_path, task="broken_task:Broken")


def test_an_import_path_and_a_block_together_are_refused(tmp_path):
    with pytest.raises(ValueError, match="keep one of them"):
        configured(tmp_path, task=f"{__name__}:Roman", own_task={})


def test_another_pattern_makes_another_artifact():
    plain, own = (
        PipelineConfig(task="mine", own_task=OwnTaskConfig()),
        PipelineConfig(task="mine", own_task=OwnTaskConfig(pattern="(a)")),
    )
    assert identify(plain)["rationales"] != identify(own)["rationales"]
    assert identify(plain)["skips"]["inputs"] != identify(own)["skips"]["inputs"]
