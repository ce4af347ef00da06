"""`skipthink look`: describe a data set before anything is paid for or trained.

First, how the start of the input is read: columns, conversions, gold answers, splits. Then the rows of the
stage rationales by fate, and the lengths of the rationales. The stage runs if its artifact is missing, and a
later run of the same name reuses it. If a teacher must still be asked, `look` stops before that, with an
estimate of the cost.

Tokens are counted with the tokenizer of a finished stage samples, or else with the pretrained student's.
Without either, words are counted instead.
"""

import json
from collections.abc import Callable, Iterable
from typing import Any

from rich.console import Console

from skipthink_ray.config import PipelineConfig
from skipthink_ray.pipeline import open_run, run
from skipthink_ray.preflight import check_student
from skipthink_ray.reporting.look_input import describe_input
from skipthink_ray.reporting.look_rows import describe_outcomes, describe_rows
from skipthink_ray.reporting.look_tables import print_input, print_outcomes, print_rows
from skipthink_ray.runtime.console import say
from skipthink_ray.runtime.store import Run
from skipthink_ray.training.plan import planned_chunks

NOT_ASKED = (
    "The teacher was not asked. `skipthink rationales` with the same options asks it; "
    "`look` then describes its rationales."
)


def look(config: PipelineConfig, console: Console, command: str, as_json: bool = False) -> None:
    """Print the description as tables, or as one JSON document in the last line.

    Raises ValueError as the stage rationales does.
    """
    current = open_run(config)
    described: dict[str, Any] = {"input": describe_input(config)}
    if not as_json:
        print_input(described["input"], console)
    if config.rationales.teacher.kind != "given" and not current.is_done("rationales"):
        from skipthink_ray.teacher.estimate import estimate

        described["estimate"] = estimate(config)
        if not as_json:
            say(console, f"\n{described['estimate']}\n{NOT_ASKED}")
    else:
        if not current.is_done("rationales"):
            try:
                run(config, console, command, only=["rationales"])
            except ValueError:
                _show_refused(current, console)
                raise
        count_tokens, unit = _token_counter(config, current, console)
        samples = current.artifact("samples")
        decided = planned_chunks(config, samples) if current.is_done("samples") else None
        with console.status("counting ..."):
            described |= describe_rows(config, current.artifact("rationales"), count_tokens, unit, decided)
        if not as_json:
            print_rows(described, console)
    if as_json:
        say(console, json.dumps(described, ensure_ascii=False))


def _show_refused(current: Run, console: Console) -> None:
    """Print what became of the rows of a refused stage, if it has read them."""
    rationales = current.artifact("rationales")
    if rationales.exists("rows"):
        print_outcomes(describe_outcomes(rationales), console)


def _token_counter(
    config: PipelineConfig, current: Run, console: Console
) -> tuple[Callable[[list[str]], Iterable[int]], str]:
    """A function from texts to their lengths, and the unit of the lengths."""
    made = current.is_done("samples")
    if not (made or config.student.pretrained):
        return lambda texts: (len(text.split()) for text in texts), "words"
    from skipthink_ray.models.encoding import encode
    from skipthink_ray.models.student import load_tokenizer

    if not made:
        check_student(config, lambda text: say(console, text))
    with current.artifact("samples").local("student") as student:
        source = config.student.model_copy(update={"pretrained": str(student)}) if made else config.student
        tokenizer = load_tokenizer(source, ())
    return lambda texts: (len(tokens) for tokens in encode(tokenizer, texts)), "tokens"
