"""Command-line options: one for every key of a configuration, besides a command's own options.

argparse parses the words and prints the help. The values are validated later, with those of the preset and
the file. So this module knows the names, types and descriptions of keys, but none of their rules. In a name,
`-` and `_` mean the same. `--cluster.use-gpu` turns a switch on, `--cluster.no-use-gpu` turns it off.
"""

import argparse
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NoReturn, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

COLUMNS = 100
"""The widest help; a narrower terminal gets a narrower one."""
NAME = re.compile(r"--[A-Za-z][\w.-]*")
KINDS = {int: "INT", float: "FLOAT", str: "TEXT", NoneType: "None"}
SHOWN = 3
"""The most names that a suggestion lists."""


@dataclass(frozen=True)
class Section:
    """A part of the help: some fields of a configuration, with all keys below them."""

    title: str
    text: str
    fields: Sequence[str]


class Parser(argparse.ArgumentParser):
    """A parser whose errors are a ValueError of one line. A name that does not exist gets the nearest one."""

    def __init__(self, prog: str | None = None, description: str = "", flat: bool = False) -> None:
        """`prog`: the command, as in the help. `flat` names an option only by the last part of its key."""
        width = min(COLUMNS, shutil.get_terminal_size((COLUMNS, 0)).columns)
        super().__init__(
            prog=prog,
            description=description,
            formatter_class=partial(argparse.HelpFormatter, max_help_position=8, width=width),
            allow_abbrev=False,
            add_help=False,
        )
        self.flat = flat
        self.own = self.add_argument_group("options of this command")

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)

    def add_keys(self, model: type[BaseModel], values: BaseModel | None, sections: Sequence[Section]) -> None:
        """Add an option for every key of a model. The help shows `values`, or else the defaults."""
        self.usage = f"{self.prog} [OPTIONS]"
        for section in sections:
            self._add_group(section, model, values, ())

    def _add_group(
        self, section: Section, model: type[BaseModel], values: BaseModel | None, path: tuple[str, ...]
    ) -> None:
        group = self.add_argument_group(section.title, section.text)
        inner = {name: model_of(model.model_fields[name]) for name in section.fields}
        for name in (name for name, below in inner.items() if below is None):
            field = model.model_fields[name]
            self._add_key(group, (*path, name), field, getattr(values, name, field.default))
        for name, below in inner.items():
            if below:
                place = (*path, name)
                part = Section(".".join(place), below.__doc__ or "", tuple(below.model_fields))
                self._add_group(part, below, getattr(values, name, None), place)

    def _add_key(
        self, group: argparse._ArgumentGroup, path: tuple[str, ...], field: FieldInfo, value: Any
    ) -> None:
        parents = () if self.flat else path[:-1]
        name, off = (".".join((*parents, last)).replace("_", "-") for last in (path[-1], f"no-{path[-1]}"))
        shown = "required" if field.is_required() else f"default: {_shown(value)}"
        text = f"{' '.join((field.description or '').split())} ({shown})".replace("%", "%%")
        common: dict[str, Any] = {"dest": ".".join(path), "default": argparse.SUPPRESS, "help": text}
        kinds = tuple(_kinds(field.annotation))
        if kinds == (bool,):
            group.add_argument(f"--{name}", f"--{off}", nargs=0, action=_Switch, **common)
            return
        names = "|".join(KINDS[kind] if isinstance(kind, type) else str(kind) for kind in kinds)
        group.add_argument(
            f"--{name}",
            type=partial(_read, kinds=kinds),
            metavar=names,
            required=field.is_required(),
            **common,
        )

    def parse(self, words: Sequence[str]) -> argparse.Namespace:
        """The values by key or name. -h and --help print the help and raise SystemExit."""
        self.own.add_argument("-h", "--help", action="help", help="Show this help.")
        end = words.index("--") if "--" in words else len(words)
        for word in words[:end]:
            self._check_name(word)
        words = [*map(_with_dashes, words[:end]), *words[end:]]
        values, rest = self.parse_known_args(words)
        if rest:
            raise ValueError(
                f"unexpected argument '{rest[0]}'; the name of an option starts with --, "
                "and a switch takes no value"
            )
        return values

    def _check_name(self, word: str) -> None:
        typed, equals, _ = word.partition("=")
        name = _with_dashes(typed)
        if not NAME.fullmatch(name):
            return
        option = self._option_string_actions.get(name)
        if option is None:
            names = [known.removeprefix("--") for known in self._option_string_actions]
            near = [f"--{found}" for found in nearest(name.removeprefix("--"), names)]
            instead = suggestion(near) or f"; `{self.prog} --help` lists all"
            raise ValueError(f"{typed}: unknown option{instead}")
        if equals and option.nargs == 0:
            raise ValueError(f"{word}: a switch takes no value; write {typed}, or leave it out")


def _with_dashes(word: str) -> str:
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value if NAME.fullmatch(name) else word


def nearest(name: str, names: Iterable[str]) -> list[str]:
    """The names that begin or end with this one as a part, else the most similar name, if any is similar."""
    names = list(names)
    parts = [known for known in names if known.startswith(f"{name}.") or known.endswith(f".{name}")]
    return parts or get_close_matches(name, names, n=1)


def suggestion(names: Sequence[str]) -> str:
    """The end of an error message. Empty without names."""
    if not names:
        return ""
    *others, last = (f"'{name}'" for name in names[:SHOWN])
    return f"; did you mean {', '.join(others)}{' or ' if others else ''}{last}?"


def known_keys(model: type[BaseModel], path: tuple[str, ...] = ()) -> list[str]:
    """Dotted keys of all fields, including those of nested models."""
    keys: list[str] = []
    for name, field in model.model_fields.items():
        keys.append(".".join((*path, name)))
        if inner := model_of(field):
            keys.extend(known_keys(inner, (*path, name)))
    return keys


def model_of(field: FieldInfo) -> type[BaseModel] | None:
    """The model of a field that is a model, or a model or None."""
    parts = (field.annotation, *get_args(field.annotation))
    return next((part for part in parts if isinstance(part, type) and issubclass(part, BaseModel)), None)


class _Switch(argparse.Action):
    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        setattr(namespace, self.dest, option_string == self.option_strings[0])


def _kinds(annotation: Any) -> Iterator[Any]:
    """The types and literal values that an annotation allows."""
    origin = get_origin(annotation)
    if origin is Literal:
        yield from get_args(annotation)
    elif origin is Annotated:
        yield from _kinds(get_args(annotation)[0])
    elif origin in (Union, UnionType):
        for part in get_args(annotation):
            yield from _kinds(part)
    else:
        yield annotation


def _read(text: str, kinds: tuple[Any, ...]) -> Any:
    """The value that a text stands for. A text that fits no kind stays one, and fails in validation."""
    named = {str(kind): kind for kind in kinds if not isinstance(kind, type)}
    named |= {"None": None} if NoneType in kinds else {}
    if text in named:
        return named[text]
    for kind in (kind for kind in (int, float) if kind in kinds):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return repr(value) if (isinstance(value, str) and value != value.strip()) or value == "" else str(value)


def given(found: argparse.Namespace, model: type[BaseModel]) -> dict[str, Any]:
    """The values of the keys that were given as options, nested as in the model."""
    return nested({key: vars(found)[key] for key in known_keys(model) if key in vars(found)})


def nested(values: dict[str, Any]) -> dict[str, Any]:
    """The values of dotted keys as a nested dictionary."""
    tree: dict[str, Any] = {}
    for key, value in values.items():
        *parents, last = key.split(".")
        place = tree
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return tree


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested dictionary as a flat one with dotted keys: the inverse of `nested`."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
