"""Functions for the task file of lm-evaluation-harness: questions, prompts, answer extraction and scoring.

The questions are the test questions of the student's run, or those of a JSON Lines file.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict
from transformers import AutoConfig

from skipthink_ray.config import PipelineConfig
from skipthink_ray.data.questions import of_file, of_run
from skipthink_ray.method.markup import parse_conclusion
from skipthink_ray.models.serving import prompt_text
from skipthink_ray.tasks import Task, task_of


def load(pretrained: str, questions: str | None = None, **_: Any) -> DatasetDict:
    """The split `test` with row, prompt, answer and the task as JSON.

    `pretrained` is the student's folder or Hub id, as in --model_args. `questions` is a JSON Lines file
    with question and answer. Raises ValueError if skipthink did not train the student, if it answers in
    stages, or if there are no questions.
    """
    made_by = getattr(AutoConfig.from_pretrained(pretrained), "skipthink", None)
    if not made_by or "stage" not in made_by:
        raise ValueError(
            f"'{pretrained}' was not trained by skipthink (its config.json lacks the key 'skipthink')"
        )
    rows = _with_answers(Path(questions)) if questions else of_run(Path(pretrained).absolute().parents[1])
    if rows is None:
        raise ValueError(
            f"'{pretrained}' is not in a run's folder, so its test questions are unknown; name a JSON Lines "
            'file with question and answer: --metadata \'{"questions": "FILE"}\''
        )
    task = json.dumps({"task": made_by["task"], "own_task": made_by["own_task"]})
    documents = [
        {
            "row": row["row"],
            "prompt": prompt_text(
                made_by["stage"], made_by["prompt_start"], made_by["question_format"], row["question"]
            ),
            "answer": row["answer"],
            "task": task,
        }
        for row in rows
    ]
    return DatasetDict({"test": Dataset.from_list(documents)})


def prompt(document: dict[str, Any]) -> str:
    return document["prompt"]


def gold(document: dict[str, Any]) -> str:
    return document["answer"]


def answers(responses: Iterable[list[str]], documents: Any) -> list[str]:
    """The answer after the last `-->` of each document's text; the empty string is a format error."""
    return [parse_conclusion(texts[0]) or "" for texts in responses]


def score(document: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Accuracy and format errors of one answer, counted as in `skipthink run`."""
    answer = results[0] or None
    return {
        "acc": float(_task(document["task"]).check(answer, document["answer"])),
        "format_errors": float(answer is None),
    }


def _task(described: str) -> Task:
    return task_of(PipelineConfig(**json.loads(described)))


def _with_answers(file: Path) -> list[dict[str, Any]]:
    rows = of_file(file, "questions")
    for row in rows:
        if not row.get("answer"):
            raise ValueError(f"questions: {file}, line {row['row'] + 1} has no text under the key 'answer'")
    return rows
