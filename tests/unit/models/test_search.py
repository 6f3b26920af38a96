import contextlib

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from podium.core.config.recipe import Train
from podium.core.config.tuning import Range, Tune
from podium.core.errors import ParamsError
from podium.core.records.training import EpochResult
from podium.models.engine import Diverged
from podium.models.recipe import stretched, with_values
from podium.models.search import Study, TrialResult, winner

RECIPE = Train(epochs=10, batch_size=8, learning_rate=0.01)
RANGES = {"learning_rate": Range(low=1e-4, high=1.0, log=True), "weight_decay": Range(low=0, high=0.1)}


class Killed(BaseException):
    """Stands for the end of the process."""


def row(epoch: int, loss: float) -> EpochResult:
    return EpochResult(
        epoch=epoch, step=epoch, learning_rate=0, train_loss=0, train_accuracy=0, val_loss=loss, val_accuracy=0
    )


def study(trials: int = 8, seed: int = 0, ranges=RANGES, recipe: Train = RECIPE) -> Study:
    return Study(recipe, ranges, Tune(trials=trials, epochs=3, startup_trials=2, search={}), seed)


def objective(number, parameters, report) -> None:
    """A toy: best at a rate of 0.03; rates above 0.6 diverge."""
    rate = parameters["learning_rate"]
    if rate > 0.6:
        raise Diverged("the loss is nan")
    for epoch in (1, 2, 3):
        report(row(epoch, abs(rate - 0.03) + 1 / epoch))


def ignore(result: TrialResult) -> None:
    pass


def test_trials_differ_by_seed_and_repeat_with_it(tmp_path):
    runs = []
    for name, seed in [("a", 0), ("b", 0), ("c", 1)]:
        (tmp_path / name).mkdir()
        runs.append(study(seed=seed).run(tmp_path / name, objective, ignore))
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]
    assert len({result.parameters["learning_rate"] for result in runs[0]}) == 8
    assert runs[0][0].parameters == {"learning_rate": 0.01, "weight_decay": 0.05}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> list[TrialResult]:
    return study().run(tmp_path_factory.mktemp("whole"), objective, ignore)


@given(kills=st.lists(st.tuples(st.integers(0, 7), st.integers(0, 3)), min_size=1, max_size=4))
@settings(max_examples=6, deadline=None, derandomize=True, phases=[Phase.explicit, Phase.generate])
def test_killed_anywhere_a_study_ends_the_same_and_repeats_no_finished_trial(tmp_path_factory, whole, kills):
    folder, finished = tmp_path_factory.mktemp("killed"), []
    for number, epoch in kills:

        def dying(n, parameters, report, number=number, epoch=epoch) -> None:
            if (n, epoch) == (number, 0):
                raise Killed

            def told(r: EpochResult) -> None:
                report(r)
                if (n, r.epoch) == (number, epoch):
                    raise Killed

            objective(n, parameters, told)

        with contextlib.suppress(Killed):
            study().run(folder, dying, finished.append)
    assert study().run(folder, objective, finished.append) == whole
    assert [result.number for result in finished] == list(range(8))


def test_a_larger_study_begins_like_a_smaller_one(tmp_path, whole):
    assert study(4).run(tmp_path, objective, ignore) == whole[:4]


def test_values_outside_their_range_are_not_the_first_guess(tmp_path):
    results = study(1, recipe=RECIPE.model_copy(update={"weight_decay": 0.5})).run(tmp_path, objective, ignore)
    assert results[0].parameters["learning_rate"] == 0.01
    assert 0 <= results[0].parameters["weight_decay"] <= 0.1


def test_the_winner_is_the_lowest_finished_loss_and_the_earliest_of_equals():
    def result(number: int, state, *losses: float) -> TrialResult:
        return TrialResult(number, state, {}, tuple(row(i + 1, loss) for i, loss in enumerate(losses)))

    trials = [result(0, "finished", 0.5, 0.4), result(1, "pruned", 0.1), result(2, "finished", 0.4, 0.6)]
    assert winner([*trials, result(3, "diverged")]) == trials[0]
    assert winner([result(0, "diverged"), result(1, "pruned", 0.2)]) is None


def test_a_stretched_schedule_keeps_its_shares():
    recipe = Train(epochs=20, batch_size=8, schedule="step", step_epochs=10, warmup_epochs=2.0)
    short = stretched(recipe, 4)
    assert (short.epochs, short.step_epochs, short.warmup_epochs) == (4, 2, 0.4)


def test_tuned_values_are_checked_and_whole_where_they_must_be():
    changed = with_values(RECIPE, {"batch_size": 16.0, "dropout": 0.25})
    assert (changed.batch_size, changed.dropout, changed.learning_rate) == (16, 0.25, 0.01)
    with pytest.raises(ParamsError, match="dropout = 1.5"):
        with_values(RECIPE, {"dropout": 1.5})
    with pytest.raises(ParamsError, match="momentun"):
        with_values(RECIPE, {"momentun": 0.5})
