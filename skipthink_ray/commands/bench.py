"""`skipthink bench`: how fast the students of a run answer, one question at a time and in batches."""

import json
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import psutil
import torch
from rich.console import Console
from rich.table import Table
from transformers.utils.logging import disable_progress_bar

from skipthink_ray.commands.students import by_mode, question_tokens
from skipthink_ray.config import PipelineConfig, Precision
from skipthink_ray.data.questions import of_file, of_run
from skipthink_ray.method.modes import Mode
from skipthink_ray.models.decoding import answer_questions, first_prompts, generate
from skipthink_ray.models.student import Student, load_student
from skipthink_ray.tasks import task_of

MIB = 1 << 20
LOOK_EVERY_S = 0.01
"""Seconds between two looks at the memory of the process."""


@dataclass(frozen=True)
class Settings:
    """How students answer."""

    batch_sizes: tuple[int, ...] = (1, 64)
    max_new_tokens: int = 256
    threads: int = 1
    """torch threads; more than one slows a small student down."""
    precision: Precision = "fp32"
    static_cache: bool = False
    """Keys and values have a fixed size. On a GPU, transformers then compiles the decoding step."""

    def __str__(self) -> str:
        cuda = torch.cuda.is_available()
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        where = torch.cuda.get_device_name() if cuda else f"CPU, {threads}"
        cache = "static cache" if self.static_cache else "eager"
        return f"greedy, {cache}, {self.precision}, {where}"


@dataclass(frozen=True)
class Speed:
    """What was measured for one mode and batch size."""

    mode: Mode
    batch_size: int
    accuracy_pct: float | None
    """None if a question has no gold answer."""
    tokens: float
    """Generated tokens per question, EOS included."""
    first_token_ms: float
    """Median time of a batch until its first token."""
    answer_ms: float
    """Median time of a batch until its last answer."""
    tokens_per_s: float
    answers_per_s: float
    peak_mib: float
    """Peak memory: of the GPU, or else of the process."""


def bench(folder: Path, file: Path | None, count: int, settings: Settings, as_json: bool) -> int:
    """Print a row for every mode and batch size.

    Raises ValueError if the folder has no trained student, or if questions are missing or damaged.

    :param file: JSON Lines with `question` and perhaps `answer`; None: the test questions of the run
    :param count: number of questions
    """
    students = by_mode(folder)
    rows = _questions(folder, file)[:count]
    disable_progress_bar()
    torch.set_num_threads(settings.threads)
    console = Console(markup=False, emoji=False)
    table = Table(
        *("mode", "batch", "accuracy %", "tokens", "first token ms", "answer ms"),
        *("tokens /s", "answers /s", "MiB"),
        box=None,
        pad_edge=False,
        title=f"{len(rows)} questions, {settings}",
        title_justify="left",
    )
    measured = []
    sizes = dict.fromkeys(min(size, len(rows)) for size in settings.batch_sizes)
    for mode, path in students.items():
        student = _load(path, settings)
        for size in sizes:
            print(f"{mode}, batch {size} ...", file=sys.stderr)
            speed = measure(student, mode, rows, size, settings.max_new_tokens)
            measured.append(asdict(speed))
            table.add_row(*_cells(speed))
        del student  # one student in memory at a time
    console.print(table)
    if as_json:
        record = {"questions": len(rows), **asdict(settings), "how": str(settings), "speeds": measured}
        print(json.dumps(record))
    return 0


def _questions(folder: Path, file: Path | None) -> list[dict[str, str]]:
    if file:
        return of_file(file, "--questions")
    rows = of_run(folder)
    if rows:
        return rows
    why = "is not the folder of a run" if rows is None else "is a run without test questions"
    raise ValueError(
        f"--student: {folder} {why}; name a JSON Lines file with the keys question and answer: "
        "--questions FILE"
    )


def measure(
    student: Student, mode: Mode, rows: Sequence[dict[str, str]], size: int, max_new_tokens: int
) -> Speed:
    """Answer all questions in batches of `size`, after a warm-up."""
    questions = question_tokens(student, [row["question"] for row in rows])
    batches = [questions[start : start + size] for start in range(0, len(questions), size)]
    answer_questions(student, mode, batches[0], 2)
    first_s, answer_s, answers = [], [], []
    with _peak_bytes() as peak:
        for batch in batches:
            started = time.perf_counter()
            generate(student, first_prompts(student, mode, batch), 1)
            first_s.append(time.perf_counter() - started)
            started = time.perf_counter()
            answers += answer_questions(student, mode, batch, max_new_tokens)
            answer_s.append(time.perf_counter() - started)
    tokens = sum(answer.tokens for answer in answers)
    return Speed(
        mode,
        size,
        _accuracy(student, rows, [answer.answer for answer in answers]),
        tokens / len(rows),
        1000 * median(first_s),
        1000 * median(answer_s),
        tokens / sum(answer_s),
        len(rows) / sum(answer_s),
        peak[0] / MIB,
    )


def _load(path: Path, settings: Settings) -> Student:
    student = load_student(path, settings.precision)
    if settings.static_cache:
        student.model.generation_config.cache_implementation = "static"
    student.model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
    return student


def _accuracy(
    student: Student, rows: Sequence[dict[str, str]], answers: Sequence[str | None]
) -> float | None:
    if any("answer" not in row for row in rows):
        return None
    card = student.model.config.skipthink
    task = task_of(PipelineConfig.model_validate({name: card[name] for name in ("task", "own_task")}))
    right = [task.check(answer, row["answer"]) for answer, row in zip(answers, rows, strict=True)]
    return 100 * sum(right) / len(right)


@contextmanager
def _peak_bytes() -> Iterator[list[int]]:
    """A list whose only number becomes the peak memory while the block runs."""
    peak = [0]
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        yield peak
        peak[0] = torch.cuda.max_memory_allocated()
        return
    process, ended = psutil.Process(), threading.Event()

    def look() -> None:
        while True:
            peak[0] = max(peak[0], process.memory_info().rss)
            if ended.wait(LOOK_EVERY_S):
                return

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield peak
    finally:
        ended.set()
        watcher.join()


def _cells(speed: Speed) -> list[str]:
    return [
        speed.mode,
        str(speed.batch_size),
        "-" if speed.accuracy_pct is None else f"{speed.accuracy_pct:.1f}",
        f"{speed.tokens:.1f}",
        f"{speed.first_token_ms:.1f}",
        f"{speed.answer_ms:.1f}",
        f"{speed.tokens_per_s:,.0f}",
        f"{speed.answers_per_s:.2f}",
        f"{speed.peak_mib:,.0f}",
    ]
