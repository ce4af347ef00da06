"""Trials drawn by Optuna, with a study per task: each draw depends on the results so far (TPE).

The records of a sweep are the only state. A sweep that continues tells its studies what they hold.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import optuna
from optuna.trial import TrialState

from skipthink_ray.config import PipelineConfig
from skipthink_ray.tuning.plan import TRIES_PER_SAMPLE, Trial, trial_of
from skipthink_ray.tuning.space import Draw, Space
from skipthink_ray.tuning.sweep import Sweep

optuna.logging.set_verbosity(optuna.logging.WARNING)
GOALS: dict[str, dict[str, Literal["maximize", "minimize"]]] = {
    "accuracy": {"accuracy_pct": "maximize"},
    "accuracy_and_tokens": {"accuracy_pct": "maximize", "tokens": "minimize"},
}


class Studies:
    """Gives the trials to run, one at a time: first those of an earlier process, then new ones by task."""

    def __init__(
        self, sweep: Sweep, space: Space, bases: Sequence[PipelineConfig], known: list[Trial], samples: int
    ) -> None:
        """known: the trials with a record. samples: trials per task, with the known ones."""
        self.again, self.left = sweep.to_run(known), dict[str, int]()
        self.studies = [_Study(sweep, space, base) for base in bases]
        for study in self.studies:
            of_task = [trial for trial in known if trial.task == study.base.task]
            study.learn(of_task)
            self.left[study.base.task] = max(0, samples - len(of_task))

    def __len__(self) -> int:
        return len(self.again) + sum(self.left.values())

    def next(self) -> Trial | None:
        """The next trial to run; None if there is none left."""
        if self.again:
            return self.again.pop(0)
        while any(self.left.values()):
            study = max(self.studies, key=lambda study: self.left[study.base.task])
            task = study.base.task
            if trial := study.draw():
                self.left[task] -= 1
                return trial
            self.left[task] = 0  # the space has no other trial
        return None

    def ended(self, trial: Trial) -> None:
        """Take the record of a trial into account."""
        for study in self.studies:
            if study.base.task == trial.task:
                study.tell(trial)


class _Study:
    """The draws of one task."""

    def __init__(self, sweep: Sweep, space: Space, base: PipelineConfig) -> None:
        self.sweep, self.space, self.base = sweep, space, base
        self.seen: set[str] = set()
        self.open: dict[str, optuna.Trial] = {}
        """Trials without a result, by key."""
        self.study = self._new_study()

    def _new_study(self) -> optuna.Study:
        search = self.space.search
        seed = int(np.random.SeedSequence((search.seed, len(self.seen))).generate_state(1)[0])
        sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
        return optuna.create_study(directions=[*GOALS[search.goals].values()], sampler=sampler)

    def learn(self, known: list[Trial]) -> None:
        """Start with trials that have a record. Another seed follows, so that no draw is repeated."""
        self.seen = {trial.key for trial in known}
        self.study = self._new_study()
        for trial in known:
            self.study.enqueue_trial(trial.drawn)
            asked = self.study.ask()
            self._drawn(asked)
            self.open[trial.key] = asked
            if not self.sweep.to_run([trial]):
                self.tell(trial)

    def draw(self) -> Trial | None:
        """A trial that is not known yet; None if the space seems to have no other."""
        for _ in range(TRIES_PER_SAMPLE):
            asked = self.study.ask()
            trial = trial_of(self.sweep.name, self.base, self.space, self._drawn(asked))
            if trial.key not in self.seen:
                self.seen.add(trial.key)
                self.open[trial.key] = asked
                return trial
            self.study.tell(asked, state=TrialState.FAIL)
        return None

    def tell(self, trial: Trial) -> None:
        """Learn from the record of a trial. One that was stopped early or diverged counts as the worst."""
        asked, record = self.open.pop(trial.key), self.sweep.records([trial]).get(trial.name)
        if record and record.is_done:
            names = [f"{self.space.choose.mode}_{name}" for name in GOALS[self.space.search.goals]]
            self.study.tell(asked, [record.numbers[name] for name in names])
        elif record and not record.again and len(self.study.directions) == 1:
            self.study.tell(asked, state=TrialState.PRUNED)
        else:
            self.study.tell(asked, state=TrialState.FAIL)

    def _drawn(self, asked: optuna.Trial) -> dict[str, Any]:
        drawn: dict[str, Any] = {}
        for key, draw in self.space.draw.items():
            if draw.applies(drawn):
                drawn[key] = _suggest(asked, key, draw)
        return drawn


def _suggest(asked: optuna.Trial, key: str, draw: Draw) -> Any:
    if draw.choice is not None:
        return asked.suggest_categorical(key, draw.choice)
    if draw.int_:
        return asked.suggest_int(key, *draw.int_)
    if draw.loguniform:
        return asked.suggest_float(key, *draw.loguniform, log=True)
    low, high = draw.uniform or (0.0, 1.0)
    return asked.suggest_float(key, low, high)
