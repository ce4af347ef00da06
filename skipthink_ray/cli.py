"""`skipthink COMMAND ...`: find the command, parse its options, then import what it needs, then run.

Exit codes: 0 done, 1 failed, 2 wrong input, 130 interrupted, 143 terminated.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from skipthink_ray.config import PipelineConfig
    from skipthink_ray.options import Parser

STAGES = ("rationales", "samples", "base", "cwt", "skips", "stt", "icot", "evaluation", "report")
PRESETS = ("default", "toy", "tiny", "gpt2", "smollm2")
CONFIGURED = {
    "demo": "run the whole method on a toy task; takes about four minutes on two cores",
    "run": "run all stages; the same command resumes a stopped run",
    **{stage: f"run only the stage {stage}" for stage in STAGES},
    "look": "describe the data set: how it is read, dropped rows, steps, tokens, chunks",
    "tune": "search M, eta and other keys for some tasks, and choose by dev questions",
    "ablate": "run the method without each of its parts, for some tasks, and compare",
}
"""Commands that read a configuration."""
SWEEPING = ("tune", "ablate")
"""Commands that make several runs from a space."""
COMMANDS = {
    **CONFIGURED,
    "rechunk": "search the chunks of any number of samples with a trained student",
    "ask": "ask a trained student a question in each mode",
    "bench": "measure how fast trained students answer, in each mode, alone and in batches",
    "compare": "compare runs and sweeps, a table per task, from MLflow alone",
    "runs": "list runs with their main numbers",
    "prune": "list artifacts that no run refers to, or delete them",
    "doctor": "check the set-up: Ray, DeepSpeed, GPU, MLflow, disk",
}


def main(argv: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if argv is None else argv
    try:
        return _start(arguments)
    except ValueError as error:
        print(f"skipthink: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("skipthink: interrupted; run the same command again to continue", file=sys.stderr)
        return 130


def _start(arguments: list[str]) -> int:
    name, *words = arguments or [""]
    if name in ("-h", "--help"):
        print(_overview())
        return 0
    from skipthink_ray.options import Parser, nearest, suggestion

    if name.startswith("-"):
        near = suggestion(nearest(name, ["--help"]))
        first = f": the command comes first, as in `skipthink run {name}`"
        raise ValueError(f"{name}: unknown option{near}" if near else f"{name}{first}")
    if name not in COMMANDS:
        near = suggestion(nearest(name, COMMANDS)) or "; `skipthink --help` lists all"
        raise ValueError(f"unknown command '{name}'{near}" if name else f"name a command{near}")
    text = COMMANDS[name]
    parser = Parser(f"skipthink {name}", f"{text[0].upper()}{text[1:]}.", flat=name not in CONFIGURED)
    if name in CONFIGURED:
        return _configured(name, parser, words)
    from skipthink_ray.plain_commands import PLAIN

    return PLAIN[name](parser, words)


def _overview() -> str:
    commands = "\n".join(f"  {name:<11} {text}" for name, text in COMMANDS.items())
    return (
        "usage: skipthink COMMAND [OPTIONS]\n\n"
        "Skip-Thinking on Ray: rationales in, a faster student out.\n\n"
        f"commands:\n{commands}\n\n"
        "`skipthink COMMAND --help` lists the options of a command."
    )


def _configured(name: str, parser: "Parser", words: list[str]) -> int:
    parsed, config = _read_options(name, parser, words)
    from skipthink_ray.preflight import check_settings  # slow: after the help
    from skipthink_ray.settings import expand

    command = shlex.join(["skipthink", name, *words])
    if name == "tune":
        from skipthink_ray.commands.tune import tune

        return tune(parsed.space, parsed.tasks, parsed.samples_per_task, config, command, parsed.dry_run)
    if name == "ablate":
        from skipthink_ray.commands.ablate import ablate

        return ablate(parsed.space, parsed.tasks, config, command, parsed.dry_run)
    configs = expand(config) if name == "run" else [config]
    for one in configs:
        check_settings(one)
    if parsed.dry_run:
        from skipthink_ray.commands.dry_run import dry_run

        return dry_run(configs)
    if len(configs) > 1:
        return _run_group(configs, command, words)
    if name == "look":
        return _look(config, command, parsed.json)
    return _run_pipeline(config, command, [name] if name in STAGES else ())


def _read_options(
    name: str, parser: "Parser", words: list[str]
) -> "tuple[argparse.Namespace, PipelineConfig]":
    """The parsed options of a command, and the configuration that they make."""
    from skipthink_ray.config import PipelineConfig
    from skipthink_ray.help_sections import sections
    from skipthink_ray.models import pretrained
    from skipthink_ray.options import given
    from skipthink_ray.runtime.storage import absolute
    from skipthink_ray.settings import configure, start

    parser.own.add_argument(
        "--preset",
        choices=PRESETS,
        metavar="|".join(PRESETS),
        default="toy" if name == "demo" else "default",
        help="Configuration to start from. (default: %(default)s)",
    )
    parser.own.add_argument(
        "--config", metavar="FILE", help="YAML or JSON file. Its values override those of the preset."
    )
    parser.own.add_argument(
        "--dry-run",
        action="store_true",
        help="Only print the trials or arms and their states."
        if name in SWEEPING
        else "Only print the configuration, the state of each stage, and the estimated cost of a teacher.",
    )
    if name == "look":
        parser.own.add_argument(
            "--json", action="store_true", help="Print one JSON document, as the last line."
        )
    if name in SWEEPING:
        _add_sweep_options(name, parser)
    first, _ = parser.parse_known_args(words)  # the keys' defaults depend on it
    config = start(first.preset, first.config)
    parser.add_keys(PipelineConfig, config, sections(name))
    parsed = parser.parse(words)
    config = configure(config, given(parsed, PipelineConfig))
    place = absolute(config.storage_path, "storage_path")
    student = config.student.model_copy(update={"pretrained": pretrained.absolute(config.student.pretrained)})
    return parsed, config.model_copy(update={"storage_path": place, "student": student})


def _add_sweep_options(name: str, parser: "Parser") -> None:
    parser.own.add_argument("space", nargs="?", help="A space of tune_spaces/ by name, or a YAML file.")
    parser.own.add_argument(
        "--tasks",
        metavar="TASKS",
        help="A group such as seven, or tasks with commas. (default: task)",
    )
    if name == "tune":
        parser.own.add_argument(
            "--samples",
            dest="samples_per_task",  # `samples` is a configuration key
            type=int,
            metavar="INT",
            help="Trials per task; more extend a sweep. (default: the space's)",
        )


def _run_group(configs: "list[PipelineConfig]", command: str, words: list[str]) -> int:
    from skipthink_ray.commands.group import run_tasks

    return run_tasks(configs, lambda config: _run_pipeline(config, command), words)


def _run_pipeline(config: "PipelineConfig", command: str, only: Sequence[str] = ()) -> int:
    from skipthink_ray.pipeline import run
    from skipthink_ray.runtime.logged import logged

    return logged(config, lambda console: run(config, console, command, only))


def _look(config: "PipelineConfig", command: str, as_json: bool) -> int:
    from skipthink_ray.commands.look import look
    from skipthink_ray.runtime.logged import logged

    return logged(config, lambda console: look(config, console, command, as_json))


if __name__ == "__main__":
    sys.exit(main())
