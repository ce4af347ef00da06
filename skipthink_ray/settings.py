"""Build a PipelineConfig from a preset, a YAML or JSON file, and options. Errors name the key."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import yaml
from pydantic import BaseModel, ValidationError
from yaml.reader import ReaderError

from skipthink_ray.config import PipelineConfig
from skipthink_ray.config.base import SECRET
from skipthink_ray.options import Parser, Section, given, known_keys, nearest, suggestion
from skipthink_ray.presets import PRESETS
from skipthink_ray.tasks import GROUPS

Model = TypeVar("Model", bound=BaseModel)


def load_config(preset: str, file: str | None, options: Sequence[str] = ()) -> PipelineConfig:
    """The configuration that a preset, a file and options make. Raises ValueError as `configure` does."""
    parser, config = Parser(), start(preset, file)
    parser.add_keys(PipelineConfig, config, [Section("the run", "", tuple(PipelineConfig.model_fields))])
    return configure(config, given(parser.parse(options), PipelineConfig))


def start(preset: str, file: str | None) -> PipelineConfig:
    """A preset with the values of a file. Raises ValueError as `configure` does."""
    config = PRESETS[preset]()
    if not file:
        return config
    values = read_mapping(file, "--config")
    if values.keys() >= {"command", "config", "artifacts"}:  # run.json of a run's folder
        values = values["config"]
    return validate(PipelineConfig, _merge(config.model_dump(), values), file)


def configure(
    config: PipelineConfig, overrides: dict[str, Any], where: str = "command line"
) -> PipelineConfig:
    """The validated configuration, with the values of the command line, nested, in place of others.

    Raises ValueError with the key, the value and what would be right.
    """
    if overrides:
        config = validate(PipelineConfig, _merge(config.model_dump(), overrides), where)
    return config


def expand(config: PipelineConfig) -> list[PipelineConfig]:
    """One config per task of a group, named `<name>-<task>`, with `{task}` replaced in the input path.

    Returns the config itself if its task is not a group.
    """
    if config.task not in GROUPS or config.own_task:
        return [config]
    path, source = config.rationales.path, config.rationales.source
    if source != "toy" and path and "{task}" not in path:
        raise ValueError(
            f"rationales.path: '{path}' is one path for all tasks of '{config.task}'; "
            "write {task} in place of the task's name"
        )
    return [
        config.model_copy(
            update={
                "name": f"{config.name}-{task}",
                "task": task,
                "rationales": config.rationales.model_copy(
                    update={"path": path and path.replace("{task}", task)}
                ),
            }
        )
        for task in GROUPS[config.task]
    ]


def read_mapping(file: str, what: str) -> dict[str, Any]:
    """The content of a YAML or JSON file of keys. `what` names the file's role in errors."""
    try:
        text = Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"{what}: cannot read {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ValueError(f"{file}:{line}: not UTF-8 text ({error.reason}); save it as UTF-8") from error
    try:
        values = yaml.safe_load(text)  # JSON is YAML
    except yaml.YAMLError as error:
        raise ValueError(f"{file}{_yaml_fault(error, text)}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{file}: expected a mapping of configuration keys, got {json.dumps(values)[:80]}")
    return cast(dict[str, Any], values)


def _yaml_fault(error: yaml.YAMLError, text: str) -> str:
    """`:line:column` of a fault in a text, both from 1, and what is wrong, in one line."""
    line, column, words = 0, 0, " ".join(str(error).split())
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        line, column = error.problem_mark.line, error.problem_mark.column
        words = ", ".join(filter(None, (error.context, error.problem)))
    elif isinstance(error, ReaderError):
        before = text[: error.position]
        line, column = before.count("\n"), len(before) - before.rfind("\n") - 1
        words = f"{error.reason} (#x{ord(text[error.position]):04x})"
    return f":{line + 1}:{column + 1}: not valid YAML: {words}"


def _merge(base: dict[str, Any], top: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in top.items():
        below = merged.get(key)
        merged[key] = _merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def validate(model: type[Model], values: dict[str, Any], where: str) -> Model:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ValueError(explain(error, where)) from error


def explain(error: ValidationError, where: str) -> str:
    """One line with every invalid key, the reason and the value, except an address with a password."""
    faults = []
    for fault in error.errors():
        # a rule over several fields of a nested model names them in its message
        of_model = fault["type"] == "value_error" and isinstance(fault.get("input"), dict)
        place = () if of_model else fault["loc"]
        faults.append(
            (".".join(map(str, place)), _fault(fault["type"], fault["msg"], place, fault.get("input")))
        )
    return "; ".join(": ".join(filter(None, (where, key, message))) for key, message in faults)


def _fault(kind: str, message: str, place: tuple[int | str, ...], value: Any) -> str:
    if kind == SECRET:
        return message
    if kind == "extra_forbidden":
        return f"unknown key{_suggest('.'.join(map(str, place)))}"
    message = message.removeprefix("Value error, ")
    if not place:
        return message  # a rule over several fields, which names them
    return f"{message[0].lower()}{message[1:]} (found {value!r})"


def _suggest(key: str) -> str:
    return suggestion(nearest(key, known_keys(PipelineConfig)))
