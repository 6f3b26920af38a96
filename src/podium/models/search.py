"""A study of recipe values: every architecture gets the same trials, the same epochs and the same engine.

What trial n tries is a function of (seed, n) and of the trials finished before it, so a killed study that is resumed
ends like an uninterrupted one: a trial that was under way is thrown away and tried again under the same number, the
finished ones are kept in Optuna's journal and not repeated. Depends on the engine and Optuna.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from podium.core.config.contender import Contender
from podium.core.config.dotted import field_at, inside, value_at
from podium.core.config.tuning import Choices, Span, Tune, Value
from podium.core.records.training import EpochResult
from podium.data.randomness import number
from podium.models.engine import Diverged

Pruned = optuna.TrialPruned
"""What a report raises to end a trial that is worse than the median."""

State = Literal["finished", "pruned", "diverged"]

_JOURNAL = "journal.log"
_STATE, _EPOCHS = "state", "epochs"


@dataclass(frozen=True)
class TrialResult:
    """One trial that came to an end.

    Attributes:
        number: from 0, without gaps.
        state: finished; pruned (worse than the median at an epoch); diverged (the loss was no number).
        parameters: values by recipe key.
        epochs: finished epochs; at least one unless it diverged in the first.
    """

    number: int
    state: State
    parameters: dict[str, Value]
    epochs: tuple[EpochResult, ...]

    @property
    def best(self) -> EpochResult | None:
        """The epoch with the lowest validation loss."""
        return min(self.epochs, key=lambda row: (row.val_loss, row.epoch), default=None)


Report = Callable[[EpochResult], None]
Objective = Callable[[int, dict[str, Value], Report], None]
"""(number, parameters, report) -> None: runs one trial, reports each epoch, lets what `report` raises pass through."""


@dataclass(frozen=True)
class Study:
    """What is searched.

    Attributes:
        contender: whose own values are the first guess.
        spans: by dotted key; all that lies in them are values the contender can take (`Params` checks that).
        tune: trials, epochs, startup trials.
        seed: of the experiment.
        warm_start: values to try first, before the first guess.
    """

    contender: Contender
    spans: Mapping[str, Span]
    tune: Tune
    seed: int
    warm_start: Sequence[Mapping[str, Value]] = ()

    def run(self, folder: Path, objective: Objective, after_trial: Callable[[TrialResult], None]) -> list[TrialResult]:
        """Runs the trials that are still missing.

        Args:
            folder: of the journal; claimed by this process.
            objective: runs one trial.
            after_trial: told of each trial that ends now, after it is safe in the journal.

        Returns:
            All trials, by number.
        """
        study = self._open(folder)
        results = [_result(i, trial) for i, trial in enumerate(_ended(study))]
        while len(results) < self.tune.trials:
            result = self._one(study, len(results), objective)
            results.append(result)
            after_trial(result)
        return results

    def _open(self, folder: Path) -> optuna.Study:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(_mended(folder / _JOURNAL)))),
            study_name="study",
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(n_startup_trials=self.tune.startup_trials),
        )
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            study.tell(trial.number, state=TrialState.FAIL)  # under way when the process was killed
        return study

    def _one(self, study: optuna.Study, index: int, objective: Objective) -> TrialResult:
        # a sampler that went on from an earlier trial could not be restored: each trial has a fresh one
        study.sampler = optuna.samplers.TPESampler(
            n_startup_trials=self.tune.startup_trials, seed=number(self.seed, "trial", index)
        )
        if index == 0 and not study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            study.enqueue_trial(self._first_guess())
        trial = study.ask()
        parameters = {key: self._suggest(trial, key) for key in sorted(self.spans)}
        rows: list[EpochResult] = []

        def report(row: EpochResult) -> None:
            rows.append(row)
            trial.report(row.val_loss, row.epoch)
            if row.epoch < self.tune.epochs and trial.should_prune():
                raise Pruned

        state: State = "finished"
        try:
            objective(index, parameters, report)
        except Pruned:
            state = "pruned"
        except Diverged:
            state = "diverged"
        trial.set_user_attr(_STATE, state)
        trial.set_user_attr(_EPOCHS, [row.model_dump() for row in rows])
        if state == "finished":
            study.tell(trial, min(row.val_loss for row in rows))
        else:
            study.tell(trial, state=TrialState.PRUNED)
        return _result(index, study.get_trials(deepcopy=False)[trial.number])

    def _first_guess(self) -> dict[str, Value]:
        """The contender's own values, where they lie in what is searched."""
        own = {key: value_at(self.contender, key) for key in sorted(self.spans)}
        return {key: value for key, value in own.items() if value is not None and inside(self.spans[key], value)}

    def _suggest(self, trial: optuna.Trial, key: str) -> Value:
        span = self.spans[key]
        if isinstance(span, Choices):
            chosen: Value = trial.suggest_categorical(key, span.choices)
            return chosen
        if field_at(key, "search") is int:
            return int(trial.suggest_int(key, round(span.low), round(span.high), log=span.log))
        return float(trial.suggest_float(key, span.low, span.high, log=span.log))


def winner(results: Iterable[TrialResult]) -> TrialResult | None:
    """The finished trial with the lowest validation loss, the earliest of equals; None where none finished."""
    finished = [result for result in results if result.state == "finished"]
    return min(finished, key=lambda result: (_lowest(result), result.number), default=None)


def _lowest(result: TrialResult) -> float:
    return min((row.val_loss for row in result.epochs), default=math.inf)


def _ended(study: optuna.Study) -> list[FrozenTrial]:
    ended: list[FrozenTrial] = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
    return ended


def _result(index: int, trial: FrozenTrial) -> TrialResult:
    return TrialResult(
        number=index,
        state=trial.user_attrs[_STATE],
        parameters={key: trial.params[key] for key in sorted(trial.params)},
        epochs=tuple(EpochResult.model_validate(row) for row in trial.user_attrs[_EPOCHS]),
    )


def _mended(journal: Path) -> Path:
    """Drops a line that a kill cut in half, and the lock of a process that is gone (the folder is ours alone)."""
    journal.with_name(f"{journal.name}.lock").unlink(missing_ok=True)
    if journal.is_file():
        data = journal.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            with journal.open("r+b") as stream:
                stream.truncate(whole)
    return journal
