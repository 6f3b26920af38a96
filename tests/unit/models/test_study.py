"""What a study tries, which trials it gives up, how its budget is spent: from toy trials that train nothing."""

import pytest
from optuna import TrialPruned

from podium.config.models import ModelSection
from podium.config.train import Choices, Loss, Range, Span, Train, Tune, Value
from podium.models.study import Study
from podium.models.trials import run_trials, winner
from podium.records.training import TrialResult
from tests.small_splits import a_config
from tests.unit.models.toy_study import EPOCHS, objective, row

OWN = a_config(recipe=Train(epochs=10, batch_size=8, learning_rate=0.01))
SPANS: dict[str, Span] = {
    "train.learning_rate": Range(low=1e-4, high=1.0, log=True),
    "train.weight_decay": Range(low=0, high=0.1),
}
MIXED: dict[str, Span] = {
    **SPANS,
    "attention": Choices(choices=("none", "se", "cbam")),
    "train.augment.flip": Choices(choices=(True, False)),
    "train.batch_size": Range(low=4, high=64, log=True),
    "train.loss.label_smoothing": Choices(choices=(0.0, 0.1)),
}


def study(spans: dict[str, Span] = SPANS, seed: int = 0, own=OWN, warm_start=(), **tune) -> Study:
    settings = {"trials": 8, "epochs": EPOCHS, "startup_trials": 2, **tune}
    return Study(own, spans, Tune(**settings, search={}), seed, warm_start)


def run(tmp_path_factory: pytest.TempPathFactory, asked: Study) -> list[TrialResult]:
    return run_trials(asked, tmp_path_factory.mktemp("study"), objective)


def first(asked: Study, number: int = 0) -> dict[str, Value]:
    return asked.ask((), number).parameters


def spent(results: list[TrialResult]) -> int:
    return sum(result.epochs_begun for result in results)


@pytest.mark.parametrize("pruner", ["median", "hyperband", "none"])
def test_trials_differ_by_seed_and_repeat_with_it(tmp_path_factory, pruner):
    one, again, other = (run(tmp_path_factory, study(seed=seed, pruner=pruner)) for seed in (0, 0, 1))
    assert one == again
    assert one != other
    assert len({result.parameters["train.learning_rate"] for result in one}) == len(one)


@pytest.mark.parametrize("pruner", ["median", "hyperband", "none"])
@pytest.mark.parametrize("together", [1, 3])
def test_every_study_spends_its_budget_and_not_more(tmp_path_factory, pruner, together):
    results = run(tmp_path_factory, study(pruner=pruner, together=together))
    budget = 8 * EPOCHS
    assert budget - EPOCHS < spent(results) <= budget
    assert len(results) == 8 if pruner == "none" else len(results) > 8
    assert [result.number for result in results] == list(range(len(results)))


def test_where_no_trial_comes_to_an_end_the_study_does_not_go_on_for_ever(tmp_path_factory):
    wild: dict[str, Span] = {"train.learning_rate": Range(low=0.7, high=1.0)}
    results = run(tmp_path_factory, study(wild))
    assert len(results) == 8
    assert {result.state for result in results} == {"diverged"}
    assert winner(results) is None


def test_where_nothing_is_searched_one_trial_tells_all(tmp_path_factory):
    def steady(number, parameters, callback) -> None:
        callback.on_epoch_end(row(1, 1.0), 0.0)

    results = run_trials(study({}), tmp_path_factory.mktemp("study"), steady)
    assert [result.parameters for result in results] == [{}]


@pytest.mark.parametrize(
    ("spans", "trials"), [(SPANS, 8), ({}, 1), ({"attention": Choices(choices=("none", "se", "cbam"))}, 3)]
)
def test_the_budget_is_what_there_is_to_try(spans, trials):
    assert study(spans).budget == trials * EPOCHS


@pytest.mark.parametrize("together", [1, 2])
def test_where_few_values_can_be_chosen_none_is_tried_twice(tmp_path_factory, together):
    def by_words(number, parameters, callback) -> None:
        for epoch in range(1, EPOCHS + 1):
            callback.on_epoch_end(
                row(epoch, {"none": 3.0, "se": 2.0, "cbam": 1.0, "self": 0.5}[parameters["attention"]]), 0.0
            )

    spans: dict[str, Span] = {
        "attention": Choices(choices=("none", "se", "cbam", "self")),
        "train.batch_size": Range(low=8, high=9),
    }
    asked = study(spans, trials=20, together=together)
    results = run_trials(asked, tmp_path_factory.mktemp("study"), by_words)
    assert len({tuple(result.parameters.values()) for result in results}) == 8
    assert len(results) == 8 if together == 1 else len(results) >= 8


def test_every_kind_of_key_is_searched_with_values_of_its_own_type():
    asked = study(MIXED, own=OWN.model_copy(update={"attention": "self"}), trials=30)
    seen = [first(asked, number) for number in range(1, 30)]
    for values in seen:
        assert {key: type(value) for key, value in values.items()} == {
            "attention": str,
            "train.augment.flip": bool,
            "train.batch_size": int,
            "train.learning_rate": float,
            "train.loss.label_smoothing": float,
            "train.weight_decay": float,
        }
    assert {values["attention"] for values in seen} == {"none", "se", "cbam"}
    assert {values["train.augment.flip"] for values in seen} == {True, False}
    assert min(values["train.batch_size"] for values in seen) >= 4


