"""Types of command-line arguments that the benchmarks share."""

from argparse import ArgumentTypeError
from collections.abc import Callable


def at_least(lowest: int) -> Callable[[str], int]:
    """A whole number that is not below `lowest`."""

    def number(text: str) -> int:
        if not text.lstrip("-").isdigit() or int(text) < lowest:
            raise ArgumentTypeError(f"'{text}' is no whole number of {lowest} or more")
        return int(text)

    return number
