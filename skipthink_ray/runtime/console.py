"""Prints text as it is: rich would read `[a]` as markup and `:apple:` as an emoji, and wrap long lines."""

from rich.console import Console

TERMINATED = 143
"""Exit code after SIGTERM."""


def say(console: Console, text: str, stage: str = "", style: str | None = None) -> None:
    """Print a text in one piece, after the name of the stage that says it."""
    line = f"{stage:<11} {text}" if stage else text
    console.print(line, style=style, highlight=False, markup=False, emoji=False, soft_wrap=True)
