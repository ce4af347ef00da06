"""`skipthink demo | run | <stage> | look | ask | runs | prune | doctor`: parse, then import, then run.

Exit codes: 0 done, 1 failed, 2 wrong input, 130 interrupted, 143 terminated.
"""

import argparse
import shlex
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from skipthink_ray.config import PipelineConfig

STAGES = ("rationales", "chunks", "base", "cwt", "skips", "stt", "evaluation", "report")
TERMINATED = 143
PRESETS = ("default", "toy", "gpt2", "smollm2")


def main(argv: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if argv is None else argv
    parsed, rest = _parser().parse_known_args(arguments)
    try:
        if parsed.command == "doctor":
            _refuse(rest)
            return _doctor(parsed)
        if parsed.command in ("runs", "prune"):
            _refuse(rest)
            return _storage(parsed)
        if parsed.command == "ask":
            _refuse(rest)
            return _ask(parsed)
        return _run(parsed, rest, shlex.join(["skipthink", *arguments]))
    except ValueError as error:
        print(f"skipthink: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("skipthink: interrupted; run the same command again to continue", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="skipthink", description="Skip-Thinking on Ray: rationales in, a faster student out."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    texts = {
        "demo": "run the whole method on a toy task; takes a few minutes on two cores",
        "run": "run all eight stages; the same command resumes a stopped run",
        **{stage: f"run only the stage {stage}" for stage in STAGES},
        "look": "describe the data set: rows, steps, tokens, average chunks, the teacher's accuracy",
    }
    for name, text in texts.items():
        command = commands.add_parser(
            name,
            help=text,
            description=f"{text}. Every configuration key is an option, for example --cwt.optim.lr 1e-4; "
            f"`skipthink {name} --options` lists them.",
            allow_abbrev=False,
        )
        command.add_argument("--config", metavar="FILE", help="YAML or JSON file that overrides the preset")
        command.add_argument("--preset", choices=PRESETS, default="toy" if name == "demo" else "default")
        command.add_argument(
            "--dry-run", action="store_true", help="print the configuration and the state of each stage"
        )
        command.add_argument("--options", action="store_true", help="list every configuration key")
    ask = commands.add_parser("ask", help="ask a trained student a question in each mode", allow_abbrev=False)
    ask.add_argument("question")
    ask.add_argument(
        "--student", required=True, metavar="FOLDER", help="folder of a run, a stage or a student"
    )
    ask.add_argument("--max-new-tokens", type=int, default=256)
    doctor = commands.add_parser(
        "doctor", help="check the set-up: Ray, DeepSpeed, GPU, MLflow, disk", allow_abbrev=False
    )
    doctor.add_argument("--storage-path", default="runs")
    runs = commands.add_parser("runs", help="list runs with their main numbers", allow_abbrev=False)
    runs.add_argument("--storage-path", default="runs")
    prune = commands.add_parser("prune", help="list artifacts that no run refers to", allow_abbrev=False)
    prune.add_argument("--storage-path", default="runs")
    prune.add_argument("--delete", action="store_true", help="delete them")
    return parser


def _refuse(rest: list[str]) -> None:
    if rest:
        raise ValueError(f"unknown option {rest[0]}")


def _run(parsed: argparse.Namespace, rest: list[str], command: str) -> int:
    from skipthink_ray.preflight import check_settings
    from skipthink_ray.settings import expand, load_config

    overrides = [*rest, "--help"] if parsed.options else rest
    config = load_config(parsed.preset, parsed.config, overrides, f"skipthink {parsed.command}")
    configs = expand(config) if parsed.command == "run" else [config]
    for one in configs:
        check_settings(one)
    if parsed.dry_run:
        foreign = [fault for one in configs for fault in _dry_run(one)]
        if foreign:
            raise ValueError("; ".join(foreign))
        return 0
    if len(configs) > 1:
        return _run_group(configs, command)
    if parsed.command == "look":
        return _look(config, command)
    return _run_pipeline(config, command, parsed.command if parsed.command in STAGES else None)


def _run_group(configs: "list[PipelineConfig]", command: str) -> int:
    from rich.console import Console

    from skipthink_ray.commands.group import run_group

    console = Console(width=None if sys.stdout.isatty() else 120)
    return run_group(configs, lambda config: _run_pipeline(config, command, None), console)


def _dry_run(config: "PipelineConfig") -> list[str]:
    """Print the resolved config and each stage's state; return the reasons the run would be refused.

    A run is refused if its folder belongs to something else.
    """
    import yaml

    from skipthink_ray.pipeline import open_run

    current = open_run(config)
    print(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True))
    faults = []
    try:
        current.refuse_other_folders()
    except ValueError as error:
        faults.append(str(error))
    for name in STAGES:
        print(f"{name:<11} {'done' if current.is_done(name) else 'to do'}")
    if config.rationales.teacher.kind != "given":
        from skipthink_ray.stages.rationales import estimate

        print(estimate(config))
    return faults


def _run_pipeline(config: "PipelineConfig", command: str, only: str | None) -> int:
    from skipthink_ray.pipeline import run

    return _logged(config, lambda console: run(config, console, command, only))


def _look(config: "PipelineConfig", command: str) -> int:
    from skipthink_ray.commands.look import look

    return _logged(config, lambda console: look(config, console, command))


def _logged(config: "PipelineConfig", work: "Callable[[Console], object]") -> int:
    """Run `work` with its output in a log file. Returns the exit code; a ValueError propagates."""
    from skipthink_ray.runtime.cluster import disconnect
    from skipthink_ray.runtime.progress import cause, log_path, quiet

    log = log_path(config)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    with quiet(log) as console:
        try:
            work(console)
        except ValueError:
            traceback.print_exc()  # to the log
            raise
        except SystemExit:  # SIGTERM, from our handler or from Ray's
            console.print("skipthink: terminated; run the same command again to continue", highlight=False)
            return TERMINATED
        except Exception as error:  # noqa: BLE001  # report unexpected errors in one line; the log has the trace
            traceback.print_exc()
            console.print(
                f"skipthink: failed: {cause(error)}\nThe full output is in {log}",
                highlight=False,
                markup=False,
            )
            return 1
        finally:
            disconnect()  # here, so that Ray's last messages still go to the log
    return 0


def _ask(parsed: argparse.Namespace) -> int:
    from skipthink_ray.commands.ask import ask

    return ask(Path(parsed.student), parsed.question, parsed.max_new_tokens)


def _storage(parsed: argparse.Namespace) -> int:
    from rich.console import Console

    from skipthink_ray.commands.prune import prune
    from skipthink_ray.commands.runs import runs

    console = Console(width=None if sys.stdout.isatty() else 140)
    if parsed.command == "runs":
        return runs(parsed.storage_path, console)
    return prune(parsed.storage_path, console, parsed.delete)


def _doctor(parsed: argparse.Namespace) -> int:
    from skipthink_ray.commands.doctor import doctor

    return doctor(parsed.storage_path)


if __name__ == "__main__":
    sys.exit(main())
