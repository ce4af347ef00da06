"""The page of several runs and sweeps: their reports, and the trials that lie in the storage path."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from skipthink_ray.config import PipelineConfig
from skipthink_ray.identity import upstream
from skipthink_ray.reporting.comparison import Comparison, Published, distinctive, settings_of
from skipthink_ray.reporting.entry import Entry
from skipthink_ray.reporting.material import read_material
from skipthink_ray.reporting.numbers import build_report
from skipthink_ray.reporting.page import Compared, render_compared
from skipthink_ray.runtime.artifacts import Folder
from skipthink_ray.runtime.console import say
from skipthink_ray.runtime.store import REPORT, SWEEPS, artifact_of, is_made, read_view
from skipthink_ray.tuning.progress import shown
from skipthink_ray.tuning.sweep import Record, Sweep

PAGE = "page.html"


def page_of(
    title: str, storage: Folder, names: Sequence[str], runs: Sequence[Published], comparison: Comparison
) -> str:
    """The page as HTML. Trials of the sweeps among `names` come first, if the storage path has them.

    Raises ValueError if a report was written by an earlier version.
    """
    sweeps = [Sweep(storage, name) for name in names if storage.exists(f"{SWEEPS}/{name}/trials")]
    chosen = {run.report["name"]: settings_of(run) for run in runs}
    trials, failures = list[Entry](), list[str]()
    for sweep in sweeps:
        for record in sweep.all_records():
            if reason := record.reason or _missing(storage, record):
                failures.append(f"{record.name}: {reason}")
            else:
                trials.append(_trial(storage, record, chosen.get(f"{sweep.name}-{record.task}-chosen")))
    return render_compared(Compared(title, [*trials, *_entries(runs)], comparison, failures))


def write_page(
    storage: Folder, sweep: str, runs: Sequence[Published], comparison: Comparison, console: Console
) -> None:
    """Write the page of a sweep or an ablation into its folder, and print where it is."""
    folder = storage.child(f"{SWEEPS}/{sweep}")
    folder.write_text(PAGE, page_of(sweep, storage, [sweep], runs, comparison))
    say(console, f"Page: {folder.child(PAGE).uri}")


def _missing(storage: Folder, record: Record) -> str:
    """Why the artifacts of a trial cannot be read, or nothing."""
    view = read_view(storage.child(record.run))
    if view is None:
        return "its run was deleted"
    made = view["artifacts"]
    gone = [one for one in upstream(REPORT, made) if not is_made(storage, record.run, one, made[one])]
    return f"deleted artifacts: {', '.join(gone)}" if gone else ""


def _trial(storage: Folder, record: Record, chosen: dict[str, Any] | None) -> Entry:
    """The report of a trial, computed from its artifacts. A trial does not run the stage report.

    chosen: the settings of the run that the sweep chose for the task
    """
    view = read_view(storage.child(record.run)) or {}
    config = PipelineConfig.model_validate(view["config"])
    digests: dict[str, str] = view["artifacts"]
    folders = {stage: artifact_of(storage, stage, digests[stage]) for stage in upstream(REPORT, digests)}
    made = {"command": view["command"], "digests": digests, "folder": storage.child(record.run).uri}
    report = build_report(read_material(config, folders, made))
    return Entry(report, shown(_short(record.drawn)), record.drawn, _has(chosen, record.drawn))


def _has(settings: dict[str, Any] | None, drawn: dict[str, Any]) -> bool:
    return settings is not None and all(settings.get(key) == value for key, value in drawn.items())


def _entries(runs: Sequence[Published]) -> list[Entry]:
    """The runs with a report, each named by the settings in which it differs from the others of its task."""
    for run in runs:
        if "shown" not in run.report["dropped"]:
            raise ValueError(
                f"an earlier version wrote the report of run '{run.report['name']}', without samples for a "
                "page. Run its command again, which makes only the report, or leave the run out"
            )
    tasks = [run.report["task"] for run in runs]
    settings: dict[str, list[dict[str, Any]]] = {}
    for task, run in zip(tasks, runs, strict=True):
        settings.setdefault(task, []).append(settings_of(run))
    told = {task: iter(distinctive(of_task)) for task, of_task in settings.items()}
    arms = [_arm(run, next(told[task])) for task, run in zip(tasks, runs, strict=True)]
    often = Counter(zip(tasks, arms, strict=True))  # runs of different seeds have the same settings
    return [
        Entry(run.report, f"{arm} ({run.report['name']})" if often[task, arm] > 1 else arm)
        for task, run, arm in zip(tasks, runs, arms, strict=True)
    ]


def _arm(run: Published, settings: dict[str, Any]) -> str:
    return shown(_short(dict(sorted(settings.items())))) or run.report["name"]


def _short(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings by the last part of their keys, if that says which is which."""
    short = {key.rpartition(".")[2]: value for key, value in settings.items()}
    return short if len(short) == len(settings) else settings
