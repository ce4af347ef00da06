"""User-defined tasks, from the configuration block `own_task` or from a Python class by import path."""

import os
import sys
from dataclasses import fields
from importlib import import_module
from typing import Any, get_args

from skipthink_ray.config import OwnTaskConfig, check_pattern
from skipthink_ray.tasks.answers import AnswerKind
from skipthink_ray.tasks.task import Task

INTERFACE = (*(field.name for field in fields(Task)), "parse", "check", "split")
EXPECTED = (
    f"a subclass of skipthink_ray.tasks.Task that needs no arguments, or a class with {', '.join(INTERFACE)}"
)


def from_config(name: str, config: OwnTaskConfig) -> Task:
    return Task(
        name,
        config.answer_type,
        num_chunks=config.num_chunks,
        pattern=config.pattern,
        instruction=config.instruction,
    )


def from_path(path: str) -> Task:
    """An instance of the class at `package.module:ClassName`.

    Raises ValueError for a faulty path or class.
    """
    module_name, _, class_name = path.partition(":")
    if not (class_name.isidentifier() and all(part.isidentifier() for part in module_name.split("."))):
        raise ValueError(f"task: '{path}' is not an import path; expected package.module:ClassName")
    if os.getcwd() not in sys.path:  # `python -m` adds it; the `skipthink` script and Ray's workers do not
        sys.path.append(os.getcwd())
    try:
        module = import_module(module_name)
    except (ImportError, SyntaxError, NameError) as error:
        raise ValueError(
            f"task: cannot import the module of '{path}': {error}; searched {os.getcwd()} and the Python path"
        ) from error
    if not isinstance(cls := getattr(module, class_name, None), type):
        raise ValueError(
            f"task: {module.__file__} has no class '{class_name}' (of '{path}'); expected {EXPECTED}"
        )
    return _checked(path, _instance(path, cls))


def _instance(path: str, cls: type) -> Any:
    try:
        return cls()
    except TypeError as error:
        raise ValueError(
            f"task: '{path}' cannot be constructed without arguments: {error}; expected {EXPECTED}"
        ) from error


def _checked(path: str, task: Any) -> Task:
    missing = [name for name in INTERFACE if not hasattr(task, name)]
    missing += [
        name
        for name in ("parse", "check", "split")
        if name not in missing and not callable(getattr(task, name))
    ]
    if missing:
        raise ValueError(f"task: '{path}' lacks {', '.join(missing)}; expected {EXPECTED}")
    if task.kind not in get_args(AnswerKind):
        raise ValueError(
            f"task: the kind of '{path}' is '{task.kind}'; expected one of {', '.join(get_args(AnswerKind))}"
        )
    if task.pattern is not None:
        try:
            check_pattern(task.pattern)
        except ValueError as error:
            raise ValueError(f"task: the pattern of '{path}': {error}") from error
    return task
