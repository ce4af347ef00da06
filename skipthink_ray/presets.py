"""Presets: functions that return a PipelineConfig. A YAML file and dotted overrides may change it."""

from collections.abc import Callable

from skipthink_ray.config import (
    ClusterConfig,
    CwtConfig,
    EvaluationConfig,
    IcotConfig,
    OptimConfig,
    PipelineConfig,
    RationalesConfig,
    SkipsConfig,
    SttConfig,
    StudentConfig,
    TrainConfig,
)


def default() -> PipelineConfig:
    """Every field at its default."""
    return PipelineConfig()


def toy() -> PipelineConfig:
    """The demo: toy MultiArith and a student from scratch. It takes about six minutes on two cores.

    With 400 questions the students do not answer everything correctly, so that its table can show a loss as
    well as a gain. The first and the last chunk are always kept: the CWT student learns too little here for a
    gate that may drop them.
    """
    shared = {
        "batch_size": 16,
        "optim": OptimConfig(lr=5e-3, schedule="cosine", warmup_share=0.05, beta2=0.98),
    }
    return PipelineConfig(
        name="demo",
        rationales=RationalesConfig(train_questions=400, test_questions=200),
        base=TrainConfig(**shared),
        cwt=CwtConfig(**shared, epochs=8),
        skips=SkipsConfig(skippable="interior"),
        stt=SttConfig(**shared, skip_share=0.5),
        icot=IcotConfig(**shared, tokens_per_epoch=4),
    )


def tiny() -> PipelineConfig:
    """A student of a few thousand weights that learns nothing, to try commands on: a stage takes seconds."""
    optim = OptimConfig(lr=5e-3)
    return PipelineConfig(
        name="tiny",
        updates=20,
        student=StudentConfig(layers=1, width=16, heads=2),
        rationales=RationalesConfig(train_questions=40, test_questions=16, dev_share=0.25),
        base=TrainConfig(optim=optim),
        cwt=CwtConfig(optim=optim),
        stt=SttConfig(optim=optim),
        icot=IcotConfig(optim=optim, tokens_per_epoch=32),
        evaluation=EvaluationConfig(max_new_tokens=24, latency_questions=4),
        cluster=ClusterConfig(num_workers=1, num_actors=1, backend="ddp"),
    )


def gpt2() -> PipelineConfig:
    """GPT-2 124M from the hub. Fine-tune-CoT's hyperparameters are used if the paper gives none."""
    return PipelineConfig(
        name="gpt2",
        student=StudentConfig(pretrained="gpt2", max_tokens=1024),
        cluster=ClusterConfig(use_gpu=True),
    )


def smollm2() -> PipelineConfig:
    """SmolLM2-135M-Instruct from PyPI, without a hub: two epochs of CWT in fp32, on CPUs or GPUs."""
    shared = {"batch_size": 8, "optim": OptimConfig(lr=1e-4, schedule="cosine", warmup_share=0.05)}
    return PipelineConfig(
        name="smollm2",
        student=StudentConfig(pretrained="smollm2", max_tokens=512),
        base=TrainConfig(**shared),
        cwt=CwtConfig(**shared, epochs=2, num_chunks=4),
        stt=SttConfig(**shared),
        icot=IcotConfig(**shared, tokens_per_epoch=32),
        evaluation=EvaluationConfig(max_new_tokens=192),
    )


PRESETS: dict[str, Callable[[], PipelineConfig]] = {
    "default": default,
    "toy": toy,
    "tiny": tiny,
    "gpt2": gpt2,
    "smollm2": smollm2,
}
