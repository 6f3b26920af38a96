"""The studies on the page: what was spent, what was found, which ranges to doubt."""

import pandas as pd
import pytest
import yaml

from podium.config.params import load
from podium.core.errors import DataError
from podium.records.training import TuningResult
from podium.report import html as report
from podium.report.results import Results, read_results
from podium.report.studies import draw, studies
from tests.unit.report.test_html import Page

MODEL = "tiny_resnet"


def outcome_of(experiment) -> Results:
    return read_results(experiment.layout, load(experiment.layout.params))


def part_of(outcome: Results):
    return next(part for part in studies(outcome) if part.name == MODEL)


def search_more(experiment, trials: int = 14) -> None:
    """A study of three keys of every kind, whose best rate lies at the lower end."""
    raw = yaml.safe_load(experiment.layout.params.read_text(encoding="utf-8"))
    raw["models"][MODEL]["search"] = {
        "attention": {"choices": ["none", "se"]},
        "train.augment.flip": {"choices": [True, False]},
    }
    experiment.layout.params.write_text(yaml.safe_dump(raw), encoding="utf-8")
    folder = experiment.layout.tuning(MODEL)
    best = TuningResult.read(folder / "best.json")
    values = {"attention": "se", "train.augment.flip": False, "train.learning_rate": 3.0e-4}
    best.model_copy(
        update={
            "parameters": values,
            "trials": trials,
            "pruned": trials - 2,
            "images_budget": 1200,
            "images_seen": 1080,
            "at_the_edge": ["train.learning_rate"],
        }
    ).write(folder / "best.json")
    states = ["finished", "diverged", *["pruned"] * (trials - 3), "finished"]
    rows = [
        {
            "number": number,
            "state": state,
            "val_loss": None if state == "diverged" else 0.65 + 0.01 * number,
            "val_accuracy": None if state == "diverged" else 0.5,
            "epochs": {"finished": 2, "pruned": 1, "diverged": 0}[state],
            **values,
            "train.augment.flip": number % 2 == 1,
        }
        for number, state in enumerate(states)
    ]
    pd.DataFrame(rows).to_csv(folder / "trials.csv", index=False)


def test_budget_share_given_up_best_values_and_doubts_are_told(experiment):
    search_more(experiment)
    said = Page(report.render(outcome_of(experiment))).said()
    for text in (
        "1 080 of 1 200 images (90.0%), in 14 trials of at most 2 epochs",
        "12 of 14 (85.7%)",
        "trial 0, validation loss 0.650: attention se, train.augment.flip False, train.learning_rate 0.0003",
        "Warning The best train.learning_rate, 0.0003, lies at an end of what was searched (0.0003 to 0.006): ",
        "and 6 more in trials.csv",
    ):
        assert text in said, text


def test_trials_are_sorted_with_the_best_first_and_those_without_a_loss_last(experiment):
    search_more(experiment, trials=6)
    part = part_of(outcome_of(experiment))
    assert [(trial.number, trial.state) for trial in part.trials] == [
        (0, "finished"),
        (5, "finished"),
        (2, "pruned"),
        (3, "pruned"),
        (4, "pruned"),
        (1, "diverged"),
    ]
    assert part.keys == ("attention", "train.augment.flip", "train.learning_rate")
    assert part.trials[0].values == ("se", "False", "0.0003")
    assert part.trials[-1].val_loss is None


def test_parallel_coordinates_are_drawn_where_several_keys_were_searched(experiment, tmp_path):
    outcome = outcome_of(experiment)
    entry = next(c for c in outcome.models if c.name == MODEL)
    assert [path.name for path in draw(outcome, entry, tmp_path).values()] == ["course.png", "slices.png"]
    search_more(experiment)
    outcome = outcome_of(experiment)
    entry = next(c for c in outcome.models if c.name == MODEL)
    drawn = draw(outcome, entry, tmp_path)
    assert [path.name for path in drawn.values()] == ["course.png", "slices.png", "parallel_coordinates.png"]
    assert all(path.is_file() for path in drawn.values())


def test_a_study_of_another_search_is_refused(experiment):
    raw = yaml.safe_load(experiment.layout.params.read_text(encoding="utf-8"))
    raw["tune"]["search"] = {"train.weight_decay": {"low": 0.0, "high": 0.1}}
    experiment.layout.params.write_text(yaml.safe_dump(raw), encoding="utf-8")
    with pytest.raises(DataError, match=r"another search than params\.yaml asks for: run `dvc repro`"):
        studies(outcome_of(experiment))
