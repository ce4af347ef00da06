"""What a run notices about itself and a user should look at: each case as a function of the stages' summaries.

Pure: no files, no console. A stage prints its findings and stores them in its summary.json under `warnings`; the report
collects them. docs/troubleshooting.md explains every code. A healthy run has no findings.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from skipthink_ray.config import PipelineConfig
from skipthink_ray.reporting.numbers import STAGE_OF

Code = Literal[
    "markers-together", "loss-flat", "gate-rarely-right", "gate-keeps-all", "gate-skips-all",
    "staged-empty", "no-answer", "answers-endless", "memorised",
]  # fmt: skip
Summary = dict[str, Any]
"""summary.json of a stage."""

MARKER_SEPARATION = 0.1
"""Markers closer than this, in median distances between two tokens, may be mistaken for each other. A toy student that was
pretrained and then given markers left 100, 80, 2, 0, 1, 0 % of staged answers empty at 0.03, 0.08, 0.09, 0.18, 0.22, 0.36."""
LOSS_LEFT = 0.9
"""A loss that keeps more than this share of its first value hardly fell."""
GATE_RIGHT_SHARE = 0.5
"""A gate's student that is right less often from all of the teacher's chunks says nothing about skipping."""
KEPT_SHARE_MOST, KEPT_SHARE_LEAST = 0.95, 0.05
"""A gate that keeps more than the first or less than the second tells no chunk from another."""
ANSWERS_PCT = 10.0
"""More answers than this that are empty, have no end or loop are no accident."""
MEMORISED_NATS, MEMORISED_PCT = 0.02, 75.0
"""A final loss below the first says that the training data is known by heart; test accuracy should then be above the second."""


@dataclass(frozen=True)
class Finding:
    """One warning. `keys` are the configuration's keys that `remedy` names."""

    code: Code
    stage: str
    """The stage that noticed it."""
    text: str
    """What was measured, and what it means."""
    remedy: str
    keys: tuple[str, ...]


def training_findings(stage: str, config: PipelineConfig, summary: Summary) -> list[Finding]:
    """Of base, cwt or stt: markers that did not part, a loss that hardly fell."""
    findings = []
    if "marker_separation" in summary and summary["marker_separation"] < MARKER_SEPARATION:
        findings.append(_markers_together(stage, config, summary["marker_separation"]))
    continued = stage == "stt" and config.stt.start == "cwt"  # its loss is low from the start
    if summary["final_loss_nats"] > LOSS_LEFT * summary["first_loss_nats"] and not continued:
        findings.append(_loss_flat(stage, config, summary))
    return findings


def skips_findings(config: PipelineConfig, summary: Summary) -> list[Finding]:
    """A gate that lets hardly any sample pass, keeps nearly every chunk, or nearly none."""
    if summary["right_share"] < GATE_RIGHT_SHARE:
        return [_gate_rarely_right(config, summary["right_share"])]  # the others keep all: what else it keeps follows
    if summary["kept_share"] > KEPT_SHARE_MOST:
        return [_gate_keeps_all(config, summary["kept_share"])]
    if summary["kept_share"] < KEPT_SHARE_LEAST and config.skips.search != "all":
        return [_gate_skips_all(summary["kept_share"])]
    return []


def evaluation_findings(config: PipelineConfig, summary: Summary, trained: dict[str, Summary]) -> list[Finding]:
    """Empty, unreadable and endless answers, and students that learned by heart. `trained`: summaries of base, cwt and stt."""
    findings = []
    if summary["staged_format_errors_pct"] > ANSWERS_PCT:
        findings.append(_staged_empty(summary["staged_format_errors_pct"]))
    errors = _modes_above(summary, "format_errors_pct", ("full", "skip"))
    if errors:
        findings.append(_no_answer(config, errors))
    at_limit, loops = (_modes_above(summary, name, tuple(STAGE_OF)) for name in ("at_limit_pct", "loops_pct"))
    if at_limit or loops:
        findings.append(_answers_endless(config, at_limit, loops))
    for mode, stage in STAGE_OF.items():
        accuracy_pct, loss_nats = summary[f"{mode}_accuracy_pct"], trained[stage]["final_loss_nats"]
        if loss_nats < MEMORISED_NATS and accuracy_pct < MEMORISED_PCT:
            findings.append(_memorised(mode, config, accuracy_pct, trained[stage]))
    return findings


def _modes_above(summary: Summary, name: str, modes: Sequence[str]) -> str:
    """`full 34.0 %, skip 20.0 %`: the modes in which a share is above what an accident explains."""
    shares = {mode: summary[f"{mode}_{name}"] for mode in modes}
    return ", ".join(f"{mode} {share:.1f} %" for mode, share in shares.items() if share > ANSWERS_PCT)


def _longer(stage: str, config: PipelineConfig) -> str:
    """The key that makes a stage train longer."""
    return "cwt.epochs" if config.match == "updates" else f"{stage}.epochs"


def _markers_together(stage: str, config: PipelineConfig, separation: float) -> Finding:
    rate, longer = f"{stage}.optim.marker_lr_stds", _longer(stage, config)
    return Finding(
        "markers-together", stage,
        f"The markers did not part: the two closest are {separation:.3f} times as far from each other as two ordinary tokens. "
        "The student can hardly tell them apart.",
        f"Raise {rate}, take another student.marker_start, or train longer ({longer}).",
        (rate, "student.marker_start", longer),
    )  # fmt: skip


