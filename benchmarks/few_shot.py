"""What a student answers before it is trained: worked examples in the prompt, plain text, greedy decoding."""

from collections.abc import Callable
from typing import Any

import torch

from skipthink_ray.method.metrics import has_loop
from skipthink_ray.method.samples import Samples
from skipthink_ray.models.student import Student
from skipthink_ray.tasks.conclusions import conclusion
from skipthink_ray.tasks.task import Task

NEXT = "\n\nQuestion:"
BATCH = 16


def examples_of(samples: Samples, shots: int) -> str:
    """The first `shots` samples as worked examples, each ending in its answer."""
    rows = samples.table.slice(0, shots).select(["question", "rationale", "answer"]).to_pylist()
    return "\n\n".join(
        f"Question: {row['question'].strip()}\nAnswer: {row['rationale'].strip()} "
        f"The answer is {row['answer']}."
        for row in rows
    )


def answer_few_shot(
    student: Student,
    task: Task,
    examples: str,
    samples: Samples,
    max_new_tokens: int,
    say: Callable[[int], None] = lambda _: None,
) -> list[dict[str, Any]]:
    """One record per question: right, tokens, answer, stopped, loops.

    The answer is what the text concludes up to the next question that it makes up; tokens count up to there.
    """
    questions, gold = samples.table["question"].to_pylist(), samples.table["answer"].to_pylist()
    records = []
    for start in range(0, len(questions), BATCH):
        prompts = [
            f"{examples}{NEXT} {question.strip()}\nAnswer:" for question in questions[start : start + BATCH]
        ]
        texts = _continue(student, prompts, max_new_tokens)
        for (text, tokens), truth in zip(texts, gold[start : start + BATCH], strict=True):
            answer = conclusion(task.kind, text.split("\n\n")[0])
            stopped = tokens < max_new_tokens
            records.append(
                {
                    "right": task.check(answer, truth),
                    "tokens": tokens,
                    "answer": answer,
                    "stopped": stopped,
                    "loops": has_loop(text),
                }
            )
        say(len(records))
    return records


@torch.no_grad()
def _continue(student: Student, prompts: list[str], max_new_tokens: int) -> list[tuple[str, int]]:
    """(text, number of tokens) of each greedy continuation, without what comes from the next question on."""
    encoded = student.tokenizer(
        prompts, return_tensors="pt", padding=True, padding_side="left", add_special_tokens=False
    )
    written_BT = student.model.generate(
        input_ids=encoded["input_ids"],
        attention_mask=encoded["attention_mask"],
        max_new_tokens=max_new_tokens,
        do_sample=False,
        stop_strings=[NEXT],
        tokenizer=student.tokenizer,
    )[:, encoded["input_ids"].shape[1] :]
    answers = []
    for ids in written_BT.tolist():
        kept = [token for token in ids if token not in (student.ids.eos, student.pad_id)]
        text = student.tokenizer.decode(kept)
        answers.append((text.split(NEXT)[0], len(kept)))
    return answers
