"""`skipthink ablate`: run every arm of a space for some tasks, and compare them on the test questions."""

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from rich.console import Console

from skipthink_ray.commands.compare import print_tables, students_read
from skipthink_ray.config import PipelineConfig
from skipthink_ray.pipeline import open_run
from skipthink_ray.preflight import check_cluster, check_settings
from skipthink_ray.reporting.comparison import Draws, compare
from skipthink_ray.reporting.published import published
from skipthink_ray.reporting.table import plain_table
from skipthink_ray.runtime.console import say
from skipthink_ray.runtime.logged import logged
from skipthink_ray.runtime.store import REPORT, SWEEPS
from skipthink_ray.runtime.tracker import Labels
from skipthink_ray.runtime.tracking import check_server, send_unsent
from skipthink_ray.tuning.plan import settings
from skipthink_ray.tuning.runs import configs_of, run_with_log
from skipthink_ray.tuning.space import Space, read_space

DEFAULT = "ablations"


@dataclass(frozen=True)
class Arm:
    """One arm for one task."""

    name: str
    changes: dict[str, Any]
    config: PipelineConfig
    """The run that makes it."""


def ablate(
    space_name: str | None, tasks: str | None, config: PipelineConfig, command: str, dry_run: bool
) -> int:
    """Run all arms, one after another, and print a table per task. Returns the exit code: 1 if one failed.

    Arms share the artifacts that they have in common.
    """
    name, space = read_space(space_name or DEFAULT)
    if not space.arms:
        raise ValueError(f"the space '{name}' has no arms; `skipthink tune {name}` searches it")
    bases = configs_of(config, tasks)
    sweep = f"{config.name}-{name}"
    arms = [arm for base in bases for arm in _arms(sweep, base, space)]
    for arm in arms:
        check_settings(arm.config)
    if dry_run:
        console = Console(width=None if sys.stdout.isatty() else 120)
        for arm in arms:
            say(console, f"{_title(arm)}  {'done' if open_run(arm.config).is_done(REPORT) else 'to do'}")
        return 0
    return logged(config, lambda console: _run_all(sweep, arms, command, console), f"{SWEEPS}/{sweep}")


def _arms(sweep: str, base: PipelineConfig, space: Space) -> list[Arm]:
    arms = []
    for name, changes in space.arms.items():
        config = settings(base, space, changes)
        slug = re.sub(r"\W+", "-", name)
        arms.append(Arm(name, changes, config.model_copy(update={"name": f"{sweep}-{base.task}-{slug}"})))
    return arms


def _title(arm: Arm) -> str:
    return f"{arm.config.task}, {arm.name}"


def _run_all(sweep: str, arms: Sequence[Arm], command: str, console: Console) -> int:
    if not all(open_run(arm.config).is_done(REPORT) for arm in arms):
        check_server(arms[0].config.tracking, open_run(arms[0].config).storage)
        check_cluster(arms[0].config, partial(say, console))
    failures, made = list[str](), list[Arm]()
    for number, arm in enumerate(arms, start=1):
        state = "already done" if open_run(arm.config).is_done(REPORT) else "running ..."
        say(console, f"{number}/{len(arms)} {_title(arm)}: {state}")
        tags = {"task": arm.config.task, "sweep": sweep, "arm": arm.name}
        if fault := run_with_log(arm.config, command, Labels(arm.changes, tags)):
            say(console, f"skipthink: {fault}")
            failures.append(fault)
        else:
            made.append(arm)
    for arm in arms:
        send_unsent(arm.config.tracking, open_run(arm.config).storage, arm.config.name, partial(say, console))
    console.print()
    if made:
        runs = [published(open_run(arm.config)) for arm in made]
        from skipthink_ray.commands.page import write_page

        comparison = compare(runs, Draws(), students_read())
        print_tables(comparison, plain_table, console)
        write_page(open_run(made[0].config).storage, sweep, runs, comparison, console)
    for failure in failures:
        say(console, f"skipthink: {failure}")
    return int(bool(failures))
