"""The trained students in a folder, for the commands that let them answer."""

from pathlib import Path

from skipthink_ray.method.modes import STUDENT_OF, Mode
from skipthink_ray.models.encoding import encode
from skipthink_ray.models.student import Student, load_student

INSTEAD: dict[Mode, str] = {"staged": "stt"}
"""The student that answers if that of the mode is missing: stt learns the chunks too."""


def find_students(folder: Path) -> dict[str, Path]:
    """Student folders by stage, for the folder of a run, a stage or a student (by its config.json).

    Raises ValueError if skipthink did not train the student in the folder.
    """
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


def by_mode(folder: Path) -> dict[Mode, Path]:
    """The folder of the student that answers in each mode. Raises ValueError as `find_students` does."""
    students = find_students(folder)
    found: dict[Mode, Path] = {}
    for mode, own in STUDENT_OF.items():
        stage = own if own in students else INSTEAD.get(mode)
        if stage in students:
            found[mode] = students[stage]
    return found


def question_tokens(student: Student, questions: list[str]) -> list[list[int]]:
    """Token ids of the question part, as in training."""
    form = student.model.config.skipthink["question_format"]
    return encode(student.tokenizer, [form.format(question=question.strip()) for question in questions])
