"""Rows of Parquet files and data sets as JSON text, without a change of any value that JSON can hold."""

import json
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa

from skipthink_ray.data.cleaning import NOT_UTF8


def raw_row(number: int, values: Any) -> dict[str, Any]:
    """A row of RAW_SCHEMA. Bytes become text. A value that JSON lacks becomes an object naming its type."""
    return {"row": number, "raw": json.dumps(values, ensure_ascii=False, default=_as_json), "error": None}


def _as_json(value: Any) -> Any:
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            return {NOT_UTF8: f"{error.reason} at byte {error.start}: {value[:80]!r}"}
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else format(value.normalize(), "f")
    return {f"a value of the type {type(value).__name__}": str(value)}


def widened(table: pa.Table) -> pa.Table:
    """The table with 32-bit and 16-bit floats as 64-bit ones that print the same: 0.1, not 0.10000000149."""
    for at, column in enumerate(table.schema):
        if column.type in (pa.float32(), pa.float16()):
            narrow = pa.concat_arrays(
                table[column.name].cast(pa.float32()).chunks or [pa.array([], pa.float32())]
            )
            shown = [None if value is None else float(str(np.float32(value))) for value in narrow.to_pylist()]
            table = table.set_column(at, column.name, pa.array(shown, pa.float64()))
    return table
