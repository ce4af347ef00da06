"""What every configuration is: frozen, documented by the text under each field, and strict about unknown keys."""

from collections.abc import Callable
from string import Formatter
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

SECRET = "secret"
"""Type of an error whose input is not to be shown."""


def without_password(address: str) -> str:
    """The address itself. An error where it holds a user or password: it would stand in every record of the run."""
    if "@" in address.partition("://")[2].partition("/")[0]:
        raise PydanticCustomError(
            SECRET, "an address holds no user or password here; give them through the environment"
        )
    return address


def format_of(name: str) -> Callable[[str], str]:
    """A check that a text is a format with the one field `{name}`; ValueError says which braces to double."""

    def check(text: str) -> str:
        double = f"write {{{{ and }}}} for braces that stay, and {{{name}}} for the {name}"
        try:
            fields = [
                (field, spec, conversion)
                for _, field, spec, conversion in Formatter().parse(text)
                if field is not None
            ]
        except ValueError as error:
            raise ValueError(f"a brace without its partner ({error}); {double}") from error
        for field, spec, conversion in fields:
            if field != name or spec or conversion:
                shown = f"{{{field}{f'!{conversion}' if conversion else ''}{f':{spec}' if spec else ''}}}"
                raise ValueError(f"it holds {shown}; {double}")
        if not fields:
            raise ValueError(f"it does not hold {{{name}}}; {double}")
        return text

    return check


Address = Annotated[str, AfterValidator(without_password)]
"""A path, or a URI without user and password."""
PositiveInt = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class Config(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True
    )
