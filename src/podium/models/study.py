"""What a study tries: every architecture gets the same budget of images, the same sampler and the same pruner.

What trial n tries, and after which epoch it is given up, is a function of the study's settings, of n and of the trials
of *earlier batches*. Nothing is kept between two trials: Optuna's study is rebuilt in memory for each from what those
before it found. So it does not matter which process runs a trial, when, or how often it was begun and killed.
Depends on Optuna.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState
from pydantic import ValidationError

from podium.config.models import ModelConfig
from podium.config.train import Choices, Range, Span, Tune, Value
from podium.data.randomness import number as seed_of
from podium.records.training import EpochResult, State, TrialResult

EDGE = 0.02
"""Share of a range, at either end, in which a chosen value makes one doubt the range."""

_ATTEMPTS = 20  # to draw values that were not tried yet; the second half of them without regard to what was found
_NAME = "study"  # Hyperband draws a trial's bracket from the study's name and the trial's number
_RUNG = "completed_rung_"  # how Optuna's successive halving notes what a trial had reached where others are compared
_STATES = {"finished": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "diverged": TrialState.PRUNED}


@dataclass(frozen=True)
class Study:
    """What is searched.

    Attributes:
        config: whose own values are the first guess.
        spans: by dotted key; all that lies in them are values the model can take (`Params` checks that).
        tune: trials, epochs, pruner, batches.
        seed: of the experiment.
        warm_start: values to try first, before the first guess; what one lacks is completed by the model's own.
    """

    config: ModelConfig
    spans: Mapping[str, Span]
    tune: Tune
    seed: int
    warm_start: Sequence[Mapping[str, Value]] = ()

    @property
    def budget(self) -> int:
        """Epochs the study may train for: `trials` times `epochs`; fewer where fewer trials can differ."""
        return int(min(self.tune.trials, self._combinations())) * self.tune.epochs

    def next_batch(self, results: Sequence[TrialResult]) -> range:
        """Numbers of the trials to run next, all of them at once; empty when the study is over.

        What earlier trials did not use of `trials` times `epochs` is spent on further ones, as long as a whole trial
        fits and there are values that were not tried; but not where no trial came to an end.

        Args:
            results: of all earlier batches, by number.
        """
        first = len(results)
        if first >= self.tune.trials and all(result.state != "finished" for result in results):
            return range(first, first)
        spent = sum(result.epochs_begun for result in results)
        fit = max(0, self.tune.trials * self.tune.epochs - spent) // self.tune.epochs
        untried = self._combinations() - len({tuple(sorted(result.parameters.items())) for result in results})
        return range(first, first + int(min(self.tune.together, fit, untried)))

    def ask(self, earlier: Sequence[TrialResult], number: int) -> "Trial":
        """What a trial tries, given all trials of earlier batches; the same answer however often it is asked."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        tried = [result.parameters for result in earlier]
        for beside in range(len(earlier), number + 1):  # those of the same batch come first, and are avoided as well
            for attempt in range(_ATTEMPTS):
                trial = self._trial(earlier, beside, attempt)
                if trial.parameters not in tried:  # tried again it would find the same, to the last digit
                    break
            tried.append(trial.parameters)
        return trial

    def _trial(self, earlier: Sequence[TrialResult], number: int, attempt: int) -> "Trial":
        distributions = {key: self._distribution(key) for key in sorted(self.spans)}
        # a sampler that went on from an earlier trial could not be restored: each trial has a fresh one
        seed = seed_of(self.seed, "trial", number) + attempt
        sampler: optuna.samplers.BaseSampler = (
            optuna.samplers.TPESampler(n_startup_trials=self.tune.startup_trials, seed=seed, constant_liar=False)
            if attempt < _ATTEMPTS // 2
            else optuna.samplers.RandomSampler(seed=seed)
        )
        study = optuna.create_study(study_name=_NAME, sampler=sampler, pruner=self._pruner())
        study.add_trials(_frozen(result, distributions) for result in earlier)
        unknown = optuna.trial.create_trial(state=TrialState.FAIL)  # holds the number of one of the same batch
        study.add_trials([unknown] * (number - len(earlier)))
        guesses = self.guesses()
        if number < len(guesses):
            study.enqueue_trial(guesses[number])
        return Trial(study, study.ask(distributions), self.tune.epochs)

    def guesses(self) -> list[dict[str, Value]]:
        """What the first trials try: the warm starts, then the model's own values, each of them once.

        A key whose own value lies outside what is searched is left out: the sampler chooses it.
        """
        found = ((key, self.config.value_at(key)) for key in sorted(self.spans))
        own = {key: value for key, value in found if value is not None and self.spans[key].holds(value)}
        guesses: list[dict[str, Value]] = []
        for values in [*({**own, **values} for values in self.warm_start), own]:
            if values and values not in guesses:
                guesses.append(values)
        return guesses

    def at_the_edge(self, parameters: Mapping[str, Value]) -> list[str]:
        """Sorted keys whose chosen value lies at an end of its range or grid, which could be widened there.

        A value at an end beyond which the recipe allows nothing (a dropout of 0, one neighbour) is not among them.
        """
        return [key for key in sorted(parameters) if self._lies_at_an_end(key, parameters[key])]

    def _lies_at_an_end(self, key: str, value: Value) -> bool:
        ends = self.spans[key].ends
        if ends is None or not isinstance(value, int | float):
            return False
        log = self._is_logarithmic(key)
        low, high, at = (math.log(x) for x in (*ends, value)) if log else (*ends, value)
        place = (at - low) / (high - low)
        if EDGE < place < 1 - EDGE:
            return False
        beyond = _beyond(ends, log=log, upper=place > 0.5, whole=self.config.type_at(key, "search") is int)
        try:
            self.config.with_values({key: beyond})
        except ValidationError:
            return False
        return True

    def _is_logarithmic(self, key: str) -> bool:
        """Whether a range is searched by its logarithm; of a grid, whether all of it has one."""
        span = self.spans[key]
        return span.log if isinstance(span, Range) else span.ends is not None and span.ends[0] > 0

    def _combinations(self) -> float:
        """How many trials there can be that differ; infinite where a key takes any number of a range."""
        return math.prod(
            len(span.choices)
            if isinstance(span, Choices)
            else round(span.high) - round(span.low) + 1
            if self.config.type_at(key, "search") is int
            else math.inf
            for key, span in self.spans.items()
        )

    def _distribution(self, key: str) -> BaseDistribution:
        span = self.spans[key]
        if isinstance(span, Choices):
            return CategoricalDistribution(span.choices)
        if self.config.type_at(key, "search") is int:
            return IntDistribution(round(span.low), round(span.high), log=span.log)
        return FloatDistribution(span.low, span.high, log=span.log)

    def _pruner(self) -> optuna.pruners.BasePruner:
        if self.tune.pruner == "median":
            return optuna.pruners.MedianPruner(n_startup_trials=self.tune.startup_trials)
        if self.tune.pruner == "hyperband":  # Li et al. 2018, in its asynchronous form (Li et al. 2020)
            return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=self.tune.epochs)
        return optuna.pruners.NopPruner()


