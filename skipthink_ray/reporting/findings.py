"""Warnings about a run, computed from the stages' summaries.

Pure: no files, no console. A stage prints its findings and stores them in its summary.json under `warnings`.
The report collects them. docs/troubleshooting.md explains every code. A healthy run has no findings.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from skipthink_ray.config import PipelineConfig
from skipthink_ray.method.modes import modes_of

Code = Literal[
    "markers-together",
    "loss-flat",
    "gate-rarely-right",
    "gate-keeps-all",
    "gate-skips-all",
    "staged-empty",
    "no-answer",
    "answers-endless",
    "memorised",
]
Summary = dict[str, Any]
"""summary.json of a stage."""

MARKER_SEPARATION = 0.1
"""Markers closer than this, in median distances between two tokens, may be mistaken for each other: a toy
student that was pretrained before it got its markers then left most of its staged answers empty."""
LOSS_LEFT = 0.9
"""If the final loss is more than this share of the first, the loss hardly fell."""
GATE_RIGHT_SHARE = 0.5
"""If the gate's student is right less often with all of the teacher's chunks, its skips mean little."""
KEPT_SHARE_MOST, KEPT_SHARE_LEAST = 0.95, 0.05
"""If the gate keeps more than the first or less than the second share, it does not distinguish chunks."""
ANSWERS_PCT = 10.0
"""If more answers than this are empty, endless or looping, a warning is due."""
MEMORISED_NATS, MEMORISED_PCT = 0.02, 75.0
"""A student with a final loss below the first knows its training data by heart. It should then answer more
than the second share of the test questions correctly."""


@dataclass(frozen=True)
class Finding:
    """One warning. `keys` are the configuration keys that `remedy` names."""

    code: Code
    stage: str
    """The stage that noticed it."""
    text: str
    """What was measured, and what it means."""
    remedy: str
    keys: tuple[str, ...]


def training_findings(stage: str, config: PipelineConfig, summary: Summary) -> list[Finding]:
    """Warnings for a student: markers too close together, or a loss that hardly fell."""
    findings = []
    if "marker_separation" in summary and summary["marker_separation"] < MARKER_SEPARATION:
        findings.append(_markers_together(stage, config, summary["marker_separation"]))
    continued = stage == "stt" and config.stt.start == "cwt"  # its loss is low from the start
    changing = stage == "icot" and config.icot.removal == "stepwise"  # the last items lack the easy tokens
    falls = summary["final_loss_nats"] <= LOSS_LEFT * summary["first_loss_nats"]
    if not (falls or continued or changing):
        findings.append(_loss_flat(stage, config, summary))
    return findings


def skips_findings(config: PipelineConfig, summary: Summary) -> list[Finding]:
    """Warnings for the gate: few samples pass, or it keeps nearly all chunks or nearly none."""
    if summary["right_share"] < GATE_RIGHT_SHARE:
        return [_gate_rarely_right(config, summary["right_share"])]  # the cause of any kept chunks
    if summary["kept_share"] > KEPT_SHARE_MOST:
        return [_gate_keeps_all(config, summary["kept_share"])]
    if summary["kept_share"] < KEPT_SHARE_LEAST and config.skips.search != "all":
        return [_gate_skips_all(config, summary["kept_share"])]
    return []


def evaluation_findings(
    config: PipelineConfig, summary: Summary, trained: dict[str, Summary]
) -> list[Finding]:
    """Warnings for empty, unreadable and endless answers, and for students that memorised their data.

    `trained`: the summaries of the students.
    """
    findings, students = [], modes_of(trained)
    concluding = [*students]  # the modes whose answers follow `-->`
    if config.cwt.answer_marker:
        concluding.remove("staged")
        if summary["staged_format_errors_pct"] > ANSWERS_PCT:
            findings.append(_staged_empty(config, summary["staged_format_errors_pct"]))
    errors = _modes_above(summary, "format_errors_pct", concluding)
    if errors:
        findings.append(_no_answer(config, errors, [*trained]))
    at_limit, loops = (_modes_above(summary, name, [*students]) for name in ("at_limit_pct", "loops_pct"))
    if at_limit or loops:
        findings.append(_answers_endless(at_limit, loops, config, [*trained]))
    for mode, stage in students.items():
        accuracy_pct, loss_nats = summary[f"{mode}_accuracy_pct"], trained[stage]["final_loss_nats"]
        if loss_nats < MEMORISED_NATS and accuracy_pct < MEMORISED_PCT:
            findings.append(_memorised(stage, config, accuracy_pct, trained[stage]))
    return findings


def _modes_above(summary: Summary, name: str, modes: Sequence[str]) -> str:
    """The modes with a share above ANSWERS_PCT, such as `full 34.0 %, skip 20.0 %`."""
    shares = {mode: summary[f"{mode}_{name}"] for mode in modes}
    return ", ".join(f"{mode} {share:.1f} %" for mode, share in shares.items() if share > ANSWERS_PCT)


def _longer(stage: str, config: PipelineConfig) -> str:
    """The key that makes a stage train longer."""
    if config.updates is not None:
        return "updates"
    return f"{stage}.epochs" if stage == "cwt" or config.match == "epochs" else "cwt.epochs"


def _all_longer(config: PipelineConfig, stages: Sequence[str]) -> tuple[str, ...]:
    """The keys that make all students train longer."""
    return tuple(dict.fromkeys(_longer(stage, config) for stage in stages))


def _markers_together(stage: str, config: PipelineConfig, separation: float) -> Finding:
    rate, longer = f"{stage}.optim.marker_lr_stds", _longer(stage, config)
    return Finding(
        "markers-together",
        stage,
        f"The markers are too close together: the closest two are {separation:.3f} times as far apart as two "
        "ordinary tokens. The student can hardly distinguish them.",
        f"Raise {rate}, use another student.marker_start, or train longer ({longer}).",
        (rate, "student.marker_start", longer),
    )


def _loss_flat(stage: str, config: PipelineConfig, summary: Summary) -> Finding:
    rate, longer = f"{stage}.optim.lr", _longer(stage, config)
    return Finding(
        "loss-flat",
        stage,
        f"The loss hardly fell: {summary['first_loss_nats']:.3f} nats in the first updates, "
        f"{summary['final_loss_nats']:.3f} in the last of {summary['updates']:,}. "
        "The student learned little.",
        f"Use another learning rate ({rate}), usually a higher one, or train longer ({longer}).",
        (rate, longer),
    )


def _gate_rarely_right(config: PipelineConfig, right_share: float) -> Finding:
    longer = _longer("cwt", config)
    remedies = {
        longer: f"train the cwt student longer ({longer})",
        "cwt.optim.lr": "use another cwt.optim.lr",
        "cwt.optim.marker_lr_stds": "raise cwt.optim.marker_lr_stds",
    }
    return Finding(
        "gate-rarely-right",
        "skips",
        f"Only {right_share:.1%} of the samples pass the gate with all of the teacher's chunks. "
        "The others keep every chunk, so the skip student learns to skip little.",
        *_one_of(remedies | _laxer_gate(config)),
    )


def _gate_keeps_all(config: PipelineConfig, kept_share: float) -> Finding:
    more = "set a number of" if config.cwt.num_chunks == "steps" else "cut the rationales into more"
    remedies = {"cwt.num_chunks": f"{more} chunks (cwt.num_chunks)"}
    if config.skips.skippable == "interior":
        remedies["skips.skippable"] = "allow skipping the first and the last chunk (skips.skippable any)"
    if config.skips.judge == "writing":
        remedies["skips.judge"] = "let the student read the chunks after a removed one (skips.judge reading)"
    return Finding(
        "gate-keeps-all",
        "skips",
        f"{kept_share:.1%} of all chunks were kept. "
        "The skip student will write nearly as much as full thinking.",
        *_one_of(remedies | _laxer_gate(config)),
    )


def _gate_skips_all(config: PipelineConfig, kept_share: float) -> Finding:
    skips, remedies = config.skips, {"skips.margin_nats": "raise skips.margin_nats"}
    if skips.judge == "reading" and config.cwt.num_chunks != "steps":
        remedies["skips.judge"] = "let the student write the chunks after a removed one (skips.judge writing)"
    if skips.gate == "own":
        remedies["skips.gate"] = "ask a student that never saw the sample (skips.gate cross_fitted)"
    if skips.skippable == "any":
        remedies["skips.skippable"] = "keep the first and the last chunk (skips.skippable interior)"
    return Finding(
        "gate-skips-all",
        "skips",
        f"Only {kept_share:.1%} of all chunks were kept. "
        "The skip student will learn to answer without thinking.",
        *_one_of(remedies),
    )


def _laxer_gate(config: PipelineConfig) -> dict[str, str]:
    """Remedies that let more answers pass the gate, by configuration key."""
    skips = config.skips
    strict = {
        "skips.margin_nats": skips.margin_nats > 0,
        "skips.agreement_passes": skips.agreement_passes > 0,
    }
    return {key: f"lower {key}" for key, is_set in strict.items() if is_set}


def _one_of(remedies: dict[str, str]) -> tuple[str, tuple[str, ...]]:
    """A sentence with all remedies, and their keys."""
    *others, last = remedies.values()
    sentence = f"{', '.join(others)}, or {last}." if others else f"{last}."
    return sentence[0].upper() + sentence[1:], tuple(remedies)


def _staged_empty(config: PipelineConfig, share_pct: float) -> Finding:
    longer = _longer("cwt", config)
    return Finding(
        "staged-empty",
        "evaluation",
        f"{share_pct:.1f} % of the staged answers are empty: the cwt student stops right after [answer]. "
        "It mistakes [answer] for the marker of a chunk, or has learned to stop after the last chunk.",
        f"Raise cwt.optim.marker_lr_stds, use another student.marker_start, or train longer ({longer}).",
        ("cwt.optim.marker_lr_stds", "student.marker_start", longer),
    )


def _no_answer(config: PipelineConfig, errors: str, stages: Sequence[str]) -> Finding:
    keys = _all_longer(config, stages)
    return Finding(
        "no-answer",
        "evaluation",
        f"Many answers lack --> followed by an answer: {errors}. They count as wrong.",
        f"Train longer ({', '.join(keys)}). If they also reach the length limit, fix that first.",
        keys,
    )


def _answers_endless(at_limit: str, loops: str, config: PipelineConfig, stages: Sequence[str]) -> Finding:
    seen, remedy, keys = [], "", _all_longer(config, stages)
    longer = f"Train longer ({', '.join(keys)}) if the student repeats itself."
    if at_limit:
        limit = "evaluation.max_new_tokens"
        seen, keys = [f"reach the length limit: {at_limit}"], (limit, *keys)
        remedy = f"Raise {limit} (now {config.evaluation.max_new_tokens}) if the rationales are longer. "
        if config.cwt.num_chunks == "steps":
            remedy = f"Staged answers that never write an empty chunk count too. {remedy}"
    if loops:
        seen.append(f"repeat themselves: {loops}")
    text = f"Many answers do not end properly. They {'; they '.join(seen)}."
    return Finding("answers-endless", "evaluation", text, remedy + longer, keys)


def _memorised(stage: str, config: PipelineConfig, accuracy_pct: float, trained: Summary) -> Finding:
    longer, own = _longer(stage, config), f"{stage}.epochs"
    shorter, keys = f"lower {own}", (own,)
    if longer == "updates":
        shorter, keys = "lower updates", ("updates",)
    elif longer != own:
        shorter, keys = f"set match epochs, and {own} lower than that", ("match", own)
    return Finding(
        "memorised",
        "evaluation",
        f"The {stage} student knows its training data by heart ({trained['final_loss_nats']:.4f} nats per "
        f"target token after {trained['epochs']:,} epochs), but answers only {accuracy_pct:.1f} % of the "
        "unseen questions.",
        "Train on more rationales (a teacher writes several per question with rationales.teacher.samples), "
        f"or train less: {shorter}.",
        ("rationales.teacher.samples", *keys),
    )
