"""The model card of a finished student: what it is, how to use it, and how it was trained."""

from typing import Any

from skipthink_ray.config import PipelineConfig
from skipthink_ray.models.pretrained import describe
from skipthink_ray.models.serving import MARKER_OF
from skipthink_ray.models.student import Student

_ABOUT = {
    "base": ("Full thinking: it writes the whole rationale, then the answer.", ""),
    "cwt": ("Chunk-wise training: it writes one chunk per prompt, and then the answer.", ""),
    "stt": (
        "Skip-thinking: it writes only the chunks it needs, `[thought]` for those it skips, then the answer.",
        "[skip]",
    ),
    "icot": ("Direct: it writes the answer without a rationale.", ""),
}

_SERVED = (
    "To serve it: `transformers serve FOLDER --device auto` (or vLLM). The chat template turns a user's "
    "message, which is only the question, into this prompt; on `/v1/completions` send the prompt itself."
)
_NOT_HERE = (
    "How well it answers is not in this card, which is written before the evaluation: the run's report says "
    "it, and `skipthink runs` lists it."
)
_LICENCE = " The licence of the model that it started from applies."
_STAGED = "It needs one prompt per chunk, so it has no chat template."


def model_card(stage: str, config: PipelineConfig, student: Student, summary: dict[str, Any]) -> str:
    """Markdown with the metadata block that model hubs read."""
    about, marker = _ABOUT[stage]
    question = config.samples.question_format.format(question="How many apples are left?")
    num_markers = len({*student.ids.stages})
    stages = f"{num_markers} chunk marker{'s' if num_markers > 1 else ''}, " if num_markers else ""
    if stage == "cwt":
        marker = student.tokenizer.convert_ids_to_tokens(student.ids.stages[0])
    asked = question + marker if stage == "cwt" and student.ids.chunk_per_step else marker + question
    licence = _LICENCE if config.student.pretrained else ""
    prompt = student.model.config.skipthink["prompt_start"] + asked
    return f"""---
library_name: transformers
pipeline_tag: text-generation
tags: [skip-thinking, reasoning-distillation, {config.task}]
---
# {stage} student for {config.task}

{about} Trained by skipthink_ray after Skip-Thinking (arXiv 2505.18642). {_NOT_HERE}{licence}

A plain causal LM with {stages}`[answer]`, `[skip]` and `[thought]` in its tokenizer:

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "."  # this folder
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder)
prompt = tokenizer({prompt!r}, add_special_tokens=False, return_tensors="pt")
print(tokenizer.decode(model.generate(**prompt, max_new_tokens=256)[0]))
```

{_SERVED if stage in MARKER_OF else _STAGED}

| | |
| --- | --- |
| started from | {describe(config.student.pretrained)}, {student.model.num_parameters():,} parameters |
| updates | {summary["updates"]} of {getattr(config, stage).batch_size} items |
| target tokens | {summary["target_tokens"]} |
| final loss | {summary["final_loss_nats"]:.4f} nats per target token |
| seed | {config.seed} |
"""
