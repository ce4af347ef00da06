"""Metadata in a student's folder for other programs: how it was trained, and how a question becomes a prompt.

transformers, vLLM and llama.cpp read the chat template of the tokenizer. lm-evaluation-harness and `skipthink
ask` read the key `skipthink` in config.json.
"""

import json

from skipthink_ray.config import PipelineConfig
from skipthink_ray.method.markup import SKIP
from skipthink_ray.models.pretrained import describe
from skipthink_ray.models.student import Student

MARKER_OF = {"base": "", "stt": SKIP, "icot": ""}
"""The marker before the question, by the student's stage. A cwt student has one prompt per chunk instead."""


def prepare_for_serving(student: Student, stage: str, config: PipelineConfig) -> None:
    """Set stage, task and prompt in the student's config and tokenizer, for `save_student` to write.

    Also stops the tokenizer from adding BOS or EOS: no prompt of the method has them, and a server for plain
    text has no option to leave them out.
    """
    made, question_format = student.model.config.skipthink, config.samples.question_format
    student.model.config.skipthink = {
        **made,
        "stage": stage,
        "task": config.task,
        "own_task": config.own_task.model_dump() if config.own_task else None,
        "question_format": question_format,
        "started_from": describe(config.student.pretrained),
    }
    student.tokenizer.add_bos_token = student.tokenizer.add_eos_token = False
    student.tokenizer.chat_template = chat_template(stage, made["prompt_start"], question_format)


def prompt_text(stage: str, start: str, question_format: str, question: str) -> str:
    """The prompt for a question, to be tokenised without special tokens. ValueError for a cwt student."""
    if stage not in MARKER_OF:
        raise ValueError(
            f"a student of the stage '{stage}' needs several prompts per question; "
            f"use the student of the stage {' or '.join(MARKER_OF)}"
        )
    return start + MARKER_OF[stage] + question_format.format(question=question)


def chat_template(stage: str, start: str, question_format: str) -> str | None:
    """A Jinja template that turns one user message, the question, into the prompt; None for a cwt student.

    The student answers single questions, so the template rejects system messages and longer conversations.
    """
    if stage not in MARKER_OF:
        return None
    question = " + (messages[0]['content'] | trim) + "
    prompt = question.join(
        _literal(part) for part in prompt_text(stage, start, question_format, "\0").split("\0")
    )
    return (
        "{%- if messages | length != 1 or messages[0]['role'] != 'user' -%}"
        "{{- raise_exception('this student answers one question at a time: "
        "send one user message and nothing else') -}}"
        "{%- endif -%}"
        f"{{{{- {prompt} -}}}}"
    )


def _literal(text: str) -> str:
    """A text as a Jinja string literal; Jinja understands the escapes of JSON."""
    return json.dumps(text, ensure_ascii=False)
