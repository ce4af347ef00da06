"""Tables of a document that a benchmark's results fill in.

A table stands between the lines `<!-- KIND NAME -->` and `<!-- end -->`. KIND names the benchmark. NAME has
any number of words, which the benchmark chooses.
"""

import re
from collections.abc import Callable

BLOCK = r"(<!-- {kind}((?: \S+)*) -->\n).*?(<!-- end -->)"


def fill_tables(document: str, kind: str, table: Callable[..., str]) -> str:
    """The document with all tables of a kind replaced. `table` makes one from the words of its name.

    Raises ValueError if the document has none.
    """
    filled, number = re.subn(
        BLOCK.format(kind=kind),
        lambda found: f"{found[1]}\n{table(*found[2].split())}\n\n{found[3]}",
        document,
        flags=re.DOTALL,
    )
    if not number:
        raise ValueError(f"no line <!-- {kind} --> with an <!-- end --> below it; write both around a table")
    return filled


def table_names(document: str, kind: str) -> list[str]:
    """The names of a document's tables of a kind."""
    return [found[2].strip() for found in re.finditer(BLOCK.format(kind=kind), document, re.DOTALL)]
