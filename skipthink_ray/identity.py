"""What each stage may read of the configuration, and the identity of its artifact, made from exactly that."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from skipthink_ray.config import CwtConfig, OwnTaskConfig, PipelineConfig
from skipthink_ray.method.modes import Mode, modes_of

EXECUTION = ("cluster", "endpoint", "tracking", "storage_path")
"""Where and how a run executes. Every stage may read these; no identity contains them."""
ANSWERS, ANSWERS_VERSION = "answers-", 1
"""Start of the names of the artifacts with answers, and their version (see `Stage.version`)."""
DECODING = ("split", "batch_size", "max_new_tokens", "precision")
"""The fields of `evaluation` that decide the answers."""


@dataclass(frozen=True)
class Stage:
    """A stage: the artifacts it reads and the parts of the configuration that it may read besides theirs."""

    needs: tuple[str, ...]
    fields: tuple[str, ...]
    version: int = 1
    """Raised when the code of the stage changes what it writes for the same configuration."""


STAGES = {
    "rationales": Stage((), ("task", "own_task", "rationales"), version=3),
    "samples": Stage(("rationales",), ("seed", "student", "samples")),
    "base": Stage(("samples",), ("seed", "match", "updates", "base")),
    "cwt": Stage(("samples",), ("seed", "updates", "own_task", "cwt")),
    "skips": Stage(("samples", "cwt"), ("seed", "skips")),
    "stt": Stage(("samples", "cwt", "skips"), ("seed", "match", "updates", "stt")),
    "icot": Stage(("samples",), ("seed", "match", "updates", "icot")),
    "evaluation": Stage(("samples", "base", "cwt", "stt", "icot"), ("evaluation",)),
    "report": Stage(
        ("rationales", "samples", "base", "cwt", "skips", "stt", "icot", "evaluation"),
        ("name", "seed", "report"),
        version=2,
    ),
}


def stages_of(config: PipelineConfig) -> list[str]:
    """The stages of a run: all, or all but icot, which is off by default."""
    return [name for name in STAGES if name != "icot" or config.icot.removal]


def needs_of(name: str, stages: Collection[str]) -> list[str]:
    """Those of these stages whose artifacts a stage reads."""
    return [needed for needed in STAGES[name].needs if needed in stages]


def visible(name: str, config: PipelineConfig) -> PipelineConfig:
    """The configuration as the stage sees it: another field raises AttributeError.

    A stage sees its own fields, those of the stages it depends on, and EXECUTION.
    """
    values: dict[str, Any] = {field: getattr(config, field) for field in EXECUTION}
    stages = [*upstream(name, stages_of(config)), name]
    for needed in stages:
        values |= _own(needed, config)
    if "cwt" in stages:
        values |= _own("cwt", config)  # all of it; base and icot read only a part
    seen = config.model_copy()
    for field in PipelineConfig.model_fields:
        if field in values:
            vars(seen)[field] = values[field]
        else:
            del vars(seen)[field]
    return seen


def upstream(name: str, stages: Collection[str] = tuple(STAGES)) -> list[str]:
    """Those of these stages that a stage depends on, directly or not, in the order of the pipeline."""
    needs = {*needs_of(name, stages)}
    for needed in [*needs]:
        needs |= {*upstream(needed, stages)}
    return [stage for stage in STAGES if stage in needs]


def _own(name: str, config: PipelineConfig) -> dict[str, Any]:
    """The values that the stage reads and the stages before it do not decide."""
    values: dict[str, Any] = {field: getattr(config, field) for field in STAGES[name].fields}
    if name == "rationales":
        values["rationales"] = config.rationales.model_copy(update={"seed": config.data_seed})
        if isinstance(config.own_task, OwnTaskConfig):  # M is for cwt
            values["own_task"] = config.own_task.model_copy(update={"num_chunks": None})
    if name in ("base", "icot") and config.match == "updates" and config.updates is None:
        # both make as many updates as cwt, whose number of items depends on M
        deciding = {"num_chunks", "answer_marker", "epochs", "batch_size", "stage_updates"}
        values["cwt"] = CwtConfig().model_copy(update=config.cwt.model_dump(include=deciding))
        values["own_task"] = config.own_task
    return values


def identify(config: PipelineConfig) -> dict[str, dict[str, Any]]:
    """What each artifact depends on: what its stage may read of the configuration, and its inputs.

    The answers in each mode are an artifact of their own, so that a student answers once for all runs.

    Input files and pretrained students are identified by content, not by path. ValueError if one is missing.
    """
    from skipthink_ray.runtime.artifacts import digest  # here, so that a stage's --help does not load pyarrow

    identities: dict[str, dict[str, Any]] = {}
    for name in stages_of(config):
        stage = STAGES[name]
        part: dict[str, Any] = {
            field: value.model_dump(mode="json") if isinstance(value, BaseModel) else value
            for field, value in _own(name, config).items()
        }
        if name == "rationales":
            part["rationales"] |= _files(config)
        elif name == "samples":
            part["student"] |= _student(config)
        inputs = {needed: digest(identities[needed]) for needed in needs_of(name, identities)}
        identities[name] = {"stage": name, "version": stage.version, "config": part, "inputs": inputs}
    decoding = config.evaluation.model_dump(mode="json", include={*DECODING})
    for mode, student in modes_of(identities).items():
        inputs = {needed: digest(identities[needed]) for needed in ("samples", student)}
        identities[answers_of(mode)] = {"version": ANSWERS_VERSION, "config": decoding, "inputs": inputs}
    return identities


def answers_of(mode: Mode) -> str:
    """The name of the artifact with the answers in a mode, which the stage evaluation makes."""
    return f"{ANSWERS}{mode}"


def _files(config: PipelineConfig) -> dict[str, Any]:
    """Names and hashes of the input files instead of their path: the same file elsewhere is the same data."""
    if config.rationales.source != "file":
        return {}
    from skipthink_ray.data.input_files import find_files, fingerprint

    return {"path": None, "files": fingerprint(find_files(config.rationales), config)}


def _student(config: PipelineConfig) -> dict[str, Any]:
    """A hash of the pretrained student instead of its path: a copy elsewhere is the same student."""
    if config.student.pretrained is None:
        return {}
    from skipthink_ray.models.pretrained import fingerprint

    return {"pretrained": fingerprint(config.student.pretrained)}
