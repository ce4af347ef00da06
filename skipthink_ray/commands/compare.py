"""`skipthink compare`: a table per task of runs and sweeps, read from MLflow alone."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas
import pyarrow.parquet
from rich import box
from rich.console import Console
from rich.table import Table

from skipthink_ray.config import TrackingConfig
from skipthink_ray.identity import STAGES, upstream
from skipthink_ray.method.intervals import Estimate
from skipthink_ray.method.modes import STUDENT_OF, Mode
from skipthink_ray.reporting.comparison import Block, Comparison, Draws, Published, Row, compare
from skipthink_ray.reporting.published import ANSWERS, LATENCIES, REPORT_FILE
from skipthink_ray.reporting.table import plain_table
from skipthink_ray.runtime.artifacts import Folder
from skipthink_ray.runtime.experiment import server_uri
from skipthink_ray.runtime.mlflow_run import first_line
from skipthink_ray.runtime.redaction import shown

WIDE = 220
"""Width of a table in a file or a pipe."""
FILES = (REPORT_FILE, ANSWERS, LATENCIES)
PAGE = 500
"""Runs per request."""


def compare_runs(
    names: Sequence[str], storage_path: str, tracking: TrackingConfig, form: str, page: str | None
) -> int:
    """Print the comparison, and write its page. Returns the exit code.

    :param names: runs or sweeps; none: all runs with a report
    :param page: the file to write; None: no page
    """
    if page and not (folder := Path(page).absolute().parent).is_dir():
        raise ValueError(f"--page {page}: the folder {folder} does not exist; create it or name another file")
    storage = Folder.open(storage_path)
    runs = [*_fetch(server_uri(tracking, storage), tracking.experiment, names)]
    comparison = compare(runs, Draws(), students_read())
    if page:
        from skipthink_ray.commands.page import page_of

        title = ", ".join(names) or f"All runs of {tracking.experiment}"
        Path(page).write_text(page_of(title, storage, names, runs, comparison), encoding="utf-8")
    PRINTERS[form](comparison)
    return 0


def students_read() -> dict[Mode, set[str]]:
    """First parts of the configuration keys on which the student of each mode depends."""
    return {
        mode: {field for one in (*upstream(stage), stage) for field in STAGES[one].fields}
        for mode, stage in STUDENT_OF.items()
    }


def _fetch(uri: str, experiment: str, names: Sequence[str]) -> Iterator[Published]:
    """The finished runs with a report. Raises ValueError if a name has none."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        raise ValueError(f"{shown(uri)} does not exist: no run of this storage path was tracked")
    client, server = MlflowClient(uri), f"MLflow at '{shown(uri)}'"
    try:
        found = client.get_experiment_by_name(experiment)
        if found is None:
            raise ValueError(f"{server} has no experiment '{experiment}'; see --experiment")
        runs = [run for run in _runs(client, found.experiment_id) if _is_wanted(run, names)]
        published = [run for run in runs if _files(client, run) >= {*FILES}]
        for name in names:
            if not any(_is_wanted(run, [name]) for run in published):
                raise ValueError(f"{server} has no finished run or sweep '{name}' with a report")
        if not published:
            raise ValueError(f"{server} has no finished run with a report")
        for run in published:
            yield _download(client, run)
    except MlflowException as error:
        raise ValueError(f"{server} does not answer: {first_line(error)}") from error


def _runs(client: Any, experiment_id: str) -> Iterator[Any]:
    """The finished runs, oldest first, without those of single stages."""
    token = None
    while True:
        page = client.search_runs(
            [experiment_id],
            "attributes.status = 'FINISHED'",
            max_results=PAGE,
            order_by=["attributes.start_time"],
            page_token=token,
        )
        yield from (run for run in page if "mlflow.parentRunId" not in run.data.tags)
        token = page.token
        if not token:
            return


def _is_wanted(run: Any, names: Sequence[str]) -> bool:
    known = {run.info.run_name, run.data.tags.get("skipthink.sweep")}
    return not names or bool(known & {*names})


def _files(client: Any, run: Any) -> set[str]:
    return {file.path for file in client.list_artifacts(run.info.run_id)}


