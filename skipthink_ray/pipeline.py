"""The eight stages of a run. Each reads artifacts and makes one, unless a run has made it already."""

from typing import Any

from rich.console import Console

from skipthink_ray.config import PipelineConfig
from skipthink_ray.identity import STAGES, identify, visible
from skipthink_ray.method.skipping import check_search
from skipthink_ray.runtime.artifacts import Folder, begin, digest, finish
from skipthink_ray.runtime.lock import Lease, only_writer
from skipthink_ray.runtime.store import Run
from skipthink_ray.runtime.tracking import Tracker, start_tracker
from skipthink_ray.tasks import check_source


def run(config: PipelineConfig, console: Console, command: str, only: str | None = None) -> Run:
    """Run all stages, or `only` one. Raises ValueError for errors the user can fix."""
    names = [only] if only else list(STAGES)
    current = open_run(config)
    current.refuse_other_folders()
    if all(current.is_done(name) for name in names) and current.is_recorded():
        if "report" in names:
            from skipthink_ray.reporting.table import show_report

            show_report(current.artifact("report"), console)
        _say(console, f"Nothing to do: {current.folder.uri} is finished.")
        return current
    _say(console, f"Run in {current.folder.uri}; starting Ray ...")
    to_make = {name for name in ("rationales", "chunks") if name in names and not current.is_done(name)}
    _preflight(config, current.folder, to_make, console)
    with only_writer(current.folder):
        key = f"{current.folder.uri} {digest(current.identities['report'])}"
        tracker = start_tracker(
            config.tracking, current.storage, config.name, key, lambda text: _say(console, text)
        )
        status = "FAILED"
        try:
            tracker.params(flatten(config.model_dump()))
            current.record(command, config.model_dump(mode="json"))
            for name in names:
                _run_stage(name, config, console, current, tracker)
                if name == "chunks":
                    _check_skips(config, current.artifact("chunks"))
            status = "FINISHED"
            if how := tracker.how_to_open():
                _say(console, f"Metrics: {how}")
        except (KeyboardInterrupt, SystemExit):
            status = "KILLED"
            raise
        finally:
            tracker.end(status)
    return current


def open_run(config: PipelineConfig) -> Run:
    """The configured run and the identities of its artifacts. Raises ValueError as `identify` does."""
    return Run(Folder.open(config.storage_path), config.name, identify(config))


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def _run_stage(name: str, config: PipelineConfig, console: Console, current: Run, parent: Tracker) -> None:
    """Make the artifact of a stage, unless a run has made it, and link it into the run's folder."""
    for needed in STAGES[name].needs:
        if not current.is_done(needed):
            raise ValueError(
                f"{name} needs the stage '{needed}', which is not finished for this configuration; "
                "run it first"
            )
    if current.is_done(name):
        current.link(name)
        _say(console, f"{name:<11} already done")
    else:
        with current.making(name, lambda text: _say(console, f"{name:<11} {text}")) as lease:
            if lease:
                _make(name, config, console, current, parent, lease)
            else:
                current.link(name)
                _say(console, f"{name:<11} made by another run")


def _check_skips(config: PipelineConfig, chunks: Folder) -> None:
    """Raises ValueError, before anything trains, if the search for skips cannot work with these chunks."""
    check_search(config.skips, chunks.read_json("summary.json")["num_chunks"])
    if config.skips.gate == "cross_fitted":
        from skipthink_ray.stages.folds import count_folds

        count_folds(config, chunks)


def _make(
    name: str, config: PipelineConfig, console: Console, current: Run, parent: Tracker, lease: Lease
) -> None:
    from skipthink_ray.stages.context import Context
    from skipthink_ray.stages.table import MAKE

    out, identity = current.artifact(name), current.identities[name]
    begin(out, identity)
    current.link(name)
    tracker = parent.child(name, f"{out.uri} {digest(identity)}")
    status = "FAILED"
    try:
        inputs = {needed: current.artifact(needed) for needed in STAGES[name].needs}
        summary = MAKE[name](Context(name, visible(name, config), console, tracker, out, inputs))
        numbers = {f"{name}/{key}": value for key, value in flatten(summary).items()}
        tracker.metrics(
            {key: value for key, value in numbers.items() if isinstance(value, int | float)}, step=0
        )
        lease.check()
        finish(out, summary)
        status = "FINISHED"
    finally:
        tracker.end(status)


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
