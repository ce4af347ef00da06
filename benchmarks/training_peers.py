"""Hugging Face's trainers as arms of bench_training.py: Trainer of transformers, and SFTTrainer of TRL.

As shipped, they keep their defaults but for what makes the plan's updates: batch size, order, learning rates,
precision, AdamW's betas. Nothing is saved or evaluated. TRL's default of bf16 gives way to the plan's
precision. Tuned, they also do without what costs time:

- Trainer: no attention mask from the collator, no cache of keys and values, no progress bar, no look for NaN.
- SFTTrainer: no gradient checkpointing, no progress bar, no look for NaN, metrics logged once.
"""

from typing import Any

import torch
from datasets import Dataset
from transformers import DataCollatorForSeq2Seq, Trainer, TrainerCallback, TrainingArguments

from benchmarks.training_arms import Arm
from benchmarks.training_clock import Clock
from benchmarks.training_plan import Plan
from skipthink_ray.models.batching import IGNORE, collate
from skipthink_ray.models.student import load_student

QUIET = {"disable_tqdm": True, "logging_nan_inf_filter": False, "logging_strategy": "no"}


def hf(plan: Plan, arm: Arm, clock: Clock) -> None:
    """transformers' Trainer."""
    student = load_student(plan.folder / "student")
    student.model.config.use_cache = not arm.tuned
    padded = DataCollatorForSeq2Seq(student.tokenizer, padding=True, label_pad_token_id=IGNORE)
    trainer = replaying(Trainer, plan, clock)(
        model=student.model,
        args=TrainingArguments(**_shared(plan), **(QUIET if arm.tuned else {})),
        train_dataset=_dataset(plan),
        data_collator=_unmasked(plan.pad_id) if arm.tuned else padded,
        callbacks=[Ticks(clock)],
    )
    trainer.train()


def trl(plan: Plan, arm: Arm, clock: Clock) -> None:
    """TRL's SFTTrainer."""
    from trl import SFTConfig, SFTTrainer  # type: ignore[reportMissingImports]

    student = load_student(plan.folder / "student")
    tuned = {**QUIET, "gradient_checkpointing": False} if arm.tuned else {}
    trainer = replaying(SFTTrainer, plan, clock)(
        model=student.model,
        args=SFTConfig(**_shared(plan), **tuned, padding_free=arm.padding_free, max_length=None),
        train_dataset=_dataset(plan),
        processing_class=student.tokenizer,
        callbacks=[Ticks(clock)],
    )
    trainer.train()


def replaying(base: type[Trainer], plan: Plan, clock: Clock) -> Any:
    """The trainer with the plan's learning rates. It hands each loss to the clock."""

    class Replay(base):
        def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
            optimizer = optimizer or self.optimizer
            # the trainer asks for the rate of one update more, after the last
            rates = [*plan.lr_U, 0.0]
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
                optimizer, lambda step: rates[step] / plan.config.optim.lr
            )
            return self.lr_scheduler

        def training_step(self, *positional: Any, **named: Any) -> torch.Tensor:
            loss = super().training_step(*positional, **named)
            clock.losses.append(loss)
            return loss

    return Replay


class Ticks(TrainerCallback):
    """Tells the clock what the trainer does."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_train_begin(self, args: Any, state: Any, control: Any, **named: Any) -> None:
        optimizer = named["optimizer"]
        self.clock.attach(named["model"], getattr(optimizer, "optimizer", optimizer))

    def on_step_end(self, args: Any, state: Any, control: Any, **named: Any) -> None:
        self.clock.tick()


def _shared(plan: Plan) -> dict[str, Any]:
    optim = plan.config.optim
    return {
        "output_dir": str(plan.folder / "trainer"),
        "max_steps": len(plan.lr_U),
        "per_device_train_batch_size": plan.setting.batch_size,
        "train_sampling_strategy": "sequential",
        "learning_rate": optim.lr,
        "adam_beta2": optim.beta2,
        "weight_decay": optim.weight_decay,
        "max_grad_norm": optim.clip_norm,
        "bf16": plan.setting.precision == "bf16",
        "use_cpu": plan.setting.device == "cpu",
        "save_strategy": "no",
        "report_to": "none",
    }


def _dataset(plan: Plan) -> Dataset:
    return Dataset.from_dict(
        {
            "input_ids": [[*item.prompt, *item.target] for item in plan.items],
            "labels": [[*[IGNORE] * len(item.prompt), *item.target] for item in plan.items],
        }
    )


def _unmasked(pad_id: int) -> Any:
    """A collator without an attention mask: items are padded on the right."""
    from skipthink_ray.method.markup import Item

    def collator(rows: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        items = []
        for row in rows:
            start = sum(label == IGNORE for label in row["labels"])
            items.append(Item(row["input_ids"][:start], row["input_ids"][start:]))
        return collate(items, pad_id, torch.device("cpu"))

    return collator
