"""Chooses a trial per task by its answers to dev questions."""

import math

from skipthink_ray.tuning.space import Choose
from skipthink_ray.tuning.sweep import Record


def choose(records: list[Record], rule: Choose) -> Record | None:
    """The chosen trial of one task; None if no trial is done.

    Among those within `within_standard_errors` of the highest accuracy: the fewest tokens, then the highest
    accuracy. The standard error is that of the best accuracy as a share of independent questions.
    """
    done = [record for record in records if record.is_done]
    if not done:
        return None

    def accuracy(record: Record) -> float:
        return record.numbers[f"{rule.mode}_accuracy_pct"]

    best = max(done, key=accuracy)
    share, questions = accuracy(best) / 100, best.numbers["questions"]
    error = 100 * math.sqrt(share * (1 - share) / questions)
    good = [
        record for record in done if accuracy(record) >= accuracy(best) - rule.within_standard_errors * error
    ]
    return min(
        good, key=lambda record: (record.numbers[f"{rule.mode}_tokens"], -accuracy(record), record.key)
    )
