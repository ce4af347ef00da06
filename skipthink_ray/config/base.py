"""The base of every configuration: frozen, documented under each field, strict about unknown keys."""

import re
from collections.abc import Callable
from string import Formatter
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

Precision = Literal["fp32", "bf16"]
"""A number format of torch: float32 or bfloat16."""
SECRET = "secret"
"""Type of a validation error whose message must not repeat the input."""


SECRET_PARAMETERS = ("secret", "password", "token", "sig", "account_key", "access_key")
"""Parts of the names of query parameters whose value is a secret."""


def without_password(address: str) -> str:
    """Return the address. Fails if it contains a user, password or key, which records of the run would show.

    In Azure's `abfs://container@account`, the name before the @ is the container.
    """
    scheme, is_uri, rest = address.partition("://")
    if not is_uri:
        return address
    user, at, _ = re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")
    names = (pair.partition("=")[0].lower() for pair in rest.partition("?")[2].split("&"))
    is_container = scheme in ("abfs", "abfss") and ":" not in user
    if (at and not is_container) or any(secret in name for name in names for secret in SECRET_PARAMETERS):
        raise PydanticCustomError(
            SECRET, "an address must not contain a user or password; pass them through the environment"
        )
    return address


def format_of(name: str) -> Callable[[str], str]:
    """A check that a text is a format whose only field is `{name}`; its ValueError says what to double."""

    def check(text: str) -> str:
        double = f"write {{{{ and }}}} for literal braces, and {{{name}}} for the {name}"
        try:
            fields = [
                (field, spec, conversion)
                for _, field, spec, conversion in Formatter().parse(text)
                if field is not None
            ]
        except ValueError as error:
            raise ValueError(f"unmatched brace ({error}); {double}") from error
        for field, spec, conversion in fields:
            if field != name or spec or conversion:
                shown = f"{{{field}{f'!{conversion}' if conversion else ''}{f':{spec}' if spec else ''}}}"
                raise ValueError(f"it contains {shown}; {double}")
        if not fields:
            raise ValueError(f"it does not contain {{{name}}}; {double}")
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
