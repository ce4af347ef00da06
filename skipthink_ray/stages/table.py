"""The function of each stage."""

from collections.abc import Callable
from typing import Any

from skipthink_ray.stages import base, cwt, evaluation, icot, rationales, report, samples, skips, stt
from skipthink_ray.stages.context import Context

MAKE: dict[str, Callable[[Context], dict[str, Any]]] = {
    "rationales": rationales.make,
    "samples": samples.make,
    "base": base.make,
    "cwt": cwt.make,
    "skips": skips.make,
    "stt": stt.make,
    "icot": icot.make,
    "evaluation": evaluation.make,
    "report": report.make,
}
