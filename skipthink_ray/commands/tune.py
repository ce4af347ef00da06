"""`skipthink tune`: run the trials of a space for some tasks, choose by dev, and read test for the chosen."""

import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial

from rich.console import Console
from rich.live import Live
from rich.table import Table

from skipthink_ray.commands.compare import students_read
from skipthink_ray.config import PipelineConfig
from skipthink_ray.pipeline import open_run
from skipthink_ray.preflight import check_settings
from skipthink_ray.reporting.comparison import Draws, compare
from skipthink_ray.reporting.published import published
from skipthink_ray.reporting.table import FAILED, Row, add_runs, main_numbers, plain_table
from skipthink_ray.runtime.artifacts import Folder
from skipthink_ray.runtime.console import say
from skipthink_ray.runtime.experiment import how_to_compare
from skipthink_ray.runtime.lock import only_writer
from skipthink_ray.runtime.logged import logged
from skipthink_ray.runtime.store import REPORT, SWEEPS
from skipthink_ray.runtime.tracker import Labels
from skipthink_ray.runtime.tracking import check_server, send_unsent
from skipthink_ray.tuning.choosing import choose
from skipthink_ray.tuning.plan import Planned, Source, Trial, check_draws, plan_trials, settings
from skipthink_ray.tuning.progress import progress_table, result_of, shown
from skipthink_ray.tuning.runs import configs_of, run_with_log
from skipthink_ray.tuning.space import Space, read_space
from skipthink_ray.tuning.sweep import Record, Sweep

Chosen = tuple[Record, PipelineConfig]
"""The chosen trial of a task, and the configuration of its run on the test questions."""


@dataclass(frozen=True)
class Plan:
    """A sweep before it runs."""

    sweep: Sweep
    space: Space
    bases: Sequence[PipelineConfig]
    """One configuration per task, as the space found it."""
    samples: int
    """Trials per task."""
    trials: list[Trial]
    """All of them; with Optuna, those drawn so far."""

    @property
    def totals(self) -> dict[str, int]:
        """The number of trials by task."""
        if self.space.draws_later:
            return {base.task: self.samples for base in self.bases}
        return Counter(trial.task for trial in self.trials)

    def refreshed(self) -> "Plan":
        """The same plan with the trials that were drawn meanwhile."""
        if not self.space.draws_later:
            return self
        return replace(self, trials=self.sweep.known_trials(self.bases, self.space))


def plan_sweep(
    name: str, space_name: str, space: Space, bases: Sequence[PipelineConfig], samples: int | None
) -> Plan:
    """The trials of a sweep, in `<name>-<space>`. Raises ValueError, with the key, for an invalid draw."""
    check_draws(bases[0], space)  # a task does not change what is valid
    for base in bases:
        check_settings(_on_dev(base))
    name = f"{name}-{space_name}"
    samples, sweep = samples or space.search.samples, Sweep(Folder.open(bases[0].storage_path), name)
    trials = [] if space.draws_later else plan_trials(name, bases, space, samples)
    return Plan(sweep, space, bases, samples, trials).refreshed()


def _on_dev(config: PipelineConfig) -> PipelineConfig:
    return config.model_copy(update={"evaluation": config.evaluation.model_copy(update={"split": "dev"})})


def print_plan(plan: Plan, console: Console) -> None:
    """Print the trials with their draws and states."""
    known = plan.sweep.records(plan.trials)
    for trial in plan.trials:
        record = known.get(trial.name)
        state = "to do" if record is None else result_of(record, plan.space.choose)
        say(console, f"{trial.name}  {shown(trial.drawn)}  {state}")
    if left := sum(plan.totals.values()) - len(plan.trials):
        say(console, f"{left} more trials, drawn by Optuna from the results of those before them")


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
    sweep, source = plan.sweep, _source(plan)
    tasks = f"{len(plan.bases)} task{'s' if len(plan.bases) > 1 else ''}"
    say(console, f"Sweep {sweep.name} in {sweep.folder.uri}: {sum(plan.totals.values())} trials of {tasks}.")
    not_run = 0
    if len(source):
        with only_writer(sweep.folder, "choose another --name"):
            not_run = _run_trials(plan, source, command, console)
        plan = plan.refreshed()
    failures = [
        f"{name} failed: {record.reason}"
        for name, record in sweep.records(plan.trials).items()
        if record.has_failed
    ]
    rows = list[Chosen]()
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
        rows.append((chosen, config))
    if not_run:
        failures.append(f"the first trials all failed for one reason, so {not_run} others did not run")
    for config in [*(trial.config for trial in plan.trials), *(config for _, config in rows)]:
        send_unsent(config.tracking, sweep.storage, config.name, partial(say, console))
    if rows:
        console.print()
        console.print(_table(plan, rows))
        _write_page(plan, rows, console)
    for failure in failures:
        say(console, f"skipthink: {failure}")
    return int(bool(failures))