class Trial:
    """One trial under way: its values, and Optuna's judgement of its epochs."""

    def __init__(self, study: optuna.Study, trial: optuna.Trial, epochs: int) -> None:
        """See `Study.ask`."""
        self._study, self._trial, self._epochs = study, trial, epochs
        self._rows: list[EpochResult] = []

    @property
    def parameters(self) -> dict[str, Value]:
        """Values by dotted key, sorted."""
        return {key: self._trial.params[key] for key in sorted(self._trial.params)}

    def report(self, row: EpochResult) -> None:
        """Takes note of an epoch.

        Raises:
            TrialPruned: the trial is not worth another one.
        """
        self._rows.append(row)
        self._trial.report(row.val_loss, row.epoch)
        if row.epoch < self._epochs and self._trial.should_prune():
            raise optuna.TrialPruned

    def result(self, state: State) -> TrialResult:
        """What the trial found."""
        noted = self._study.get_trials(deepcopy=False)[self._trial.number].system_attrs
        return TrialResult(
            number=self._trial.number,
            state=state,
            parameters=self.parameters,
            epochs=tuple(self._rows),
            rungs={key: value for key, value in noted.items() if key.startswith(_RUNG)},
        )


def _beyond(ends: tuple[float, float], *, log: bool, upper: bool, whole: bool) -> float:
    """A value a little outside: a tenth of the width (in logs), or the next whole number."""
    (low, high), sign = ends, 1 if upper else -1
    end = high if upper else low
    if whole:
        return end + sign
    return float(end * (high / low) ** (0.1 * sign)) if log else end + 0.1 * sign * (high - low)


def _frozen(result: TrialResult, distributions: Mapping[str, BaseDistribution]) -> FrozenTrial:
    best = result.best
    return optuna.trial.create_trial(
        state=_STATES[result.state],
        value=best.val_loss if best is not None and result.state == "finished" else None,
        params=result.parameters,
        distributions=dict(distributions),
        intermediate_values={row.epoch: row.val_loss for row in result.epochs},
        system_attrs=dict(result.rungs),
    )
