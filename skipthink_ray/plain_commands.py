"""Commands that read no pipeline configuration: their options. Each imports what it needs after parsing."""

import sys
from argparse import ArgumentTypeError
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from skipthink_ray.config import TrackingConfig
from skipthink_ray.options import Parser, Section, given

if TYPE_CHECKING:
    from rich.console import Console


def _rechunk(parser: Parser, words: list[str]) -> int:
    from skipthink_ray.config.rechunk import RechunkConfig

    parser.add_keys(
        RechunkConfig,
        None,
        [Section("the search", "What to search, and where.", tuple(RechunkConfig.model_fields))],
    )
    values = given(parser.parse(words), RechunkConfig)
    from skipthink_ray.commands.rechunk import rechunk
    from skipthink_ray.settings import validate

    return rechunk(validate(RechunkConfig, values, "command line"))


def _ask(parser: Parser, words: list[str]) -> int:
    parser.own.add_argument("question", help="The question, as one word of the shell.")
    _add_student(parser)
    parser.own.add_argument(
        "--max-new-tokens",
        type=_positive,
        default=256,
        metavar="INT",
        help="Length limit of one decoding, in tokens. (default: %(default)s)",
    )
    parsed = parser.parse(words)
    from skipthink_ray.commands.ask import ask

    return ask(Path(parsed.student), parsed.question, parsed.max_new_tokens)


def _bench(parser: Parser, words: list[str]) -> int:
    add = parser.own.add_argument
    _add_student(parser)
    add(
        "--questions",
        type=Path,
        metavar="FILE",
        help="JSON Lines with question and perhaps answer. (default: the run's test questions)",
    )
    add("--count", type=_positive, default=64, metavar="INT", help="Number of questions. (default: 64)")
    add(
        "--batch-sizes",
        type=_positive,
        nargs="+",
        default=[1, 64],
        metavar="INT",
        help="Questions answered together. (default: 1 64)",
    )
    add(
        "--max-new-tokens",
        type=_positive,
        default=256,
        metavar="INT",
        help="Length limit of one decoding, in tokens. (default: %(default)s)",
    )
    add("--threads", type=_positive, default=1, metavar="INT", help="torch threads on a CPU. (default: 1)")
    add("--precision", choices=("fp32", "bf16"), default="fp32", help="Of the weights. (default: fp32)")
    add(
        "--static-cache",
        action="store_true",
        help="Keep keys and values in a cache of fixed size. On a GPU, this compiles the decoding step.",
    )
    add("--json", action="store_true", help="Also print one JSON document, as the last line.")
    parsed = parser.parse(words)
    from skipthink_ray.commands.bench import Settings, bench

    settings = Settings(
        tuple(parsed.batch_sizes),
        parsed.max_new_tokens,
        parsed.threads,
        parsed.precision,
        parsed.static_cache,
    )
    return bench(Path(parsed.student), parsed.questions, parsed.count, settings, parsed.json)


def _add_student(parser: Parser) -> None:
    parser.own.add_argument(
        "--student", required=True, metavar="FOLDER", help="Folder of a run, a stage or a student. (required)"
    )


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"'{text}' is not a whole number of at least 1")
    return int(text)


def _compare(parser: Parser, words: list[str]) -> int:
    add = _with_storage(parser).own.add_argument
    add("names", nargs="*", metavar="RUN|SWEEP", help="Runs or sweeps by name. (default: all runs)")
    add("--tracking-uri", metavar="TEXT", help="MLflow's URI. (default: as a run finds it)")
    add("--experiment", metavar="TEXT", default=TrackingConfig().experiment, help="(default: %(default)s)")
    add(
        "--format",
        choices=("table", "markdown", "csv", "json", "latex"),
        default="table",
        help="What to print. (default: %(default)s)",
    )
    add("--page", metavar="FILE", help="Also write a page with charts and samples. (default: none)")
    parsed = parser.parse(words)
    from skipthink_ray.commands.compare import compare_runs
    from skipthink_ray.settings import validate

    given_tracking = {"uri": parsed.tracking_uri, "experiment": parsed.experiment}
    tracking = validate(TrackingConfig, given_tracking, "--tracking-uri")
    return compare_runs(parsed.names, parsed.storage_path, tracking, parsed.format, parsed.page)


def _runs(parser: Parser, words: list[str]) -> int:
    storage_path = _with_storage(parser).parse(words).storage_path
    from skipthink_ray.commands.runs import runs

    return runs(storage_path, _wide_console())


def _prune(parser: Parser, words: list[str]) -> int:
    _with_storage(parser).own.add_argument("--delete", action="store_true", help="Delete them.")
    parsed = parser.parse(words)
    from skipthink_ray.commands.prune import prune

    return prune(parsed.storage_path, _wide_console(), parsed.delete)


def _doctor(parser: Parser, words: list[str]) -> int:
    storage_path = _with_storage(parser).parse(words).storage_path
    from skipthink_ray.commands.doctor import doctor

    return doctor(storage_path)


def _with_storage(parser: Parser) -> Parser:
    parser.own.add_argument(
        "--storage-path", default="runs", metavar="TEXT", help="Where runs are stored. (default: %(default)s)"
    )
    return parser


def _wide_console() -> "Console":
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 140)


PLAIN: dict[str, Callable[[Parser, list[str]], int]] = {
    "rechunk": _rechunk,
    "ask": _ask,
    "bench": _bench,
    "compare": _compare,
    "runs": _runs,
    "prune": _prune,
    "doctor": _doctor,
}
"""By the command's name: parses the words and runs the command. Returns the exit code."""
