"""Tables of a document that a benchmark's results fill in.

A table stands between the lines `<!-- KIND NAME -->` and `<!-- end -->`. KIND names the benchmark. NAME has
any number of words, which the benchmark chooses.
"""

import re
from collections.abc import Callable

BLOCK = r"(<!-- {kind}((?: \S+)*) -->\n).*?(<!-- end -->)"


def fill_tables(document: str, kind: str, table: Callable[..., str]) -> str:
    """The document with the tables of a kind made again. `table` gets the words of the name.

    Raises ValueError if there is no such table.
    """
    filled, number = re.subn(
        BLOCK.format(kind=kind),
        lambda found: f"{found[1]}\n{table(*found[2].split())}\n\n{found[3]}",
        document,
        flags=re.DOTALL,
    )
    if not number:
        raise ValueError(f"no line <!-- {kind} ... --> before <!-- end -->, where a table belongs")
    return filled


def table_names(document: str, kind: str) -> list[str]:
    """The names of a document's tables of a kind."""
    return [found[2].strip() for found in re.finditer(BLOCK.format(kind=kind), document, re.DOTALL)]
