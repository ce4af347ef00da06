"""Configuration of the command `rechunk`, a chunk search apart from a run."""

from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from skipthink_ray.config import ClusterConfig, SearchConfig
from skipthink_ray.config.base import Address, Config, Precision


def _named(place: str) -> str:
    """Reject an empty name, for example from an unset shell variable: it would mean the working directory."""
    if not place:
        raise PydanticCustomError("unnamed", "name a folder")
    return place


Place = Annotated[Address, AfterValidator(_named)]


class RechunkConfig(Config):
    """Search chunks with a given student."""

    student: Place
    """Folder of a student with markers, such as `student/` in the artifacts of cwt and stt."""
    samples: Place
    """Folder of Parquet files with samples, or an artifact that has one."""
    out: Place
    """Folder to write. If it already holds the finished search, nothing is done."""
    search: SearchConfig = SearchConfig()
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of annealed search."""
    precision: Precision = "fp32"
    """Number format of the forward passes; bf16 on GPUs only."""
    num_actors: Annotated[int, Field(ge=1)] = 2
    """Number of actors, each with a copy of the student."""
    cpus_per_actor: Annotated[float, Field(gt=0.0)] = 1.0
    """CPUs per actor; also its number of torch threads."""
    gpus_per_actor: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    """GPUs per actor. A fraction lets several actors share a GPU; 0 runs on CPUs."""
    rows_per_batch: Annotated[int, Field(ge=1)] = 2048
    """Samples that an actor takes at a time. There are at most as many actors as such batches."""
    wait_s: Annotated[float, Field(ge=0.0)] = 0.0
    """How long to wait for an autoscaling cluster to grow before refusing a request that does not fit."""
    address: Address | None = None
    """Ray cluster to join; None joins the submitting job's cluster or starts a local one."""

    @property
    def cluster(self) -> ClusterConfig:
        return ClusterConfig(
            address=self.address,
            num_actors=self.num_actors,
            cpus_per_worker=self.cpus_per_actor,
            use_gpu=self.gpus_per_actor > 0,
            wait_s=self.wait_s,
        )
