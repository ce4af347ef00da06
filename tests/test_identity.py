"""A stage reads only what its identity contains, and every field that it can read changes its identity."""

import warnings
from typing import Any

import pytest
from pydantic import BaseModel

from skipthink_ray.config import OwnTaskConfig, PipelineConfig
from skipthink_ray.identity import EXECUTION, STAGES, identify, visible
from skipthink_ray.stages.table import MAKE

CONFIGS = {
    "as many updates as cwt": PipelineConfig(own_task=OwnTaskConfig(), task="mine"),
    "own epochs": PipelineConfig(match="epochs"),
    "a number of updates": PipelineConfig(updates=10),
}


def _paths(model: BaseModel, prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The paths of all plain fields of a configuration."""
    found = []
    for name in type(model).model_fields:
        value = getattr(model, name)
        found += _paths(value, (*prefix, name)) if isinstance(value, BaseModel) else [(*prefix, name)]
    return found


def _changed(model: Any, path: tuple[str, ...]) -> Any:
    """A copy with another value at `path`, without validation."""
    value = getattr(model, path[0])
    if path[1:]:
        return model.model_copy(update={path[0]: _changed(value, path[1:])})
    return model.model_copy(
        update={path[0]: "changed" if isinstance(value, str | None) else [value, "changed"]}
    )


def _seen(stage: str, config: PipelineConfig) -> dict[str, Any]:
    values = visible(stage, config).__dict__
    return {name: value for name, value in values.items() if name not in EXECUTION}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_a_field_changes_the_identity_of_a_stage_exactly_if_the_stage_can_read_it(config):
    before = identify(config)
    for path in _paths(config):
        other = _changed(config, path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydantic warns of the changed value's type
            after = identify(other)
        for stage in STAGES:
            reads_it = _seen(stage, config) != _seen(stage, other)
            assert reads_it == (before[stage] != after[stage]), f"{stage}: {'.'.join(path)}"


def test_a_stage_cannot_read_what_its_identity_does_not_contain():
    assert visible("base", PipelineConfig()).base == PipelineConfig().base
    with pytest.raises(AttributeError, match="evaluation"):
        _ = visible("base", PipelineConfig()).evaluation


def test_every_stage_has_a_function():
    assert list(MAKE) == list(STAGES)