def _download(client: Any, run: Any) -> Published:
    with TemporaryDirectory() as folder:
        paths = {name: client.download_artifacts(run.info.run_id, name, folder) for name in FILES}
        report = json.loads(Path(paths[REPORT_FILE]).read_text(encoding="utf-8"))
        answers, latencies = [pyarrow.parquet.read_table(paths[name]) for name in (ANSWERS, LATENCIES)]
    return Published(report, answers, latencies, run.data.tags["skipthink.data"])


COLUMNS: dict[str, Callable[[Row], str]] = {
    "arm": lambda row: row.arm,
    "seeds": lambda row: str(len(row.seeds)),
    "accuracy %": lambda row: _shown(row.accuracy_pct, 1),
    "minus Base": lambda row: _shown(row.minus_base_points, 1),
    "format errors %": lambda row: f"{row.format_errors_pct:.1f}",
    "loops %": lambda row: f"{row.loops_pct:.1f}",
    "tokens": lambda row: _shown(row.tokens, 1),
    "s at batch 1": lambda row: _shown(row.latency_s, 3),
    "speed-up": lambda row: _shown(row.speedup, 2),
}


def _shown(interval: Estimate | None, digits: int) -> str:
    if interval is None:
        return "–"
    value, low, high = (f"{number:.{digits}f}" for number in (interval.value, interval.low, interval.high))
    return f"{value} ({low} to {high})"


def _title(block: Block) -> str:
    title = f"{block.task}: {block.questions:,} {block.split} questions, data {block.data}"
    paper = f"; speed-up in the paper {block.paper_speedup}x" if block.paper_speedup else ""
    return f"{title}, {block.code}, {block.machine}{paper}"


def _cells(block: Block) -> list[list[str]]:
    return [[cell(row) for cell in COLUMNS.values()] for row in block.rows]


def _legend(comparison: Comparison) -> list[str]:
    how = "over questions, and over seeds if there are several, paired with Base of the same seed"
    return [f"{comparison.confidence_pct:g} % bootstrap intervals {how}.", *comparison.notes]


def print_tables(comparison: Comparison, make: Callable[[], Table], console: Console) -> None:
    """Print a table per block. make: an empty table in the wanted style."""
    if not console.is_terminal:
        console.width = WIDE
    for block in comparison.blocks:
        table = make()
        for title in COLUMNS:
            table.add_column(title, justify="left" if title == "arm" else "right", overflow="fold")
        for cells in _cells(block):
            table.add_row(*cells)
        console.print(_title(block), highlight=False, markup=False, soft_wrap=True)
        console.print()
        console.print(table)
        console.print()
    for line in _legend(comparison):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _print_csv(comparison: Comparison) -> None:
    """One line per row, with every number and the ends of its interval in columns of their own."""
    lines = [_flat(block, row) for block in comparison.blocks for row in block.rows]
    print(pandas.DataFrame(lines).to_csv(index=False), end="")


def _flat(block: Block, row: Row) -> dict[str, Any]:
    flat: dict[str, Any] = block.model_dump(exclude={"rows"})
    for name, value in row.model_dump().items():
        if isinstance(value, dict) and value.keys() == {"value", "low", "high"}:
            flat |= {name: value["value"], f"{name}_low": value["low"], f"{name}_high": value["high"]}
        else:
            flat[name] = json.dumps(value) if isinstance(value, list | dict) else value
    return flat


def _print_latex(comparison: Comparison) -> None:
    """A tabular per block, with the rules of the package booktabs."""
    for block in comparison.blocks:
        style = pandas.DataFrame(_cells(block), columns=[*COLUMNS]).style.hide(axis="index")
        style = style.format(escape="latex").format_index(escape="latex", axis=1)
        layout = f"l{'r' * (len(COLUMNS) - 1)}"
        print(f"% {_title(block)}\n{style.to_latex(hrules=True, column_format=layout)}")
    for line in _legend(comparison):
        print(f"% {line}")


def _screen() -> Console:
    return Console(width=None if sys.stdout.isatty() else WIDE)


PRINTERS: dict[str, Callable[[Comparison], None]] = {
    "table": lambda comparison: print_tables(comparison, plain_table, _screen()),
    "markdown": lambda comparison: print_tables(comparison, lambda: Table(box=box.MARKDOWN), _screen()),
    "csv": _print_csv,
    "json": lambda comparison: print(comparison.model_dump_json(indent=1)),
    "latex": _print_latex,
}
