"""Stage 5: how superfluous chunks are found."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from skipthink_ray.config.base import Config, PositiveInt


class SkipsConfig(Config):
    """Stage 5: which chunks the CWT student answers correctly without."""

    judge: Literal["reading", "writing"] = "reading"
    """What the student is given without c_m. reading: all other chunks that are kept; it writes the answer. writing: those
    before c_m alone; it writes the chunks after c_m in stages, and then the answer."""
    search: Literal["sequential", "exhaustive", "all"] = "sequential"
    """sequential: the paper's ablation, cumulative; exhaustive: the right subset with the fewest tokens, M up to 6;
    all: skip every chunk (the paper's SkipALL)."""
    skippable: Literal["any", "interior"] = "any"
    """any chunk, or only those between the first and the last."""
    gate: Literal["own", "cross_fitted"] = "own"
    """Who is asked. own: the cwt student, about samples it was trained on (the paper); cross_fitted: a student trained
    on the other folds alone."""
    folds: Annotated[int, Field(ge=2)] = 2
    """cross_fitted: number of folds (K), and of further cwt runs."""
    margin_nats: Annotated[float, Field(ge=0.0)] = 0.0
    """An answer counts only if each of its tokens leads the best other token by this log-probability; 0 asks for no lead."""
    agreement_passes: Annotated[int, Field(ge=0)] = 0
    """An answer counts only if so many copies of the student with perturbed weights are right too; 0 asks none."""
    agreement_noise: Annotated[float, Field(gt=0.0)] = 0.05
    """Standard deviation of a perturbation, as a share of the standard deviation of the weights of the same tensor."""
    shuffled: bool = False
    """A control: hands the skips of each chunk index to random samples that have a chunk there, as many as were found."""
    batch_size: PositiveInt = 64
    """Samples asked about together, at most; an actor takes up to 64 rows at a time."""
    max_new_tokens: PositiveInt = 32
    """Length limit of an answer, in tokens."""
    max_chunk_tokens: PositiveInt = 128
    """writing: length limit of a chunk; one that reaches it stays as it is."""

    @model_validator(mode="after")
    def fits_together(self) -> Self:
        """What no field can see by itself."""
        if self.judge == "writing" and self.search == "exhaustive":
            raise ValueError(
                "skips.judge: writing goes through the chunks in order, which skips.search exhaustive does not; "
                "set skips.search to sequential, or skips.judge to reading"
            )
        return self
