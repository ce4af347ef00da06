"""`skipthink tune`: run the trials of a space for some tasks, choose by dev, and read test for the chosen."""

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

from rich.console import Console
from rich.live import Live
from rich.table import Table

from skipthink_ray.commands.compare import students_read
from skipthink_ray.config import PipelineConfig
from skipthink_ray.pipeline import open_run
from skipthink_ray.preflight import check_settings
from skipthink_ray.reporting.comparison import Draws, compare
from skipthink_ray.reporting.published import published
from skipthink_ray.reporting.table import NUMBERS, main_cells, plain_table
from skipthink_ray.runtime.artifacts import Folder
from skipthink_ray.runtime.console import say
from skipthink_ray.runtime.experiment import how_to_compare
from skipthink_ray.runtime.lock import only_writer
from skipthink_ray.runtime.logged import logged
from skipthink_ray.runtime.store import REPORT, SWEEPS
from skipthink_ray.runtime.tracker import Labels
from skipthink_ray.tuning.choosing import choose
from skipthink_ray.tuning.plan import Trial, check_draws, plan_trials, settings
from skipthink_ray.tuning.progress import progress_table, result_of, shown
from skipthink_ray.tuning.runs import configs_of, run_with_log
from skipthink_ray.tuning.space import Space, read_space
from skipthink_ray.tuning.sweep import Record, Sweep


@dataclass(frozen=True)
class Plan:
    """A sweep before it runs."""

    sweep: Sweep
    space: Space
    bases: Sequence[PipelineConfig]
    """One configuration per task, as the space found it."""
    trials: list[Trial]


def plan_sweep(
    name: str, space_name: str, space: Space, bases: Sequence[PipelineConfig], samples: int | None
) -> Plan:
    """The trials of a sweep, in `<name>-<space>`. Raises ValueError, with the key, for an invalid draw."""
    check_draws(bases[0], space)  # a task does not change what is valid
    for base in bases:
        check_settings(_on_dev(base))
    name = f"{name}-{space_name}"
    trials = plan_trials(name, bases, space, samples or space.search.samples)
    return Plan(Sweep(Folder.open(bases[0].storage_path), name), space, bases, trials)


def _on_dev(config: PipelineConfig) -> PipelineConfig:
    return config.model_copy(update={"evaluation": config.evaluation.model_copy(update={"split": "dev"})})


def print_plan(plan: Plan, console: Console) -> None:
    """Print the trials with their draws and states."""
    known = plan.sweep.records(plan.trials)
    for trial in plan.trials:
        record = known.get(trial.name)
        state = "to do" if record is None else "done" if record.is_done else f"failed: {record.reason}"
        say(console, f"{trial.name}  {shown(trial.drawn)}  {state}")


def tune(
    space_name: str | None,
    tasks: str | None,
    samples: int | None,
    config: PipelineConfig,
    command: str,
    dry_run: bool,
) -> int:
    """Plan a sweep and run it, or only print the plan. Returns the exit code.

    :param tasks: as in `--tasks`; None: the configured task
    :param samples: trials per task; None: as the space says
    """
    if not space_name:
        raise ValueError("name a space, as in `skipthink tune chunks`; tune_spaces/ has the shipped ones")
    if samples is not None and samples < 1:
        raise ValueError(f"--samples: {samples} trials per task; give at least 1")
    name, space = read_space(space_name)
    bases = configs_of(config, tasks)
    plan = plan_sweep(config.name, name, space, bases, samples)
    if dry_run:
        print_plan(plan, Console(width=None if sys.stdout.isatty() else 120))
        return 0
    folder = f"{SWEEPS}/{plan.sweep.name}"
    return logged(config, lambda console: run_sweep(plan, command, console), folder)


