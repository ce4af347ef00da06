"""Requests to a teacher, and its responses.

A request is identified by a hash of everything that determines the response: model, sampling settings,
messages and sample number.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from skipthink_ray.config import TeacherConfig
from skipthink_ray.tasks import Task
from skipthink_ray.teacher.prompts import messages

NEXT_QUESTION = "\n\nQ: "
"""Stop string: a base model that starts a new question has finished its answer."""
Finish = Literal["stop", "length", "refused"]


@dataclass(frozen=True)
class Request:
    """A request for one rationale."""

    messages: tuple[dict[str, str], ...]
    sample: int
    key: str


@dataclass(frozen=True)
class Written:
    """A teacher's response. With `finish` length it reached the limit, so the text may be incomplete."""

    text: str
    finish: Finish
    prompt_tokens: int
    tokens: int
    thinking: str = ""
    """Thinking that the server returns separately. `text` may contain more of it, between tags."""


Keep = Callable[[Request, Written], None]
"""Called with each response as soon as it arrives."""


def make_request(teacher: TeacherConfig, task: Task, question: str, gold: str, sample: int) -> Request:
    """The request for one sample of one question. Only the style few_shot_gold shows `gold`."""
    asked = messages(task, question, teacher.prompt, gold if teacher.prompt == "few_shot_gold" else None)
    decides = {name: getattr(teacher, name) for name in ("model", "temperature", "max_tokens")}
    if teacher.kind == "transformers":
        decides["files"] = _files(Path(teacher.model))
    identity = json.dumps({**decides, "messages": asked, "sample": sample}, sort_keys=True)
    return Request(tuple(asked), sample, hashlib.sha256(identity.encode()).hexdigest()[:32])


@cache
def _files(folder: Path) -> list[tuple[str, int, int]]:
    """Name, size and modification time of a local model's files: a retrained model is another teacher."""
    found = sorted([*folder.glob("*.safetensors"), *folder.glob("*.json")]) if folder.is_dir() else []
    return [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in found]


def to_record(written: Written) -> dict[str, Any]:
    return asdict(written)
