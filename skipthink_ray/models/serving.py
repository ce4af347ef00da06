"""What a finished student's folder tells other programs: how it was made, and how to turn a question into its prompt.

transformers, vLLM and llama.cpp read the chat template from the tokenizer; lm-evaluation-harness and `skipthink ask`
read `skipthink` from config.json.
"""

import json

from skipthink_ray.config import PipelineConfig
from skipthink_ray.method.markup import SKIP
from skipthink_ray.models.pretrained import describe
from skipthink_ray.models.student import Student

MARKER_OF = {"base": "", "stt": SKIP}
"""What stands before the question, by the stage that made the student. A cwt student has a prompt for every chunk."""


def prepare_for_serving(student: Student, stage: str, config: PipelineConfig) -> None:
    """Write stage, task and prompt into the student's config and tokenizer, which `save_student` then saves.

    The tokenizer adds no BOS or EOS by itself any more: no prompt of the method has one, and a server that reads plain
    text cannot be told to leave it out.
    """
    question_format, start = config.chunks.question_format, student.model.config.skipthink["prompt_start"]
    student.model.config.skipthink = {
        "prompt_start": start,
        "stage": stage,
        "task": config.task,
        "own_task": config.own_task.model_dump() if config.own_task else None,
        "question_format": question_format,
        "started_from": describe(config.student.pretrained),
    }
    student.tokenizer.add_bos_token = student.tokenizer.add_eos_token = False
    student.tokenizer.chat_template = chat_template(stage, start, question_format)


def prompt_text(stage: str, start: str, question_format: str, question: str) -> str:
    """The prompt of a question as text, to be tokenised without further special tokens. ValueError for a cwt student."""
    if stage not in MARKER_OF:
        raise ValueError(
            f"a student of the stage '{stage}' answers in several prompts; take the one of {' or '.join(MARKER_OF)}"
        )
    return start + MARKER_OF[stage] + question_format.format(question=question)


def chat_template(stage: str, start: str, question_format: str) -> str | None:
    """A Jinja template that renders one message of a user as the prompt of that question; None for a cwt student.

    The student answers each question alone, so a system message or a longer conversation is refused.
    """
    if stage not in MARKER_OF:
        return None
    question = " + (messages[0]['content'] | trim) + "
    prompt = question.join(
        _literal(part) for part in prompt_text(stage, start, question_format, "\0").split("\0")
    )
    return (
        "{%- if messages | length != 1 or messages[0]['role'] != 'user' -%}"
        "{{- raise_exception('this student answers one question at a time: send one user message and nothing else') -}}"
        "{%- endif -%}"
        f"{{{{- {prompt} -}}}}"
    )


def _literal(text: str) -> str:
    """A text as a string of Jinja, which reads the escapes of JSON."""
    return json.dumps(text, ensure_ascii=False)
