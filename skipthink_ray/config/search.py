"""Configuration of chunk search."""

from typing import Annotated, Literal

from pydantic import Field

from skipthink_ray.config.base import Config, PositiveInt


class SearchConfig(Config):
    """How chunk boundaries are searched with a student: the paper's SBC and alternatives."""

    method: Literal["average", "greedy", "annealed", "optimal"] = "greedy"
    """average: no search (AC); greedy: the paper's SBC; annealed: SA-SBC;
    optimal: the exact optimum, by dynamic programming."""
    eta_nats: Annotated[float, Field(ge=0.0)] = 0.1
    """greedy: a boundary moves only if the loss falls by more than this, in nats per token (eta)."""
    objective: Literal["chunk", "pair"] = "chunk"
    """greedy: the loss to minimise. chunk: that of chunk m; pair: the sum of those of chunks m and m+1."""
    start_temperature_nats: Annotated[float, Field(gt=0.0)] = 0.5
    """annealed: initial temperature, in units of the energy (nats per token)."""
    cooling: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.95
    """annealed: factor by which the temperature is multiplied after every M-1 proposals."""
    proposals: PositiveInt = 200
    """annealed: number of proposed moves per rationale."""


class CwtSearchConfig(SearchConfig):
    """The search before an epoch of CWT."""

    refresh_every_epochs: PositiveInt = 1
    """Search before every n-th epoch; 1 searches before each."""
