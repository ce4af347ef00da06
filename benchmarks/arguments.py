"""Types of command-line arguments that the benchmarks share."""

from argparse import ArgumentTypeError
from collections.abc import Callable


def at_least(lowest: int) -> Callable[[str], int]:
    """An argparse type: a whole number of at least `lowest`."""

    def number(text: str) -> int:
        if not text.lstrip("-").isdigit() or int(text) < lowest:
            raise ArgumentTypeError(f"'{text}' is not a whole number of at least {lowest}")
        return int(text)

    return number
