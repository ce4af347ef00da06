"""`skipthink ask`: a trained student answers a question in every mode it was trained for."""

import time
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from transformers.utils.logging import disable_progress_bar

from skipthink_ray.method.modes import STUDENT_OF, Mode
from skipthink_ray.models.decoding import answer_questions
from skipthink_ray.models.encoding import encode
from skipthink_ray.models.student import Student, load_student

INSTEAD: dict[Mode, str] = {"staged": "stt"}
"""The student that answers if that of the mode is missing: stt learns the chunks too."""


def ask(folder: Path, question: str, max_new_tokens: int) -> int:
    """Print text, answer, tokens and seconds for every mode.

    Raises ValueError if skipthink did not train the student in the folder.
    """
    if not question.strip():
        raise ValueError("the question is empty")
    disable_progress_bar()
    torch.set_num_threads(1)  # the default of evaluation actors; more threads slow a small student down
    students = {stage: load_student(path) for stage, path in find_students(folder).items()}
    table = Table(
        "mode", "writes", "answer", "tokens", "seconds", title=question.strip(), title_justify="left"
    )
    for mode, own in STUDENT_OF.items():
        stage = own if own in students else INSTEAD.get(mode)
        if stage in students:
            table.add_row(*_row(students[stage], mode, question, max_new_tokens))
    started = {
        getattr(student.model.config, "skipthink", {}).get("started_from") for student in students.values()
    }
    table.caption = f"trained from {', '.join(filter(None, started))}" if any(started) else None
    Console(markup=False, emoji=False).print(table)
    return 0


def find_students(folder: Path) -> dict[str, Path]:
    """Student folders by stage, for the folder of a run, a stage or a student (by its config.json)."""
    if not folder.is_dir():
        raise ValueError(f"--student: no such folder: {folder}")
    run_students = {
        stage: folder / stage / "student"
        for stage in STUDENT_OF.values()
        if (folder / stage / "_DONE").exists()
    }
    if run_students:
        return run_students
    own = folder / "student" if (folder / "student").is_dir() else folder
    made_by = getattr(load_student(own).model.config, "skipthink", None)
    if not isinstance(made_by, dict) or made_by.get("stage") not in STUDENT_OF.values():
        raise ValueError(
            f"--student: {folder} was not trained by skipthink (its config.json lacks the key 'skipthink')"
        )
    return {made_by["stage"]: own}


def _row(student: Student, mode: Mode, question: str, max_new_tokens: int) -> list[str]:
    prompt = encode(
        student.tokenizer,
        [student.model.config.skipthink["question_format"].format(question=question.strip())],
    )
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
