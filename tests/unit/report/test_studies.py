"""The studies on the page: what was spent, what was found, which ranges to doubt."""

import io
import warnings
from dataclasses import replace

import matplotlib
import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from podium.config.params import load
from podium.config.train import Choices, Range, Span
from podium.core.errors import DataError
from podium.records.training import TuningResult
from podium.report import html as report
from podium.report.results import Results, read_results
from podium.report.studies import Study, draw_study, read_study, to_optuna
from tests.unit.report.test_html import Page

MODEL = "tiny_resnet"


def outcome_of(experiment) -> Results:
    return read_results(experiment.layout, load(experiment.layout.params))


def study_of(outcome: Results) -> Study:
    return read_study(outcome, next(model for model in outcome.models if model.name == MODEL))


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
    said = Page(report.render_report(outcome_of(experiment))).said()
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
    found = study_of(outcome_of(experiment))
    assert [(trial.number, trial.state) for trial in found.ranked] == [
        (0, "finished"),
        (5, "finished"),
        (2, "pruned"),
        (3, "pruned"),
        (4, "pruned"),
        (1, "diverged"),
    ]
    assert tuple(found.spans) == ("attention", "train.augment.flip", "train.learning_rate")
    assert found.ranked[0].values == ("se", "False", "0.0003")
    assert found.ranked[-1].val_loss is None


def test_of_a_probe_its_grid_is_drawn_and_no_epochs(experiment):
    drawn = draw_study(replace(study_of(outcome_of(experiment)), is_probe=True))
    assert [name for name, _ in drawn.values()] == ["course.png", "searched_keys.png"]


def test_parallel_coordinates_are_drawn_where_several_keys_were_searched(experiment):
    of_one_key = ["course.png", "epochs.png", "searched_keys.png"]
    drawn = draw_study(study_of(outcome_of(experiment)))
    assert [name for name, _ in drawn.values()] == of_one_key
    assert draw_study(study_of(outcome_of(experiment))) is drawn, "once for the page and for MLflow"
    search_more(experiment)
    drawn = draw_study(study_of(outcome_of(experiment)))
    assert [name for name, _ in drawn.values()] == [*of_one_key, "parallel_coordinates.png"]


def test_a_study_of_another_search_is_refused(experiment):
    raw = yaml.safe_load(experiment.layout.params.read_text(encoding="utf-8"))
    raw["tune"]["search"] = {"train.weight_decay": {"low": 0.0, "high": 0.1}}
    experiment.layout.params.write_text(yaml.safe_dump(raw), encoding="utf-8")
    with pytest.raises(DataError, match=r"another search than params\.yaml asks for: run `dvc repro`"):
        study_of(outcome_of(experiment))


RATE: dict[str, Span] = {"train.learning_rate": Range(low=1e-4, high=1e-1, log=True)}
MIXED: dict[str, Span] = {
    **RATE,
    "attention": Choices(choices=("none", "se", "cbam")),
    "head.dropout": Range(low=0.0, high=0.5),
    "train.augment.flip": Choices(choices=(True, False)),
    "train.batch_size": Range(low=8, high=64, log=True),
}


def study(spans: dict[str, Span], states: str, loss: float = 1.0) -> Study:
    """A study of finished (f), pruned (p) and diverged (d) trials with losses around one."""
    random = np.random.default_rng(0)
    trials, history = [], []
    for number, letter in enumerate(states):
        state = {"f": "finished", "p": "pruned", "d": "diverged"}[letter]
        epochs = {"f": 3, "p": 1, "d": 0}[letter]
        losses = [float(loss**number * random.uniform(0.9, 1.1) / (epoch + 1)) for epoch in range(epochs)]
        values = {key: value_of(span, random) for key, span in spans.items()}
        trials.append({"number": number, "state": state, "val_loss": min(losses, default=np.nan), **values})
        history += [{"trial": number, "epoch": e + 1, "val_loss": value} for e, value in enumerate(losses)]
    return Study("small", TuningResult.model_construct(), pd.DataFrame(trials), pd.DataFrame(history), spans)


def value_of(span: Span, random: np.random.Generator) -> object:
    if isinstance(span, Choices):
        return span.choices[random.integers(len(span.choices))]
    return float(random.uniform(span.low, span.high))


def ink(png) -> int:
    """Pixels that are not white."""
    with Image.open(io.BytesIO(png)) as image:
        return int((np.asarray(image.convert("L")) < 250).sum())


@pytest.mark.parametrize(
    ("spans", "states", "loss"),
    [
        (RATE, "f", 1.0),  # one trial: no width to scale over
        (RATE, "dfpfd", 1.0),
        (MIXED, "ffpdpfpf", 1.0),
        (MIXED, "pppfppp", 1.0),  # all but one were given up
        (RATE, "fpf", 30.0),  # losses far apart
    ],
)
def test_a_study_of_any_kind_is_drawn_to_the_same_bytes(spans, states, loss):
    tables = study(spans, states, loss)
    before = dict(matplotlib.rcParams)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn, again = (draw_study.__wrapped__(tables) for _ in range(2))
    assert len(drawn) == (3 if spans is RATE else 4)
    assert drawn == again and all(ink(png) > 5000 for _, png in drawn.values())
    assert {key: value for key, value in matplotlib.rcParams.items() if key != "backend"} == {
        key: value for key, value in before.items() if key != "backend"
    }


def test_other_losses_show_in_every_plot():
    tables = study(MIXED, "fffp")
    moved = tables.trials.assign(val_loss=tables.trials["val_loss"].iloc[::-1].to_numpy())
    later = tables.history.assign(val_loss=tables.history["val_loss"] * 2)
    further = replace(tables, trials=moved.fillna(1.0), history=later)
    pictures, others = draw_study(tables), draw_study(further)
    assert all(pictures[title] != others[title] for title in pictures)


def test_choices_that_a_table_gives_back_as_text_are_found():
    """A column of true, false and words comes back from a CSV file as words."""
    tables = study({"key": Choices(choices=(True, False, 3))}, "ffff")
    as_text = replace(tables, trials=tables.trials.astype({"key": str}))
    assert [t.params for t in to_optuna(as_text).trials] == [t.params for t in to_optuna(tables).trials]
