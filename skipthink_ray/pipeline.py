"""The eight stages of a run. Each reads artifacts and writes one; a finished artifact is not made again."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from rich.console import Console

from skipthink_ray.config import PipelineConfig
from skipthink_ray.runtime.artifacts import Folder, begin, digest, finish, is_done
from skipthink_ray.runtime.lock import only_writer
from skipthink_ray.runtime.tracking import Tracker, start_tracker
from skipthink_ray.tasks import check_source


@dataclass(frozen=True)
class Stage:
    """A stage: the artifacts it reads and the parts of the configuration it depends on."""

    needs: tuple[str, ...]
    fields: tuple[str, ...]


STAGES = {
    "rationales": Stage((), ("task", "own_task", "seed", "rationales")),
    "chunks": Stage(("rationales",), ("student", "chunks")),
    "base": Stage(("chunks",), ("match", "base")),
    "cwt": Stage(("chunks",), ("cwt",)),
    "skips": Stage(("chunks", "cwt"), ("skips",)),
    "stt": Stage(("chunks", "cwt", "skips"), ("match", "stt")),
    "evaluation": Stage(("chunks", "base", "cwt", "stt"), ("evaluation",)),
    "report": Stage(("rationales", "chunks", "base", "cwt", "skips", "stt", "evaluation"), ("report",)),
}


def run(config: PipelineConfig, console: Console, command: str, only: str | None = None) -> Folder:
    """Run all stages, or `only` one, and return the run's folder. ValueError for errors the user can fix."""
    storage = Folder.open(config.storage_path)
    folder = storage.child(config.name)
    names = [only] if only else list(STAGES)
    identities = identify(config)
    if all(is_done(folder.child(name), identities[name]) for name in names):
        if "report" in names:
            from skipthink_ray.reporting.table import show_report

            show_report(folder.child("report"), console)
        console.print(f"Nothing to do: {folder.uri} is finished.", highlight=False, markup=False)
        return folder
    console.print(f"Run in {folder.uri}; starting Ray ...", highlight=False, markup=False, soft_wrap=True)
    to_make = {
        name
        for name in ("rationales", "chunks")
        if name in names and not is_done(folder.child(name), identities[name])
    }
    _preflight(config, folder, to_make, console)
    with only_writer(folder):
        key = f"{folder.uri} {digest(identities['report'])}"
        tracker = start_tracker(config.tracking, storage, config.name, key, lambda text: _say(console, text))
        status = "FAILED"
        try:
            tracker.params(flatten(config.model_dump()))
            folder.write_json("command.json", {"command": command, "config": config.model_dump()})
            for name in names:
                _run_stage(name, config, console, folder, identities, tracker)
            status = "FINISHED"
            if how := tracker.how_to_open():
                console.print(f"Metrics: {how}", highlight=False, markup=False)
        except (KeyboardInterrupt, SystemExit):
            status = "KILLED"
            raise
        finally:
            tracker.end(status)
    return folder


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def _run_stage(
    name: str,
    config: PipelineConfig,
    console: Console,
    folder: Folder,
    identities: dict[str, dict[str, Any]],
    parent: Tracker,
) -> None:
    from skipthink_ray.stages.context import Context

    out, identity = folder.child(name), identities[name]
    if is_done(out, identity):
        console.print(f"{name:<11} already done", highlight=False)
        return
    for needed in STAGES[name].needs:
        if not is_done(folder.child(needed), identities[needed]):
            raise ValueError(
                f"{name} needs the stage '{needed}', which is not finished in {folder.uri}; run it first"
            )
    begin(out, identity)
    tracker = parent.child(name, f"{out.uri} {digest(identity)}")
    status = "FAILED"
    try:
        inputs = {needed: folder.child(needed) for needed in STAGES[name].needs}
        make: Callable[[Context], dict[str, Any]] = import_module(f"skipthink_ray.stages.{name}").make
        summary = make(Context(name, config, console, tracker, out, inputs))
        tracker.metrics(
            {
                f"{name}/{key}": value
                for key, value in flatten(summary).items()
                if isinstance(value, int | float)
            },
            step=0,
        )
        finish(out, summary)
        status = "FINISHED"
    finally:
        tracker.end(status)


def identify(config: PipelineConfig) -> dict[str, dict[str, Any]]:
    """What each artifact depends on: its part of the configuration and the identities of its inputs.

    Files are identified by content, not by path. ValueError if one is missing.
    """
    identities: dict[str, dict[str, Any]] = {}
    for name, stage in STAGES.items():
        part = config.model_dump(mode="json", include=set(stage.fields))
        extra = _files(config) if name == "rationales" else _student(config) if name == "chunks" else {}
        if name == "base" and config.match == "updates":  # base makes as many updates as cwt
            extra = {
                "cwt": config.cwt.model_dump(mode="json", include={"epochs", "batch_size", "stage_updates"})
            }
        inputs = {needed: digest(identities[needed]) for needed in stage.needs}
        identities[name] = {"stage": name, "config": part | extra, "inputs": inputs}
    return identities


def _files(config: PipelineConfig) -> dict[str, Any]:
    """Hashes of the input files, so that changed data counts as another configuration."""
    if config.rationales.source != "file":
        return {}
    from skipthink_ray.runtime.sources import find_files, fingerprint

    return {"files": fingerprint(find_files(config.rationales), config.rationales)}


def _student(config: PipelineConfig) -> dict[str, Any]:
    """The student, identified by content: the same file at another path is the same student."""
    if config.student.pretrained is None:
        return {}
    from skipthink_ray.models.pretrained import fingerprint

    return {
        "student": {
            **config.student.model_dump(mode="json"),
            "pretrained": fingerprint(config.student.pretrained),
        }
    }


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _preflight(config: PipelineConfig, folder: Folder, to_make: set[str], console: Console) -> None:
    """Fail early, before any stage starts. ValueError if the run cannot succeed.

    `to_make` holds those of the stages rationales and chunks that will run. A pretrained student is
    downloaded or converted here, once, before Ray starts.
    """
    check_source(config)
    from skipthink_ray.models.student import check_pretrained
    from skipthink_ray.runtime import cluster

    _check_writable(folder)
    if "chunks" in to_make and config.student.pretrained:
        check_pretrained(
            config.student.pretrained,
            lambda text: console.print(text, highlight=False, markup=False, soft_wrap=True),
        )
    if config.rationales.source == "dataset":
        from skipthink_ray.runtime.sources import open_dataset

        open_dataset(config)
    if "rationales" in to_make and config.rationales.teacher.kind != "given":
        from skipthink_ray.runtime.asking import check_teacher

        check_teacher(config)
    cluster.connect(config.cluster)
    cluster.require("training (cluster.num_workers)", config.cluster, config.cluster.num_workers)
    cluster.require("skips and evaluation (cluster.num_actors)", config.cluster, config.cluster.num_actors)


def _check_writable(folder: Folder) -> None:
    try:
        folder.write_text("_writable", "")
        folder.delete("_writable")
    except OSError as error:
        raise ValueError(f"storage_path: cannot write to {folder.uri}: {error}") from error