def run_sweep(plan: Plan, command: str, console: Console) -> int:
    """Run what is left of a sweep and print its table. Returns the exit code: 1 if a trial or run failed."""
    sweep, to_run = plan.sweep, plan.sweep.to_run(plan.trials)
    tasks = f"{len(plan.bases)} task{'s' if len(plan.bases) > 1 else ''}"
    say(console, f"Sweep {sweep.name} in {sweep.folder.uri}: {len(plan.trials)} trials of {tasks}.")
    not_run = 0
    if to_run:
        with only_writer(sweep.folder, "choose another --name"):
            not_run = _run_trials(plan, to_run, command, console)
    failures = [
        f"{name} failed: {record.reason}"
        for name, record in sweep.records(plan.trials).items()
        if not record.is_done
    ]
    rows = []
    for base in plan.bases:
        chosen = _choose(plan, base)
        if chosen is None:
            failures.append(f"{base.task}: no trial is done, so none is chosen")
            continue
        config = _final(plan, base, chosen)
        if not open_run(config).is_done(REPORT):
            say(console, f"{base.task}: {chosen.name} is chosen and answers the test questions ...")
        tags = {"task": base.task, "sweep": sweep.name, "trial": chosen.key, "chosen": "yes"}
        if fault := run_with_log(config, command, Labels(chosen.drawn, tags)):
            failures.append(fault)
        rows.append((chosen, config.name))
    if not_run:
        failures.append(f"the first trials all failed for one reason, so {not_run} others did not run")
    if rows:
        console.print()
        console.print(_table(plan, rows))
        _write_page(plan, rows, console)
    for failure in failures:
        say(console, f"skipthink: {failure}")
    return int(bool(failures))


def _write_page(plan: Plan, rows: list[tuple[Record, str]], console: Console) -> None:
    """Write the sweep's page: its trials, and the chosen runs that have a report."""
    from skipthink_ray.commands.page import write_page

    finals = [
        _final(plan, base, chosen) for base in plan.bases for chosen, _ in rows if chosen.task == base.task
    ]
    runs = [published(run) for run in map(open_run, finals) if run.is_done(REPORT)]
    comparison = compare(runs, Draws(), students_read())
    write_page(plan.sweep.storage, plan.sweep.name, runs, comparison, console)


def _run_trials(plan: Plan, to_run: list[Trial], command: str, console: Console) -> int:
    """Run trials and print each result. Returns how many did not run."""
    from skipthink_ray.preflight import check_cluster
    from skipthink_ray.tuning.search import concurrent_trials, run_trials

    say(console, f"{len(to_run)} trials to run; starting Ray ...")
    config = to_run[0].config
    check_cluster(config)
    say(console, f"Trials at once: {concurrent_trials(to_run[0])}")
    if how := how_to_compare(config.tracking, plan.sweep.storage, "sweep", plan.sweep.name):
        say(console, f"Metrics: {how}")
    numbers = {trial.name: number for number, trial in enumerate(plan.trials, start=1)}
    ended = plan.sweep.records([trial for trial in plan.trials if trial not in to_run])

    def tell(record: Record) -> None:
        ended[record.name] = record
        place = f"{numbers[record.name]}/{len(plan.trials)} {record.name}"
        say(console, f"{place}  {result_of(record, plan.space.choose)}  ({shown(record.drawn)})")

    def progress() -> Table:
        return progress_table(plan.trials, dict(ended), plan.space.choose)

    live = Live(console=console, get_renderable=progress, refresh_per_second=0.5, transient=True)
    with live if console.is_terminal else nullcontext():
        return run_trials(plan.sweep, to_run, command, tell)


def _choose(plan: Plan, base: PipelineConfig) -> Record | None:
    """The chosen trial of a task. Writes its configuration for `skipthink run --config`."""
    of_task = [trial for trial in plan.trials if trial.task == base.task]
    chosen = choose([*plan.sweep.records(of_task).values()], plan.space.choose)
    if chosen:
        plan.sweep.write_chosen(base.task, _final(plan, base, chosen))
    return chosen


def _final(plan: Plan, base: PipelineConfig, chosen: Record) -> PipelineConfig:
    """The chosen configuration, which answers the test questions."""
    config = settings(base, plan.space, chosen.drawn)
    return config.model_copy(update={"name": f"{plan.sweep.name}-{base.task}-chosen"})


def _table(plan: Plan, rows: list[tuple[Record, str]]) -> Table:
    """A row per task: the chosen draw, its dev accuracy, and the numbers of its run on test."""
    mode = plan.space.choose.mode
    table = plain_table()
    for title in ("task", "chosen", f"dev {mode} %", *NUMBERS):
        table.add_column(title, justify="left" if title in ("task", "chosen") else "right")
    for chosen, name in rows:
        report = plan.sweep.storage.child(name).child(REPORT)
        numbers = main_cells(report) if report.exists("report.json") else ["failed"] * len(NUMBERS)
        dev = f"{chosen.numbers[f'{mode}_accuracy_pct']:.1f}"
        table.add_row(chosen.task, shown(chosen.drawn), dev, *numbers)
    return table
