"""A stage reads only what its identity contains, and every field that it can read changes its identity."""

import warnings
from typing import Any

import pytest
from pydantic import BaseModel

from skipthink_ray.config import IcotConfig, OwnTaskConfig, PipelineConfig
from skipthink_ray.identity import EXECUTION, STAGES, identify, stages_of, visible
from skipthink_ray.presets import PRESETS
from skipthink_ray.runtime.artifacts import digest
from skipthink_ray.stages.table import MAKE

CONFIGS = {
    "as many updates as cwt": PipelineConfig(own_task=OwnTaskConfig(), task="mine"),
    "own epochs": PipelineConfig(match="epochs"),
    "a number of updates": PipelineConfig(updates=10),
    "with icot": PipelineConfig(icot=IcotConfig(removal="stepwise")),
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
        for stage in stages_of(config):
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
        "base": "5dfe6b6dcaf0dfb3",
        "cwt": "25db2c22f6c654c0",
        "skips": "42adc488e43f3c28",
        "stt": "8472b012dff6aadb",
        "evaluation": "60007850791b03ba",
        "report": "54701b695ea2eb33",
        "answers-full": "64b15b933c56ce1f",
        "answers-staged": "fc6b248025742acd",
        "answers-skip": "cd875ac7cc054b3a",
    },
    "toy": {
        "rationales": "643b1b4fa7682f93",
        "samples": "2dd01a52759e1bba",
        "base": "dff8093a6b68f85c",
        "cwt": "498ea0f1122772ac",
        "skips": "d0bc7b21a7769156",
        "stt": "81ed2a448de14371",
        "evaluation": "5305dd6cd5c56880",
        "report": "3b9fef62cb2efe3d",
        "answers-full": "b09253545acc4ed1",
        "answers-staged": "3b05b3195f7bec45",
        "answers-skip": "a1a67d88a6c2fd7d",
    },
    "smollm2": {
        "rationales": "6d3d8318b1645a9c",
        "samples": "e4a4c64e5196a3e3",
        "base": "7f9022c59ec514cd",
        "cwt": "4928210b588e10af",
        "skips": "4bde6c851e3615e8",
        "stt": "91d15af1d76042d5",
        "evaluation": "1303d8803a35553d",
        "report": "35b6e850ab6f5753",
        "answers-full": "9e5699f7c2701830",
        "answers-staged": "71c4c6386124adec",
        "answers-skip": "dd30ef46f3ef12d1",
    },
}
"""The digests of the identities by preset and stage."""


def test_the_stage_icot_is_in_no_identity_until_it_is_on():
    off, on = PipelineConfig(), PipelineConfig(icot=IcotConfig(removal="all"))
    other = PipelineConfig(icot=IcotConfig(epochs=3, tokens_per_epoch=1))
    assert identify(other) == identify(off)
    before, after = identify(off), identify(on)
    assert after.keys() - before.keys() == {"icot", "answers-direct"}
    assert {stage for stage in before if before[stage] != after[stage]} == {"evaluation", "report"}


def test_the_identity_of_icot_is_the_recorded_one():
    """As GOLDEN, for the stage that no preset turns on."""
    identities = identify(CONFIGS["with icot"])
    assert {name: digest(identities[name]) for name in ("icot", "answers-direct")} == {
        "icot": "4954dae8ad80079b",
        "answers-direct": "46fd3cd3a6cd239a",
    }


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
