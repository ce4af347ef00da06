"""What every configuration is: frozen, documented by the text under each field, and strict about unknown keys."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

SECRET = "secret"
"""Type of an error whose input is not to be shown."""


def without_password(address: str) -> str:
    """The address itself. An error where it holds a user or password: it would stand in every record of the run."""
    if "@" in address.partition("://")[2].partition("/")[0]:
        raise PydanticCustomError(SECRET, "an address holds no user or password here; give them through the environment")
    return address


Address = Annotated[str, AfterValidator(without_password)]
"""A path, or a URI without user and password."""
PositiveInt = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True)
