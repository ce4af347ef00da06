"""From a preset, a YAML or JSON file and dotted overrides to one PipelineConfig, with errors that name the key."""

import json
from difflib import get_close_matches
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, cast, get_args, get_origin

import tyro
import yaml
from pydantic import BaseModel, Field, TypeAdapter, ValidationError, create_model
from pydantic_core import PydanticUndefined

from skipthink_ray.config import OwnTaskConfig, PipelineConfig
from skipthink_ray.config.base import SECRET
from skipthink_ray.presets import PRESETS
from skipthink_ray.tasks import GROUPS, check_source

Model = TypeVar("Model", bound=BaseModel)


def _draft(model: type[BaseModel]) -> type[BaseModel]:
    """The same keys, types and descriptions with nothing checked: tyro would wrap what a check finds in a page of its own."""
    fields: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        kind = _bare(field.annotation)
        default = PydanticUndefined if field.is_required() else field.get_default(call_default_factory=True)
        if isinstance(default, BaseModel):
            default = TypeAdapter(kind).validate_python(default.model_dump())
        fields[name] = kind, Field(default, description=field.description)
    return create_model(model.__name__, __doc__=model.__doc__, **fields)


def _bare(annotation: Any) -> Any:
    """A type with drafts in place of parts; pydantic keeps bounds and validators beside the type."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _draft(annotation)
    if get_origin(annotation) is Annotated:
        return _bare(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return Union[tuple(map(_bare, get_args(annotation)))]  # noqa: UP007
    return annotation


def parse_options(
    model: type[Model], options: list[str], program: str, style: Any, default: Model | None = None
) -> Model:
    """A configuration by its options, on top of `default` where there is one. style: how tyro names them.

    ValueError names the key, the value and what would be right; SystemExit (2) for what is no value at all, or (0) after --help.
    """
    draft = _draft(model)
    below = None if default is None else draft.model_validate(default.model_dump())
    found: BaseModel = tyro.cli(draft, args=options, prog=program, config=(style,), default=below)  # type: ignore[assignment]
    return _validate(model, found.model_dump(), "command line")


def load_config(preset: str, file: str | None, overrides: list[str], program: str) -> PipelineConfig:
    """The configuration, checked. ValueError names the key, the value and what would be right."""
    config = PRESETS[preset]()
    if file:
        config = _validate(PipelineConfig, _merge(config.model_dump(), _read(file)), file)
    if overrides:
        _check_keys(overrides)
        own_task = any(option.replace("_", "-").startswith(("--own-task.", "--help")) for option in overrides)
        if config.own_task is None and own_task:
            config = config.model_copy(
                update={"own_task": OwnTaskConfig()}
            )  # tyro sets fields only of what is there
        config = parse_options(PipelineConfig, overrides, program, tyro.conf.AvoidSubcommands, config)
    for one in expand(config):
        check_source(one)
    return config


def expand(config: PipelineConfig) -> list[PipelineConfig]:
    """The runs of a group of tasks, named `<name>-<task>`, with `{task}` in the input path replaced; else the run itself."""
    if config.task not in GROUPS or config.own_task:
        return [config]
    path, source = config.rationales.path, config.rationales.source
    if source != "toy" and path and "{task}" not in path:
        raise ValueError(
            f"rationales.path: '{path}' cannot be every task of '{config.task}'; write {{task}} in place of the task's name"
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


def _read(file: str) -> dict[str, Any]:
    try:
        text = Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"--config: cannot read {file}: {error.strerror}") from error
    try:
        values = yaml.safe_load(text)  # JSON is YAML
    except yaml.YAMLError as error:
        raise ValueError(f"{file}: not YAML: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{file}: expected a mapping of configuration keys, found {json.dumps(values)[:80]}")
    return cast(
        dict[str, Any], values.get("config", values) if set(values) == {"command", "config"} else values
    )


def _merge(base: dict[str, Any], top: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in top.items():
        below = merged.get(key)
        merged[key] = _merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _validate(model: type[Model], values: dict[str, Any], where: str) -> Model:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ValueError(explain(error, where)) from error


def explain(error: ValidationError, where: str) -> str:
    """One line: every key that is wrong, why, and what was found; an address with a password is not repeated."""
    faults = []
    for fault in error.errors():
        of_a_part = fault["type"] == "value_error" and isinstance(
            fault.get("input"), dict
        )  # and names its fields
        place = () if of_a_part else fault["loc"]
        faults.append(
            (".".join(map(str, place)), _fault(fault["type"], fault["msg"], place, fault.get("input")))
        )
    return "; ".join(": ".join(filter(None, (where, key, said))) for key, said in faults)


def _fault(kind: str, message: str, place: tuple[int | str, ...], value: Any) -> str:
    if kind == SECRET:
        return message
    if kind == "extra_forbidden":
        return f"unknown key{_suggest('.'.join(map(str, place)))}"
    message = message.removeprefix("Value error, ")
    if not place:
        return message  # of several fields, and names them
    return f"{message[0].lower()}{message[1:]} (found {value!r})"


def _suggest(key: str) -> str:
    near = get_close_matches(key, known_keys(PipelineConfig), n=1, cutoff=0.5)
    return f"; did you mean '{near[0]}'?" if near else ""


def _check_keys(overrides: list[str]) -> None:
    known = set(known_keys(PipelineConfig))
    for option in overrides:
        if option in ("--help", "-h") or not option.startswith("--"):
            continue
        key = option.removeprefix("--").split("=", 1)[0].replace("-", "_")
        if key not in known and key.replace(".no_", ".") not in known:
            raise ValueError(f"{option.split('=', 1)[0]}: unknown option{_suggest(key)}")


def known_keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Dotted keys of all fields, parts included."""
    keys: list[str] = []
    for name, field in model.model_fields.items():
        keys.append(prefix + name)
        for part in (field.annotation, *get_args(field.annotation)):  # a part, or a part or None
            if isinstance(part, type) and issubclass(part, BaseModel):
                keys.extend(known_keys(part, f"{prefix}{name}."))
    return keys
