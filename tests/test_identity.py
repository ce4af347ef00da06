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
        "rationales": "6d3d8318b1645a9c",
        "samples": "bee10731c4c9866b",
        "base": "710432c3bd9489d7",
        "cwt": "2f5b4cc32b9e6544",
        "skips": "da59fc6567779a6b",
        "stt": "1fcc5c9a0f4cc976",
        "evaluation": "42bc6a860a906ecd",
        "report": "2ff7f6bbb4b3fd7a",
        "answers-full": "64bc5d9cc425cbe2",
        "answers-staged": "21468d2f90e0368f",
        "answers-skip": "5b9fb5fe86c9b2d9",
    },
    "toy": {
        "rationales": "643b1b4fa7682f93",
        "samples": "2dd01a52759e1bba",
        "base": "e78cbb5d57d2a381",
        "cwt": "783b179fb6c1cc98",
        "skips": "7b313d4c7d8a2a48",
        "stt": "50c564e6b4eeba91",
        "evaluation": "9cdf7b45237bc2c0",
        "report": "f8237d1b11c1d5a6",
        "answers-full": "c09be1332984c8f2",
        "answers-staged": "b3f00186065e31d5",
        "answers-skip": "44a2a1e24e5c71ec",
    },
    "smollm2": {
        "rationales": "6d3d8318b1645a9c",
        "samples": "e4a4c64e5196a3e3",
        "base": "c49deaca620f01b9",
        "cwt": "c5cc69ab75f52577",
        "skips": "a9f7c68fa128f218",
        "stt": "05fe99398187d1e2",
        "evaluation": "ffd3cc62fe7bce8e",
        "report": "308a803c134f7701",
        "answers-full": "a538ed675290b24e",
        "answers-staged": "b97bbf868579e272",
        "answers-skip": "2d562eb5c9e055e6",
    },
}
"""The digests of the identities by preset and stage."""


@pytest.mark.parametrize("preset", GOLDEN)
def test_the_identities_of_the_presets_are_the_recorded_ones(preset):
    """The presets draw their rows from a toy, so no file has a part in their identities."""
    digests = {stage: digest(identity) for stage, identity in identify(PRESETS[preset]()).items()}
    changed = ", ".join(stage for stage in digests if digests[stage] != GOLDEN[preset][stage])
    assert digests == GOLDEN[preset], (
        f"The identity of {changed} changed for the preset '{preset}', so existing artifacts would be made "
        "again. If you did not intend that, undo the change. If you changed a field, a default or a preset, "
        "record the new digests in GOLDEN. If a stage now writes something else for the same configuration, "
        "raise its `version` in STAGES (identity.py) and record the new digests; with the old version, runs "
        "would reuse artifacts of the old code."
    )
