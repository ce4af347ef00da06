"""The plan of bench_training.py: student, samples, items and updates, made once and written to a folder.

    student/              the weights from which every arm starts
    samples.parquet       token ids with chunks, for the arms that use our training loop
    items.safetensors     token ids of the items in the order of the updates, for all other arms
    plan.json             what was asked for, the training configuration, and the learning rates

An epoch has a multiple of `batch_size` items, so no update is smaller. Weight decay is 0, because Hugging
Face's trainers do not decay biases and norms. The markers have no learning rate of their own.
Shape suffixes: I items, U updates.
"""

import json
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from random import Random
from typing import Any, Literal

import numpy as np
import pyarrow.parquet as pq
import safetensors.numpy
import torch
from transformers import GPT2Config, GPT2LMHeadModel, Qwen2Config, Qwen2ForCausalLM

from skipthink_ray.config import CwtConfig, OptimConfig, SamplesConfig, StudentConfig, TrainConfig
from skipthink_ray.method.cutting import cut, texts
from skipthink_ray.method.markup import Item
from skipthink_ray.method.samples import Samples
from skipthink_ray.models.encoding import encode
from skipthink_ray.models.student import Student, build_student, load_tokenizer, save_student, with_stages
from skipthink_ray.tasks import TASKS
from skipthink_ray.training.batches import build_item, epoch_items, plan_updates
from skipthink_ray.training.schedule import learning_rate

NUM_CHUNKS, SEED, LEAST_SAMPLES = 4, 0, 64
LONG_STEPS = 75
"""Steps of a rationale of about 2,000 tokens."""
FORMATS = SamplesConfig()
Row = dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """What a run of the benchmark measures. Runs of one setting can be compared."""

    size: Literal["toy", "smollm2", "gpt2", "qwen"] = "toy"
    data: Literal["toy", "gsm8k", "long"] = "toy"
    stage: Literal["base", "cwt"] = "cwt"
    precision: Literal["fp32", "bf16"] = "fp32"
    device: Literal["cpu", "cuda"] = "cpu"
    batch_size: int = 16
    warmup: int = 5
    """Updates before the measured window."""
    updates: int = 100
    """Updates of the measured window."""

    @property
    def name(self) -> str:
        """A name for tables."""
        return f"{self.size}-{self.data}-{self.stage}-{self.precision}-{self.device}"


@dataclass(frozen=True)
class Plan:
    """A written plan, as every arm reads it."""

    folder: Path
    setting: Setting
    config: TrainConfig
    lr_U: list[float]
    pad_id: int

    @classmethod
    def read(cls, folder: Path) -> "Plan":
        saved = json.loads((folder / "plan.json").read_text())
        kind = CwtConfig if saved["setting"]["stage"] == "cwt" else TrainConfig
        config = kind.model_validate(saved["config"])
        return cls(folder, Setting(**saved["setting"]), config, saved["lr_U"], saved["pad_id"])

    @cached_property
    def items(self) -> list[Item]:
        """The items of all updates, in order."""
        saved = safetensors.numpy.load_file(self.folder / "items.safetensors")
        sequences = np.split(saved["tokens"], np.cumsum(saved["tokens_I"])[:-1])
        starts = (saved["tokens_I"] - saved["targets_I"]).tolist()
        return [Item(ids[:at].tolist(), ids[at:].tolist()) for ids, at in zip(sequences, starts, strict=True)]

    def update(self, number: int) -> list[Item]:
        size = self.setting.batch_size
        return self.items[number * size : (number + 1) * size]

    def samples(self) -> Samples:
        return Samples(pq.read_table(self.folder / "samples.parquet"))

    @property
    def device(self) -> torch.device:
        return torch.device(self.setting.device)


