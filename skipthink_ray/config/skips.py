"""Configuration of stage 5, which finds the superfluous chunks."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from skipthink_ray.config.base import Config, PositiveInt


class SkipsConfig(Config):
    """Stage 5: find the chunks without which the cwt student still answers correctly."""

    judge: Literal["reading", "writing"] = "reading"
    """What the student sees when chunk m is left out. reading: all other kept chunks; it writes the answer.
    writing: the kept chunks before m; it writes the later chunks, stage by stage, and then the answer."""
    search: Literal["sequential", "exhaustive", "all"] = "sequential"
    """sequential: leave out one chunk after the other, cumulatively (the paper);
    exhaustive: the subset with the fewest tokens that gives the right answer, for M up to 6;
    all: skip every chunk (the paper's SkipALL)."""
    skippable: Literal["any", "interior"] = "any"
    """any: every chunk may be skipped; interior: only those between the first and the last."""
    gate: Literal["own", "cross_fitted"] = "own"
    """Which student is asked. own: the cwt student, which was trained on these samples (the paper);
    cross_fitted: a student trained only on the other folds."""
    folds: Annotated[int, Field(ge=2)] = 2
    """cross_fitted: number of folds (K); one additional cwt student is trained per fold."""
    margin_nats: Annotated[float, Field(ge=0.0)] = 0.0
    """An answer passes only if each token leads the next-best one by this much in log-probability."""
    agreement_passes: Annotated[int, Field(ge=0)] = 0
    """An answer passes only if this many copies of the student with noisy weights are right too."""
    agreement_noise: Annotated[float, Field(gt=0.0)] = 0.05
    """Standard deviation of the weight noise, as a share of the standard deviation of each weight tensor."""
    shuffled: bool = False
    """A control experiment: for each chunk index, reassign the skips to randomly chosen samples."""
    batch_size: PositiveInt = 64
    """Maximum number of samples processed together. An actor receives at most 64 rows at a time."""
    max_new_tokens: PositiveInt = 32
    """Length limit of an answer, in tokens."""
    max_chunk_tokens: PositiveInt = 128
    """writing: length limit of a chunk, in tokens. A longer chunk is cut there, and the student goes on."""

    @model_validator(mode="after")
    def fits_together(self) -> Self:
        """Check rules that involve several fields."""
        if self.judge == "writing" and self.search == "exhaustive":
            raise ValueError(
                "skips.judge: writing tries the chunks in order, which skips.search exhaustive does not; "
                "set skips.search to sequential, or skips.judge to reading"
            )
        return self