def _source(plan: Plan) -> Source:
    if not plan.space.draws_later:
        return Planned(plan.sweep.to_run(plan.trials))
    from skipthink_ray.tuning.studies import Studies  # imports Optuna

    return Studies(plan.sweep, plan.space, plan.bases, plan.trials, plan.samples)


def _write_page(plan: Plan, rows: list[Chosen], console: Console) -> None:
    """Write the sweep's page: its trials, and the chosen runs that have a report."""
    from skipthink_ray.commands.page import write_page

    runs = [published(run) for _, config in rows if (run := open_run(config)).is_done(REPORT)]
    comparison = compare(runs, Draws(), students_read())
    write_page(plan.sweep.storage, plan.sweep.name, runs, comparison, console)


def _run_trials(plan: Plan, source: Source, command: str, console: Console) -> int:
    """Run the trials that are left and print each result. Returns how many did not run to their end."""
    from skipthink_ray.preflight import check_cluster
    from skipthink_ray.tuning.search import concurrent_trials, run_trials
    from skipthink_ray.tuning.trial import arguments_of

    say(console, f"{len(source)} trials to run; starting Ray ...")
    config, total = plan.bases[0], sum(plan.totals.values())
    check_server(config.tracking, plan.sweep.storage)
    check_cluster(config, partial(say, console))
    say(console, f"Trials at once: {concurrent_trials(config)}")
    if how := how_to_compare(config.tracking, plan.sweep.storage, "sweep", plan.sweep.name):
        say(console, f"Metrics: {how}")
    known = plan.sweep.records(plan.trials)
    ended = [record for record in known.values() if not record.again]

    def tell(record: Record) -> None:
        ended.append(record)
        text = f"{result_of(record, plan.space.choose)}  ({shown(record.drawn)})"
        say(console, f"{len(ended)}/{total} {record.name}  {text}")

    def progress() -> Table:
        return progress_table(plan.totals, [*ended], plan.space.choose)

    live = Live(console=console, get_renderable=progress, refresh_per_second=0.5, transient=True)
    with live if console.is_terminal else nullcontext():
        return run_trials(
            plan.sweep,
            source,
            concurrent_trials(config),
            lambda trial: arguments_of(trial, command, plan.space.stop),
            tell,
        )


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
    tracking = config.tracking.model_copy(update={"log_student": True})
    return config.model_copy(update={"name": f"{plan.sweep.name}-{base.task}-chosen", "tracking": tracking})


def _table(plan: Plan, rows: list[Chosen]) -> Table:
    """A row per task: the chosen draw, its dev accuracy, and the numbers of its run on test."""
    mode = plan.space.choose.mode
    table = plain_table()
    for title in ("task", "chosen", f"dev {mode} %"):
        table.add_column(title, justify="left" if title in ("task", "chosen") else "right", overflow="fold")
    of_tasks = list[Row]()
    for chosen, config in rows:
        report = plan.sweep.storage.child(config.name).child(REPORT)
        numbers = main_numbers(report) if report.exists("report.json") else FAILED
        dev = f"{chosen.numbers[f'{mode}_accuracy_pct']:.1f}"
        of_tasks.append(([chosen.task, shown(chosen.drawn), dev], numbers))
    add_runs(table, of_tasks)
    return table
