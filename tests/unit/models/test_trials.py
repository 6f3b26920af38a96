"""A study ends the same whatever is killed, and however many processes run it; toy trials that train nothing."""

import contextlib
import multiprocessing
import os
import signal
import time

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from podium.config.train import Tune
from podium.console.process import Terminated, stoppable
from podium.core.errors import ModelError, PodiumError
from podium.models.callbacks import Callback
from podium.models.study import Study
from podium.models.trials import run_trials
from podium.records.training import TrialResult
from tests.small_splits import SEARCH, a_config
from tests.unit.models.toy_study import EPOCHS, endless, objective

GENERATED = [Phase.explicit, Phase.generate]


class Killed(BaseException):
    """Stands for the end of the process."""


class Listening(Callback):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.epochs: list[tuple[int, int]] = []
        self.over: list[int] = []

    def on_trial_begin(self, number, parameters) -> None:
        self.begun.append(number)

    def on_epoch_end(self, row, seconds, trial=None) -> None:
        self.epochs.append((trial, row.epoch))

    def on_trial_end(self, result) -> None:
        self.over.append(result.number)


def study(together: int = 1, pruner="hyperband", trials: int = 5) -> Study:
    settings = Tune(trials=trials, epochs=EPOCHS, startup_trials=2, together=together, pruner=pruner, search={})
    return Study(a_config(), SEARCH, settings, 0)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[int, list[TrialResult]]:
    folders = {together: tmp_path_factory.mktemp("whole") for together in (1, 3)}
    return {n: run_trials(study(n), folder, objective) for n, folder in folders.items()}


@given(
    kills=st.lists(st.tuples(st.integers(0, 9), st.integers(0, EPOCHS)), min_size=1, max_size=4),
    together=st.sampled_from([1, 3]),
)
@settings(max_examples=10, derandomize=True, phases=GENERATED)
def test_killed_anywhere_a_study_ends_the_same_and_repeats_no_finished_trial(tmp_path_factory, whole, kills, together):
    folder, listening = tmp_path_factory.mktemp("killed"), Listening()
    for number, epoch in kills:

        def dying(n, parameters, callback, number=number, epoch=epoch) -> None:
            if (n, epoch) == (number, 0):
                raise Killed

            class Killing(Callback):
                def on_epoch_end(self, row, seconds, trial=None) -> None:
                    callback.on_epoch_end(row, seconds)
                    if (n, row.epoch) == (number, epoch):
                        raise Killed

            objective(n, parameters, Killing())

        with contextlib.suppress(Killed):
            run_trials(study(together), folder, dying, [listening])
    assert run_trials(study(together), folder, objective, [listening]) == whole[together]
    assert listening.over == list(range(len(whole[together])))


@given(lost=st.sets(st.integers(0, 9)), together=st.sampled_from([1, 3]))
@settings(max_examples=10, derandomize=True, phases=GENERATED)
def test_trials_that_are_not_in_the_journal_are_run_again_and_no_others(tmp_path_factory, whole, lost, together):
    """Of a batch whose trials ran side by side any may have ended when the process was killed."""
    folder = tmp_path_factory.mktemp("lost")
    run_trials(study(together), folder, objective)
    missing = [number for number in sorted(lost) if number < len(whole[together])]
    for number in missing:
        (folder / f"trial-{number:05d}.json").unlink()
    listening = Listening()
    assert run_trials(study(together), folder, objective, [listening]) == whole[together]
    assert listening.begun == missing


def test_a_larger_study_begins_like_a_smaller_one(tmp_path_factory, whole):
    larger = run_trials(study(trials=9), tmp_path_factory.mktemp("larger"), objective)
    assert len(larger) > len(whole[1])
    assert larger[: len(whole[1])] == whole[1]


def fragile(number, parameters, callback) -> None:
    """Trial 4 cannot be run."""
    if number == 4:
        raise ModelError("the disk has gone")
    objective(number, parameters, callback)


def deadly(number, parameters, callback) -> None:
    """Trial 4 is ended from outside."""
    if number == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    objective(number, parameters, callback)


def test_a_stopped_study_does_not_wait_for_the_trials_that_run(tmp_path):
    class Stopping(Callback):
        def on_epoch_end(self, row, seconds, trial=None) -> None:
            os.kill(os.getpid(), signal.SIGTERM)

    begun = time.monotonic()
    with pytest.raises(Terminated), stoppable():
        run_trials(study(together=2), tmp_path, endless, [Stopping()], processes=2)
    assert time.monotonic() - begun < 300
    assert multiprocessing.active_children() == []


def test_trials_side_by_side_give_the_same_results_and_all_is_told(tmp_path_factory):
    """What fails and what is ended from outside takes nothing along that was finished."""
    asked, folder = study(together=3, trials=6), tmp_path_factory.mktemp("side_by_side")
    whole = run_trials(asked, tmp_path_factory.mktemp("alone"), objective)
    with pytest.raises(ModelError, match="the disk has gone"):
        run_trials(asked, folder, fragile, processes=3)
    assert {int(path.stem.removeprefix("trial-")) for path in folder.glob("*.json")} == {0, 1, 2, 3, 5}
    with pytest.raises(PodiumError, match=r"ended from outside.*resources\.trials_at_once"):
        run_trials(asked, folder, deadly, processes=2)
    listening = Listening()
    results = run_trials(asked, folder, objective, [listening], processes=3)
    assert results == whole
    assert sorted(listening.begun) == [4, *range(6, len(results))]
    assert sorted(listening.over) == sorted(listening.begun)
    for number in listening.begun:
        told = [epoch for n, epoch in listening.epochs if n == number]
        assert told == [row.epoch for row in results[number].epochs]
