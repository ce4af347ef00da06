"""The function of each stage. Importing this module imports Ray and torch."""

from collections.abc import Callable
from typing import Any

from skipthink_ray.stages import base, chunks, cwt, evaluation, rationales, report, skips, stt
from skipthink_ray.stages.context import Context

MAKE: dict[str, Callable[[Context], dict[str, Any]]] = {
    "rationales": rationales.make,
    "chunks": chunks.make,
    "base": base.make,
    "cwt": cwt.make,
    "skips": skips.make,
    "stt": stt.make,
    "evaluation": evaluation.make,
    "report": report.make,
}
