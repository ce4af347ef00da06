"""Build a PipelineConfig from a preset, a YAML or JSON file, and dotted overrides. Errors name the key."""

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
from skipthink_ray.tasks import GROUPS

Model = TypeVar("Model", bound=BaseModel)


def _draft(model: type[BaseModel]) -> type[BaseModel]:
    """A validator-free copy of a model for tyro. Validation happens afterwards, so errors take one line."""
    fields: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        kind = _bare(field.annotation)
        default = PydanticUndefined if field.is_required() else field.get_default(call_default_factory=True)
        if isinstance(default, BaseModel):
            default = TypeAdapter(kind).validate_python(default.model_dump())
        description = " ".join((field.description or "").split()) or None  # tyro keeps line breaks
        fields[name] = kind, Field(default, description=description)
    return create_model(model.__name__, __doc__=model.__doc__, **fields)


def _bare(annotation: Any) -> Any:
    """A type without bounds and validators, in which drafts replace nested models."""
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
    """Parse command-line options into a configuration, on top of `default` if given. style: a tyro config.

    Raises ValueError with the key, the value and what would be right. Raises SystemExit with code 2 if tyro
    cannot parse a value, and with code 0 after --help.
    """
    draft = _draft(model)
    start = None if default is None else draft.model_validate(default.model_dump())
    parsed: BaseModel = tyro.cli(draft, args=options, prog=program, config=(style,), default=start)  # type: ignore[assignment]
    return _validate(model, parsed.model_dump(), "command line")


def load_config(preset: str, file: str | None, overrides: list[str], program: str) -> PipelineConfig:
    """The validated configuration. Raises ValueError with the key, the value and what would be right."""
    config = PRESETS[preset]()
    if file:
        config = _validate(PipelineConfig, _merge(config.model_dump(), _read(file)), file)
    if overrides:
        _check_keys(overrides)
        own_task = any(option.replace("_", "-").startswith(("--own-task.", "--help")) for option in overrides)
        if config.own_task is None and own_task:
            # tyro sets fields only of models that exist
            config = config.model_copy(update={"own_task": OwnTaskConfig()})
        config = parse_options(PipelineConfig, overrides, program, tyro.conf.AvoidSubcommands, config)
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


def _read(file: str) -> dict[str, Any]:
    try:
        text = Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"--config: cannot read {file}: {error.strerror}") from error
    try:
        values = yaml.safe_load(text)  # JSON is YAML
    except yaml.YAMLError as error:
        raise ValueError(f"{file}: not valid YAML: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{file}: expected a mapping of configuration keys, got {json.dumps(values)[:80]}")
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
    """Dotted keys of all fields, including those of nested models."""
    keys: list[str] = []
    for name, field in model.model_fields.items():
        keys.append(prefix + name)
        for part in (field.annotation, *get_args(field.annotation)):  # a model, or a model or None
            if isinstance(part, type) and issubclass(part, BaseModel):
                keys.extend(known_keys(part, f"{prefix}{name}."))
    return keys
