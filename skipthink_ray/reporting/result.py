"""The result of a run in plain sentences: the skip student compared with full thinking."""

from typing import Any

from skipthink_ray.method.intervals import Estimate

POOR_PCT = 20.0
"""If the accuracy of full thinking is lower, the first sentence warns the reader."""
FEW = 5
"""With fewer timed questions, a sentence says that the speed-up means little."""


def result_sentences(
    modes: dict[str, Any], evaluation: dict[str, Any], student: dict[str, Any], rationales: int
) -> list[str]:
    """One to three sentences.

    `modes` holds `numbers.mode_numbers` by mode; `rationales` is the number of training samples.
    """
    full, skip = modes["full"], modes["skip"]
    asked = f"{evaluation['questions']:,} {evaluation['split']} questions"
    sentences = [
        f"The skip student answers {_share(skip)} of {asked}, full thinking "
        f"{_share(full)}: it writes {_fewer(skip['token_ratio']['value'])} and is "
        f"{_faster(Estimate(**skip['speedup']))} at batch 1."
    ]
    if full["accuracy_pct"]["value"] < POOR_PCT:
        who = student["pretrained"] or "a student from scratch"
        sentences.insert(
            0,
            f"Even full thinking is right in only {full['accuracy_pct']['value']:.1f} % ({who} on "
            f"{rationales:,} rationales: expect little). Tokens and speed of students that have not learned "
            "the task say little about the method.",
        )
    timed = evaluation["timed_questions"]
    if timed < FEW:
        sentences.append(
            f"The speed-up rests on {timed} timed question{'s' if timed > 1 else ''}, which is too few "
            "(evaluation.latency_questions)."
        )
    return sentences


def _share(mode: dict[str, Any]) -> str:
    accuracy = mode["accuracy_pct"]
    return f"{accuracy['value']:.1f} % ({accuracy['low']:.1f} to {accuracy['high']:.1f})"


def _fewer(ratio: float) -> str:
    if f"{ratio:.2f}" == "1.00":
        return "as many tokens"
    return f"{ratio:.2f}x fewer tokens" if ratio > 1 else f"{1 / ratio:.2f}x more tokens"


def _faster(speedup: Estimate) -> str:
    if speedup.low > 1:
        return f"{speedup.value:.2f}x ({speedup.low:.2f} to {speedup.high:.2f}) faster"
    if speedup.high < 1:
        return f"{1 / speedup.value:.2f}x ({1 / speedup.high:.2f} to {1 / speedup.low:.2f}) slower"
    interval = f"{speedup.low:.2f} to {speedup.high:.2f}"
    return f"neither faster nor slower beyond chance (speed-up {speedup.value:.2f}x, {interval})"