def test_warm_starts_come_first_completed_by_the_contender_s_own_values():
    warm = [{"train.learning_rate": 0.03}, {"train.learning_rate": 0.5, "train.weight_decay": 0.1}]
    asked = study(warm_start=warm)
    assert [first(asked, number) for number in range(3)] == [
        {"train.learning_rate": 0.03, "train.weight_decay": 0.05},
        {"train.learning_rate": 0.5, "train.weight_decay": 0.1},
        {"train.learning_rate": 0.01, "train.weight_decay": 0.05},
    ]
    assert first(asked, 3) not in [first(asked, number) for number in range(3)]


def test_a_warm_start_equal_to_the_own_values_is_tried_once():
    asked = study(warm_start=[{"train.learning_rate": 0.01}])
    assert first(asked, 1)["train.learning_rate"] != 0.01


def test_own_values_outside_what_is_searched_are_drawn_instead():
    far = OWN.train.model_copy(update={"weight_decay": 0.5, "loss": Loss(label_smoothing=0.3)})
    values = first(study(MIXED, own=OWN.model_copy(update={"train": far})))
    assert values["train.learning_rate"] == 0.01
    assert 0 <= values["train.weight_decay"] <= 0.1
    assert values["train.loss.label_smoothing"] in (0.0, 0.1)


def test_trials_of_one_batch_know_nothing_of_each_other(tmp_path_factory):
    """Whatever trial 3 finds, 4 and 5 of its batch try and prune the same; 6 of the next one may not."""

    def other_third(number, parameters, callback) -> None:
        if number == 3:
            for epoch in range(1, EPOCHS + 1):
                callback.on_epoch_end(row(epoch, 0.001 * epoch), 0.0)
        else:
            objective(number, parameters, callback)

    asked = study(together=3)
    usual = run(tmp_path_factory, asked)
    unusual = run_trials(asked, tmp_path_factory.mktemp("study"), other_third)
    assert usual[:3] == unusual[:3]
    assert usual[3] != unusual[3]
    assert usual[4:6] == unusual[4:6]
    assert usual[6:] != unusual[6:]


def test_batches_change_what_is_tried(tmp_path_factory):
    assert run(tmp_path_factory, study(together=1)) != run(tmp_path_factory, study(together=3))


@pytest.mark.parametrize("pruner", ["median", "hyperband"])
def test_a_bad_trial_is_given_up_and_a_good_one_is_not(pruner):
    asked = study(pruner=pruner)
    earlier: list[TrialResult] = []
    for number in range(6):
        earlier.append(told(asked, earlier, number, loss=1 + 0.1 * number))
    good = [told(asked, earlier, number, loss=0.1) for number in range(6, 12)]
    bad = [told(asked, earlier, number, loss=50.0) for number in range(6, 12)]
    assert {result.state for result in good} == {"finished"}
    assert "pruned" in {result.state for result in bad}
    assert min(len(result.epochs) for result in bad) == 1


def told(asked: Study, earlier: list[TrialResult], number: int, loss: float) -> TrialResult:
    """What comes of a trial whose losses are all the same."""
    trial = asked.ask(earlier, number)
    for epoch in range(1, EPOCHS + 1):
        try:
            trial.report(row(epoch, loss))
        except TrialPruned:
            return trial.result("pruned")
    return trial.result("finished")


def test_the_winner_is_the_lowest_finished_loss_and_the_earliest_of_equals():
    def result(number: int, state, *losses: float) -> TrialResult:
        epochs = tuple(row(i + 1, loss) for i, loss in enumerate(losses))
        return TrialResult(number=number, state=state, parameters={}, epochs=epochs)

    trials = [result(0, "finished", 0.5, 0.4), result(1, "pruned", 0.1), result(2, "finished", 0.4, 0.6)]
    assert winner([*trials, result(3, "diverged")]) == (trials[0], trials[0].epochs[1])
    assert winner([result(0, "diverged"), result(1, "pruned", 0.2)]) is None


@pytest.mark.parametrize(
    ("key", "value", "doubted"),
    [
        ("train.learning_rate", 1e-4, True),
        ("train.learning_rate", 1.15e-4, True),  # in logs 1.5 % from the end
        ("train.learning_rate", 2e-4, False),  # in logs 7.5 %, though 0.01 % of the width
        ("train.learning_rate", 0.97, True),
        ("train.weight_decay", 0.0985, True),
        ("train.weight_decay", 0.05, False),
        ("train.weight_decay", 0.0, False),  # nothing lies below
        ("train.batch_size", 4, True),
        ("train.batch_size", 64, True),
        ("train.batch_size", 16, False),
        ("attention", "none", False),  # words have no ends
        ("train.augment.flip", True, False),
        ("train.loss.label_smoothing", 0.1, False),  # nor have two numbers
    ],
)
def test_a_value_at_an_end_that_could_be_moved_is_told(key, value, doubted):
    assert study(MIXED).at_the_edge({key: value}) == ([key] if doubted else [])


@pytest.mark.parametrize(
    ("kind", "key", "value", "doubted"),
    [
        ("logistic_regression", "C", 1e-4, True),
        ("logistic_regression", "C", 0.1, False),
        ("logistic_regression", "C", 10.0, True),
        ("nearest_neighbours", "k", 1, False),  # fewer neighbours there are not
        ("nearest_neighbours", "k", 3, False),
        ("nearest_neighbours", "k", 50, True),
    ],
)
def test_the_end_of_a_probes_grid_is_told_too(kind, key, value, doubted):
    section = ModelSection(architecture=OWN.architecture, classifier=kind, weights="resnet18.a1_in1k")
    own = OWN.model_copy(update={"classifier": kind})
    assert study(dict([section.grid]), own=own).at_the_edge({key: value}) == ([key] if doubted else [])
