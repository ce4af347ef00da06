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
        "base": "0e881697b9f1f04e",
        "cwt": "80f55ca5bced1f5a",
        "skips": "bf416e3bc86a1aab",
        "stt": "e102e073a9bbf7a2",
        "evaluation": "124ec37969d2625e",
        "report": "22818ccfa70a6b9c",
        "answers-full": "1ec13288940c416b",
        "answers-staged": "615b0a7cbdd34df8",
        "answers-skip": "09b2a1899c6ba372",
    },
    "toy": {
        "rationales": "ade87a510c00f0d6",
        "samples": "aac3e3e0e4f242cc",
        "base": "2757cf97b69f8841",
        "cwt": "908959090e46357e",
        "skips": "b7461b79dfebc673",
        "stt": "32d9270bacba59ee",
        "evaluation": "5d6c9aa39bd9d15f",
        "report": "7f5d515b0559988e",
        "answers-full": "990c4d2f2625f486",
        "answers-staged": "da65ed02805bb54f",
        "answers-skip": "2eb2d583f56baa45",
    },
    "smollm2": {
        "rationales": "6d3d8318b1645a9c",
        "samples": "e4a4c64e5196a3e3",
        "base": "7271ab202439032b",
        "cwt": "1dc706e47be13083",
        "skips": "f380082feac711dd",
        "stt": "32619e2e28f1ddc2",
        "evaluation": "6dbca181424103e6",
        "report": "aac28c3b6221c9cb",
        "answers-full": "0dfb31863ad090ea",
        "answers-staged": "005bf8c729e5686f",
        "answers-skip": "a396600d2a59ee9e",
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


def test_answers_in_another_precision_are_other_answers():
    before, after = (
        identify(PipelineConfig.model_validate({"evaluation": {"precision": precision}}))
        for precision in ("fp32", "bf16")
    )
    changed = {stage for stage in before if before[stage] != after[stage]}
    assert changed == {"evaluation", "report", "answers-full", "answers-staged", "answers-skip"}


def test_the_identity_of_icot_is_the_recorded_one():
    """As GOLDEN, for the stage that no preset turns on."""
    identities = identify(CONFIGS["with icot"])
    assert {name: digest(identities[name]) for name in ("icot", "answers-direct")} == {
        "icot": "bdde2391adc3641c",
        "answers-direct": "d37cfba9d2d6af3c",
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
