"""Compares our answer checks with math-verify and Fine-tune-CoT, on generated pairs and real rationales.

    python -m benchmarks.bench_answers                       # built-in golds
    python -m benchmarks.bench_answers --data FOLDER         # and real golds, teacher answers and rationales

benchmarks/answer_pairs.py makes the pairs. math-verify gets each answer unchanged, or between dollar signs if
it contains LaTeX. A false equal keeps a wrong rationale for training; a false unequal drops a right one.
Milliseconds are CPU time per answer pair or rationale, after a warm-up call. The last line is one JSON
document. Needs `pip install math-verify`.
"""

import argparse
import json
import logging
import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from math_verify import ExprExtractionConfig, LatexExtractionConfig, StringExtractionConfig, parse, verify
from rich.console import Console
from rich.table import Table

from benchmarks.answer_pairs import TEACHER_NUMBERS, Pair, built_in, from_data
from skipthink_ray.tasks.answers import same_answer
from skipthink_ray.tasks.conclusions import conclusion

SYMBOLIC = (  # gold, an equal answer, a different answer
    (r"\sqrt{2}", r"\frac{2}{\sqrt{2}}", r"\sqrt{3}"),
    (r"\frac{\pi}{4}", r"\pi/4", r"\frac{\pi}{2}"),
    (r"x^2+1", r"1+x^2", r"x^2-1"),
    (r"(x+1)^2", r"x^2+2x+1", r"x^2+1"),
    (r"(3, \infty)", r"x > 3", r"[3, \infty)"),
    (r"\{1, 2\}", r"\{2, 1\}", r"\{1, 3\}"),
    (r"2\sqrt{3}", r"\sqrt{12}", r"3\sqrt{2}"),
    (r"\frac{a}{b}", r"a/b", r"\frac{b}{a}"),
    (r"3+2i", r"2i+3", r"3-2i"),
    (r"e^{2}", r"e^2", r"2e"),
)
"""Answers that are not rational numbers. The kind `number` reads the irrational ones and rejects the others.
"""
NUMBERS = [LatexExtractionConfig(), ExprExtractionConfig()]
CHOICES = [StringExtractionConfig(strings=("A", "B", "C", "D", "E"))]
Judge = Callable[[str, str, str], bool]


def math_verify_judge(kind: str, predicted: str, gold: str) -> bool:
    targets = CHOICES if kind == "choice" else NUMBERS
    return verify(
        parse(_dressed(gold) if kind == "formula" else gold, targets),
        parse(_dressed(predicted, kind), targets),
    )


def _dressed(text: str, kind: str = "formula") -> str:
    """The text between dollar signs if it contains LaTeX or is a formula."""
    return f"${text}$" if "$" not in text and ("\\" in text or kind == "formula") else text


def fine_tune_cot_judge(kind: str, predicted: str, gold: str) -> bool:
    """The rules of Ho et al.: the first number, or the first capital letter."""
    if kind == "choice":
        return re.sub("[^A-E]", "", predicted)[:1] == gold
    found = re.search(r"-?\d+(\.\d+)?", predicted.replace(",", ""))
    wanted = re.search(r"-?\d+(\.\d+)?", gold.replace(",", ""))
    return bool(found and wanted) and abs(float(found[0]) - float(wanted[0])) <= 1e-6


def our_judge(kind: str, predicted: str, gold: str) -> bool:
    return same_answer("choice" if kind == "choice" else "number", predicted, gold)


JUDGES: dict[str, Judge] = {
    "ours": our_judge,
    "math-verify": math_verify_judge,
    "Fine-tune-CoT": fine_tune_cot_judge,
}


def judge_pairs(pairs: list[Pair], judge: Judge) -> dict[str, float]:
    """Shares of false verdicts in %, and CPU milliseconds per pair."""
    judge(pairs[0].kind, pairs[0].predicted, pairs[0].gold)
    start, wrong = time.process_time(), Counter[tuple[str, bool]]()
    for pair in pairs:
        if judge(pair.kind, pair.predicted, pair.gold) != pair.equal:
            wrong[pair.sort, pair.equal] += 1
    spent = time.process_time() - start
    counts = Counter((pair.sort, pair.equal) for pair in pairs)

    def percent(sort: str, equal: bool) -> float:
        return round(100 * wrong[sort, equal] / max(1, counts[sort, equal]), 1)

    return {
        "false_unequal_pct": percent("same", True),
        "false_equal_other_pct": percent("other", False),
        "false_equal_part_pct": percent("part", False),
        "ms": round(1000 * spent / len(pairs), 2),
    }


