"""The function of each stage.

`skips` and `evaluation` are imported when they are made, because they import transformers, which takes
seconds.
"""

from collections.abc import Callable
from typing import Any

from skipthink_ray.stages import base, cwt, icot, rationales, report, samples, stt
from skipthink_ray.stages.context import Context


def _skips(context: Context) -> dict[str, Any]:
    from skipthink_ray.stages import skips

    return skips.make(context)


def _evaluation(context: Context) -> dict[str, Any]:
    from skipthink_ray.stages import evaluation

    return evaluation.make(context)


MAKE: dict[str, Callable[[Context], dict[str, Any]]] = {
    "rationales": rationales.make,
    "samples": samples.make,
    "base": base.make,
    "cwt": cwt.make,
    "skips": _skips,
    "stt": stt.make,
    "icot": icot.make,
    "evaluation": _evaluation,
    "report": report.make,
}
