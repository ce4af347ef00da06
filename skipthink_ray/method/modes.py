"""The modes of inference (method §6), and the student that answers in each."""

from typing import Literal

Mode = Literal["full", "staged", "skip"]
STUDENT_OF: dict[Mode, str] = {"full": "base", "staged": "cwt", "skip": "stt"}
"""Each mode, and the stage that trains its student."""
MODE_OF: dict[str, Mode] = {student: mode for mode, student in STUDENT_OF.items()}
