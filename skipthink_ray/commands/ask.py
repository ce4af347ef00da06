"""`skipthink ask`: a trained student answers a question in every mode it was trained for."""

import time
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from transformers.utils.logging import disable_progress_bar

from skipthink_ray.commands.students import by_mode, question_tokens
from skipthink_ray.method.modes import Mode
from skipthink_ray.models.decoding import answer_questions
from skipthink_ray.models.student import Student, load_student


def ask(folder: Path, question: str, max_new_tokens: int) -> int:
    """Print text, answer, tokens and seconds for every mode.

    Raises ValueError if skipthink did not train the student in the folder.
    """
    if not question.strip():
        raise ValueError("the question is empty")
    disable_progress_bar()
    torch.set_num_threads(1)  # the default of evaluation actors; more threads slow a small student down
    paths = by_mode(folder)
    loaded = {path: load_student(path) for path in set(paths.values())}
    students: dict[Mode, Student] = {mode: loaded[path] for mode, path in paths.items()}
    table = Table(
        "mode", "writes", "answer", "tokens", "seconds", title=question.strip(), title_justify="left"
    )
    for mode, student in students.items():
        table.add_row(*_row(student, mode, question, max_new_tokens))
    started = {
        getattr(student.model.config, "skipthink", {}).get("started_from") for student in students.values()
    }
    table.caption = f"trained from {', '.join(filter(None, started))}" if any(started) else None
    Console(markup=False, emoji=False).print(table)
    return 0


def _row(student: Student, mode: Mode, question: str, max_new_tokens: int) -> list[str]:
    prompt = question_tokens(student, [question])
    answer_questions(student, mode, prompt, 2)  # warm up
    started = time.perf_counter()
    answer = answer_questions(student, mode, prompt, max_new_tokens)[0]
    seconds = time.perf_counter() - started
    ended = "" if answer.stopped else " (did not stop)"
    return [
        mode,
        answer.text.strip(),
        answer.answer or "no answer",
        f"{answer.tokens}{ended}",
        f"{seconds:.3f}",
    ]
