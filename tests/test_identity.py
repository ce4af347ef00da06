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
        "rationales": "e21a169e68759022",
        "samples": "1e5047dfbbbce53d",
        "base": "b18519394a95124e",
        "cwt": "41f7b47be3d62b12",
        "skips": "dc809b19254e0669",
        "stt": "d5d76b6d38f60231",
        "evaluation": "800fa98645ad8afb",
        "report": "38ed96d2e4eb521a",
    },
    "toy": {
        "rationales": "27e09aa1d1b2cd10",
        "samples": "8abdeb22a6f83cb5",
        "base": "6d55bbac7857c6c1",
        "cwt": "cb2c6242080e6b54",
        "skips": "8e197905ddbf83fa",
        "stt": "20efd5af28efb19c",
        "evaluation": "4a15070191053273",
        "report": "9299fb2dee7baf86",
    },
    "smollm2": {
        "rationales": "e21a169e68759022",
        "samples": "974d8f9faa39d9c3",
        "base": "5814fdb86758fc89",
        "cwt": "1a25e004c9d88c44",
        "skips": "1767739bdcd416e3",
        "stt": "e4e8787cefad0041",
        "evaluation": "bf65b5f3aaa9dc9e",
        "report": "c999863be9af6bb7",
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