def failing_forms(pairs: list[Pair], judge: Judge, share: float = 0.8) -> str:
    """The forms of equal pairs that a judge rejects in at least this share of cases."""
    counts = Counter(pair.form for pair in pairs if pair.equal)
    missed = Counter(
        pair.form for pair in pairs if pair.equal and not judge(pair.kind, pair.predicted, pair.gold)
    )
    return ", ".join(
        sorted(form for form in missed if missed[form] >= share * counts[form] and counts[form] > 3)
    )


def judge_rationales(folder: Path) -> dict[str, dict[str, float]]:
    """Verdicts and conclusions on real teacher answers and rationales of the arithmetic benchmarks."""
    rows = [
        json.loads(line)
        for name in TEACHER_NUMBERS
        for line in (folder / "teacher" / f"{name}.jsonl").open(encoding="utf-8")
    ]
    asked = [row for row in rows if row["teacher_answer"]]
    verdicts = {
        name: [judge("number", row["teacher_answer"], row["answer"]) for row in asked]
        for name, judge in JUDGES.items()
    }
    readers = {"ours": lambda text: conclusion("number", text) or "", "math-verify": lambda text: text}
    measured: dict[str, dict[str, float]] = {}
    for name, reader in readers.items():
        start = time.process_time()
        agree = sum(JUDGES[name]("number", reader(row["rationale"]), row["teacher_answer"]) for row in asked)
        spent = time.process_time() - start
        measured[name] = {
            "rationales": len(asked),
            "right_pct": round(100 * sum(verdicts[name]) / len(asked), 2),
            "verdicts_as_ours_pct": round(
                100
                * sum(map(lambda one, other: one == other, verdicts[name], verdicts["ours"]))
                / len(asked),
                2,
            ),
            "concludes_as_answered_pct": round(100 * agree / len(asked), 1),
            "ms": round(1000 * spent / len(asked), 2),
        }
    return measured


def symbolic_pairs() -> list[Pair]:
    same = [Pair("formula", predicted, gold, True, "same", "") for gold, predicted, _ in SYMBOLIC]
    return same + [Pair("formula", predicted, gold, False, "other", "") for gold, _, predicted in SYMBOLIC]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, help="folder with teacher/*.jsonl and gsm8k/test.jsonl")
    parser.add_argument("--most", type=int, default=100, help="number of golds per real file")
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)  # math-verify logs every unreadable text
    pairs = built_in() + (from_data(arguments.data, most=arguments.most) if arguments.data else [])
    sets = {
        "number": [pair for pair in pairs if pair.kind == "number"],
        "choice": [pair for pair in pairs if pair.kind == "choice"],
        "formula": symbolic_pairs(),
    }
    result: dict[str, object] = {"pairs": {kind: len(chosen) for kind, chosen in sets.items()}}
    for kind, chosen in sets.items():
        judges = {
            name: judge for name, judge in JUDGES.items() if kind != "formula" or name != "Fine-tune-CoT"
        }
        measured = {name: judge_pairs(chosen, judge) for name, judge in judges.items()}
        show(f"{len(chosen)} pairs of kind {kind}", measured)
        result[kind] = measured
        if kind == "number":
            print("Forms that math-verify judges wrongly:", failing_forms(chosen, math_verify_judge))
    if arguments.data:
        result["rationales"] = judge_rationales(arguments.data)
        show("Real arithmetic rationales", result["rationales"])  # type: ignore[arg-type]
    print(json.dumps(result))


def show(title: str, measured: dict[str, dict[str, float]]) -> None:
    table = Table("judge", *next(iter(measured.values())), title=title)
    for name, values in measured.items():
        table.add_row(name, *map(str, values.values()))
    Console().print(table)


if __name__ == "__main__":
    main()
