"""A stage reads only what its identity contains, and every field that it can read changes its identity."""

import warnings
from typing import Any

import pytest
from pydantic import BaseModel

from skipthink_ray.config import OwnTaskConfig, PipelineConfig
from skipthink_ray.identity import EXECUTION, STAGES, identify, visible
from skipthink_ray.presets import PRESETS
from skipthink_ray.runtime.artifacts import digest
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


GOLDEN = {
    "default": {
        "rationales": "fd871d5da7a354d2",
        "chunks": "6a7df19cedae5291",
        "base": "22c11d23249be863",
        "cwt": "33ada7e2d4bae99d",
        "skips": "72411c32e5e1672a",
        "stt": "9e09b7feb3283e25",
        "evaluation": "92aaad021c055ec3",
        "report": "2aeec16c012c6daf",
    },
    "toy": {
        "rationales": "df9135a3a0ad2ecc",
        "chunks": "eb6a5d8a30c77059",
        "base": "64fbf2c812af9501",
        "cwt": "8e2887a6c78d413f",
        "skips": "9633a27663c2f6b5",
        "stt": "644aa96fb66beb55",
        "evaluation": "ebb2d74059aded73",
        "report": "4c180e343421f929",
    },
    "smollm2": {
        "rationales": "fd871d5da7a354d2",
        "chunks": "ce7bd2dab965a295",
        "base": "6a22873c4d926470",
        "cwt": "498104dd1f5fd3ab",
        "skips": "b06028a9ee9067b4",
        "stt": "fb983cb75d3af104",
        "evaluation": "46553da3b9907a53",
        "report": "5f43208d534e28bc",
    },
}
"""The digests of the identities by preset and stage."""


@pytest.mark.parametrize("preset", GOLDEN)
def test_the_identities_of_the_presets_are_the_recorded_ones(preset):
    """The presets draw their rows from a toy, so no file has a part in their identities."""
    digests = {stage: digest(identity) for stage, identity in identify(PRESETS[preset]()).items()}
    changed = ", ".join(stage for stage in STAGES if digests[stage] != GOLDEN[preset][stage])
    assert digests == GOLDEN[preset], (
        f"The identity of {changed} changed for the preset '{preset}', so existing artifacts would be made "
        "again. If you did not intend that, undo the change. If you changed a field, a default or a preset, "
        "record the new digests in GOLDEN. If a stage now writes something else for the same configuration, "
        "raise its `version` in STAGES (identity.py) and record the new digests; with the old version, runs "
        "would reuse artifacts of the old code."
    )
