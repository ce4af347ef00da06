"""A teacher that is a transformers causal LM in this process."""

from typing import Any

import torch
from jinja2 import TemplateError
from transformers import AutoModelForCausalLM, AutoTokenizer

from skipthink_ray.config import TeacherConfig
from skipthink_ray.teacher.requests import NEXT_QUESTION, Keep, Request, Written
from skipthink_ray.teacher.thinking import is_tag


class LocalTeacher:
    """A causal LM from a hub id or folder. Uses the tokenizer's chat template, or else a plain dialogue."""

    def __init__(self, teacher: TeacherConfig, batch_size: int, device: str) -> None:
        """Raises ValueError if the model cannot be loaded."""
        self.teacher, self.batch_size = teacher, batch_size
        try:
            self.tokenizer: Any = AutoTokenizer.from_pretrained(teacher.model, padding_side="left")
            dtype = torch.bfloat16 if device == "cuda" else torch.float32
            self.model: Any = AutoModelForCausalLM.from_pretrained(
                teacher.model, dtype=dtype, use_safetensors=True
            )
        except (OSError, ValueError) as error:
            raise ValueError(
                f"rationales.teacher.model: no causal LM could be loaded from '{teacher.model}': {error}"
            ) from error
        self.model.to(device).eval()
        added = self.tokenizer.added_tokens_decoder.items()
        self.hidden = {number for number, token in added if token.special and not is_tag(token.content)}
        if self.tokenizer.pad_token_id is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token

    def answer_all(self, requests: list[Request], keep: Keep) -> dict[str, str]:
        """Answer all requests. Returns a reason, by key, for each prompt that is too long for the model."""
        failed: dict[str, str] = {}
        fitting = []
        limit = getattr(self.model.config, "max_position_embeddings", None)
        for request in requests:
            tokens = len(self.tokenizer(self._prompt(request), add_special_tokens=False)["input_ids"])
            if limit and tokens + self.teacher.max_tokens > limit:
                failed[request.key] = (
                    f"the prompt of {tokens} tokens and {self.teacher.max_tokens} new tokens exceed "
                    f"the model's {limit} positions"
                )
            else:
                fitting.append(request)
        for start in range(0, len(fitting), self.batch_size):
            batch = fitting[start : start + self.batch_size]
            for request, written in zip(batch, self._generate(batch), strict=True):
                keep(request, written)
        return failed

    def _prompt(self, request: Request) -> str:
        if not self.tokenizer.chat_template:
            names = {"system": "", "user": NEXT_QUESTION.lstrip(), "assistant": "A: "}
            return "\n\n".join(names[said["role"]] + said["content"] for said in request.messages) + "\n\nA:"
        try:
            return self.tokenizer.apply_chat_template(
                list(request.messages), tokenize=False, add_generation_prompt=True
            )
        except TemplateError:  # some templates have no system role: put its text before the first question
            system, first, *rest = request.messages
            merged = [{"role": "user", "content": f"{system['content']}\n\n{first['content']}"}, *rest]
            return self.tokenizer.apply_chat_template(merged, tokenize=False, add_generation_prompt=True)

    @torch.no_grad()
    def _generate(self, batch: list[Request]) -> list[Written]:
        prompts = self.tokenizer(
            [self._prompt(request) for request in batch],
            return_tensors="pt",
            padding=True,
            add_special_tokens=False,
        ).to(self.model.device)
        sampling: dict[str, Any] = {"do_sample": False}
        if self.teacher.temperature:
            torch.manual_seed(int(batch[0].key[:8], 16))
            sampling = {"do_sample": True, "temperature": self.teacher.temperature, "top_k": 0, "top_p": 1.0}
        width = prompts["input_ids"].shape[1]
        written_BT = self.model.generate(
            **prompts,
            **sampling,
            max_new_tokens=self.teacher.max_tokens,
            pad_token_id=self.tokenizer.pad_token_id,
            **(
                {}
                if self.tokenizer.chat_template
                else {"stop_strings": [NEXT_QUESTION], "tokenizer": self.tokenizer}
            ),
        )[:, width:].tolist()
        ends = set(
            _as_list(self.model.generation_config.eos_token_id) or _as_list(self.tokenizer.eos_token_id)
        )
        return [
            self._written(ids, ends, int(mask.sum()))
            for ids, mask in zip(written_BT, prompts["attention_mask"], strict=True)
        ]

    def _written(self, ids: list[int], ends: set[int], prompt_tokens: int) -> Written:
        stop = next((at for at, token in enumerate(ids) if token in ends), None)
        # remove special tokens, except the tags around thinking (see `hidden`)
        shown = [token for token in ids[:stop] if token not in self.hidden]
        text, asks_on, _ = self.tokenizer.decode(shown).partition(NEXT_QUESTION)
        finish = "length" if stop is None and not asks_on else "stop"
        return Written(text.strip(), finish, prompt_tokens, len(ids) if stop is None else stop + 1)


def _as_list(value: int | list[int] | None) -> list[int]:
    return [] if value is None else value if isinstance(value, list) else [value]