def make_plan(folder: Path, setting: Setting, file: Path | None = None) -> Plan:
    """Write a plan. file: JSON Lines with question, rationale and answer, for the data `gsm8k`.

    Raises ValueError if the file is missing.
    """
    total = setting.warmup + setting.updates
    rows = _rows(setting, total, file)
    student = _student(setting, rows)
    table = cut(
        [{"row": at, **row} for at, row in enumerate(rows)], partial(encode, student.tokenizer), FORMATS
    )
    samples = Samples(table).in_average_chunks(NUM_CHUNKS)
    config, rng = _train_config(setting), np.random.default_rng((SEED, 0))
    items = epoch_items(setting.stage, config, samples, rng, ids=student.ids)
    order = np.concatenate(plan_updates(items, config, rng)[:total])
    built = [build_item(items, number, samples, student.ids) for number in order]
    save_student(student, folder / "student")
    pq.write_table(samples.table, folder / "samples.parquet")
    arrays = {
        "tokens": np.array(list(chain.from_iterable([*item.prompt, *item.target] for item in built))),
        "tokens_I": items.tokens_I[order],
        "targets_I": items.targets_I[order],
    }
    safetensors.numpy.save_file(arrays, folder / "items.safetensors")
    saved = {
        "setting": asdict(setting),
        "config": config.model_dump(mode="json"),
        "lr_U": [learning_rate(config.optim, update, total) for update in range(total)],
        "pad_id": student.pad_id,
    }
    (folder / "plan.json").write_text(json.dumps(saved))
    return Plan.read(folder)


def _train_config(setting: Setting) -> TrainConfig:
    """The optimiser of the preset toy or smollm2."""
    lr, beta2 = (5e-3, 0.98) if setting.size == "toy" else (1e-4, 0.999)
    optim = OptimConfig(
        lr=lr, schedule="cosine", warmup_share=0.05, beta2=beta2, weight_decay=0.0, marker_lr_stds=None
    )
    shared = {"batch_size": setting.batch_size, "precision": setting.precision, "optim": optim}
    return (
        CwtConfig(**shared, search={"method": "average"}) if setting.stage == "cwt" else TrainConfig(**shared)
    )


def _rows(setting: Setting, updates: int, file: Path | None) -> list[Row]:
    """Enough rationales for the updates, and a multiple of the batch size."""
    size = setting.batch_size
    each = 1 if setting.stage == "base" else NUM_CHUNKS + 1
    count = size * -(-max(updates * size // each + 1, LEAST_SAMPLES) // size)
    if setting.data == "toy":
        random, toy = Random(SEED), TASKS["multiarith"].toy
        assert toy
        return [toy(random, 1)._asdict() for _ in range(count)]
    if setting.data == "long":
        from benchmarks.bench_long import thinking  # which imports Ray

        cut_short = {boxes: "\n".join(thinking(boxes).splitlines()[:LONG_STEPS]) for boxes in range(7, 39)}
        questions = "Tom fills {} boxes with pens. How many pens are there?"
        drawn = [7 + at % 32 for at in range(count)]
        return [
            {"question": questions.format(boxes), "rationale": cut_short[boxes], "answer": str(boxes)}
            for boxes in drawn
        ]
    if file is None:
        raise ValueError("--data gsm8k needs --file: JSON Lines with question, rationale and answer")
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    found = [{name: line[name] for name in ("question", "rationale", "answer")} for line in lines]
    return [found[at % len(found)] for at in range(count)]


def _student(setting: Setting, rows: list[Row]) -> Student:
    """The student before training: SmolLM2 with its own weights, all others with random ones."""
    pretrained = "smollm2" if setting.size == "smollm2" else None
    config = StudentConfig(pretrained=pretrained, max_tokens=4096)
    written = chain.from_iterable(texts(row, FORMATS) for row in rows)
    student = build_student(config, load_tokenizer(config, written), SEED)
    if setting.stage == "cwt":
        student = with_stages(student, NUM_CHUNKS, config.marker_start, SEED)
    if setting.size in ("toy", "smollm2"):
        return student
    torch.manual_seed(SEED)
    model = _gpt2() if setting.size == "gpt2" else _qwen()
    model.config.skipthink = student.model.config.skipthink
    model.config.pad_token_id, model.config.eos_token_id = student.pad_id, student.ids.eos
    model.generation_config = student.model.generation_config
    return Student(model, student.tokenizer, student.ids, student.pad_id)


def _gpt2() -> Any:
    """GPT-2 124M without dropout, with random weights and as many positions as `long` needs."""
    return GPT2LMHeadModel(GPT2Config(n_positions=4096, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0))


def _qwen() -> Any:
    """Qwen2.5-0.5B with random weights."""
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=151_936,
            hidden_size=896,
            intermediate_size=4864,
            num_hidden_layers=24,
            num_attention_heads=14,
            num_key_value_heads=2,
            tie_word_embeddings=True,
        )
    )