def _loss_flat(stage: str, config: PipelineConfig, summary: Summary) -> Finding:
    rate, longer = f"{stage}.optim.lr", _longer(stage, config)
    return Finding(
        "loss-flat", stage,
        f"The loss hardly fell: {summary['first_loss_nats']:.3f} nats in the first updates, {summary['final_loss_nats']:.3f} in the last "
        f"of {summary['updates']:,}. The student learned little.",
        f"Take another learning rate ({rate}), mostly a higher one, or train longer ({longer}).",
        (rate, longer),
    )  # fmt: skip


def _gate_rarely_right(config: PipelineConfig, right_share: float) -> Finding:
    remedy = "Train the cwt student longer (cwt.epochs), with another cwt.optim.lr, or with a higher cwt.optim.marker_lr_stds."
    keys = ["cwt.epochs", "cwt.optim.lr", "cwt.optim.marker_lr_stds"]
    if config.skips.margin_nats or config.skips.agreement_passes:
        remedy += " A lower skips.margin_nats or skips.agreement_passes lets more answers pass."
        keys += ["skips.margin_nats", "skips.agreement_passes"]
    return Finding(
        "gate-rarely-right", "skips",
        f"Only {right_share:.1%} of the samples pass the gate with all of the teacher's chunks. "
        "The others keep every chunk, so the skip student learns to skip little.",
        remedy, tuple(keys),
    )  # fmt: skip


def _gate_keeps_all(config: PipelineConfig, kept_share: float) -> Finding:
    remedy, keys = "Cut the rationales into more chunks (chunks.num_chunks)", ["chunks.num_chunks"]
    if config.skips.skippable == "interior":
        remedy, keys = f"{remedy}, or let the first and the last be skipped too (skips.skippable any)", [*keys, "skips.skippable"]
    if config.skips.margin_nats or config.skips.agreement_passes:
        remedy += ", or take a lower skips.margin_nats or skips.agreement_passes"
        keys += ["skips.margin_nats", "skips.agreement_passes"]
    return Finding(
        "gate-keeps-all", "skips",
        f"{kept_share:.1%} of all chunks were kept. The skip student will write nearly as much as full thinking.",
        f"{remedy}.", tuple(keys),
    )  # fmt: skip


def _gate_skips_all(kept_share: float) -> Finding:
    return Finding(
        "gate-skips-all", "skips",
        f"Only {kept_share:.1%} of all chunks were kept. The skip student will learn to answer without thinking.",
        "Take a stricter gate: skips.gate cross_fitted, a higher skips.margin_nats, or skips.skippable interior.",
        ("skips.gate", "skips.margin_nats", "skips.skippable"),
    )  # fmt: skip


def _staged_empty(share_pct: float) -> Finding:
    return Finding(
        "staged-empty", "evaluation",
        f"{share_pct:.1f} % of the staged answers are empty: behind [answer] the cwt student stops at once. It takes [answer] for the "
        "marker of a chunk, or has learned to stop behind the last chunk.",
        "Raise cwt.optim.marker_lr_stds, take another student.marker_start, or train longer (cwt.epochs).",
        ("cwt.optim.marker_lr_stds", "student.marker_start", "cwt.epochs"),
    )  # fmt: skip


def _no_answer(config: PipelineConfig, errors: str) -> Finding:
    keys = _all_longer(config)
    return Finding(
        "no-answer", "evaluation",
        f"Many answers have no --> with an answer behind it: {errors}. They count as wrong.",
        f"Train longer ({', '.join(keys)}). If the answers ran into the length limit, see there.",
        keys,
    )  # fmt: skip


def _answers_endless(config: PipelineConfig, at_limit: str, loops: str) -> Finding:
    seen = [f"ran into the length limit: {at_limit}"] * bool(at_limit) + [f"repeat themselves: {loops}"] * bool(loops)
    longer = _all_longer(config)
    limit = "evaluation.max_new_tokens"
    remedies = [f"Raise {limit} ({config.evaluation.max_new_tokens} now) if the rationales are longer"] * bool(at_limit)
    remedies += [f"Train longer ({', '.join(longer)}) if the student goes round in circles"]
    return Finding(
        "answers-endless", "evaluation", f"Many answers do not end well. They {'; they '.join(seen)}.", f"{'. '.join(remedies)}.",
        ((limit,) if at_limit else ()) + longer,
    )  # fmt: skip


def _all_longer(config: PipelineConfig) -> tuple[str, ...]:
    """The keys that make all students train longer."""
    return tuple(dict.fromkeys(_longer(stage, config) for stage in STAGE_OF.values()))


def _memorised(mode: str, config: PipelineConfig, accuracy_pct: float, trained: Summary) -> Finding:
    stage, longer = STAGE_OF[mode], _longer(STAGE_OF[mode], config)
    shorter, keys = f"lower {longer}", (longer,)
    if longer != f"{stage}.epochs":
        shorter, keys = f"set match epochs and {stage}.epochs below that", ("match", f"{stage}.epochs")
    return Finding(
        "memorised", "evaluation",
        f"The {stage} student knows its training data by heart ({trained['final_loss_nats']:.4f} nats per target token after "
        f"{trained['epochs']:,} epochs), but answers only {accuracy_pct:.1f} % of the test questions.",
        f"Train on more rationales (a teacher writes several per question with rationales.teacher.samples), or train less: {shorter}.",
        ("rationales.teacher.samples", *keys),
    )  # fmt: skip
