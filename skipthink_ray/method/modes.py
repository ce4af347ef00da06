"""The modes of inference (method §6), and the student that answers in each."""

from collections.abc import Collection
from typing import Literal

Mode = Literal["full", "staged", "skip", "direct"]
STUDENT_OF: dict[Mode, str] = {"full": "base", "staged": "cwt", "skip": "stt", "direct": "icot"}
"""Each mode, and the stage that trains its student. A run has direct only if icot is on."""
MODE_OF: dict[str, Mode] = {student: mode for mode, student in STUDENT_OF.items()}
UNMARKED = ("base", "icot")
"""Stages whose items have no marker. They use the prompt of full thinking."""


def modes_of(stages: Collection[str]) -> dict[Mode, str]:
    """The modes of a run with these stages, and the student of each."""
    return {mode: student for mode, student in STUDENT_OF.items() if student in stages}
