import numpy as np
import pandas as pd
import pytest
from PIL import Image

from podium.config.tuning import Choices, Range, Span
from podium.report.study_plots import StudyTables, course, parallel, slices

RATE: dict[str, Span] = {"train.learning_rate": Range(low=1e-4, high=1e-1, log=True)}
MIXED: dict[str, Span] = {
    **RATE,
    "attention": Choices(choices=("none", "se", "cbam")),
    "head.dropout": Range(low=0.0, high=0.5),
    "train.augment.flip": Choices(choices=(True, False)),
    "train.batch_size": Range(low=8, high=64, log=True),
}
PLOTS = [course, slices, parallel]


def study(spans: dict[str, Span], states: str, loss: float = 1.0) -> StudyTables:
    """A study of finished (f), pruned (p) and diverged (d) trials with losses around one."""
    random = np.random.default_rng(0)
    trials, history = [], []
    for number, letter in enumerate(states):
        state = {"f": "finished", "p": "pruned", "d": "diverged"}[letter]
        epochs = {"f": 3, "p": 1, "d": 0}[letter]
        losses = [float(loss**number * random.uniform(0.9, 1.1) / (epoch + 1)) for epoch in range(epochs)]
        values = {key: draw(span, random) for key, span in spans.items()}
        trials.append({"number": number, "state": state, "val_loss": min(losses, default=np.nan), **values})
        history += [{"trial": number, "epoch": e + 1, "val_loss": value} for e, value in enumerate(losses)]
    return StudyTables("small", pd.DataFrame(trials), pd.DataFrame(history), spans, states.index("f"))


def draw(span: Span, random: np.random.Generator) -> object:
    if isinstance(span, Choices):
        return span.choices[random.integers(len(span.choices))]
    return float(random.uniform(span.low, span.high))


def ink(path) -> int:
    """Pixels that are not white."""
    with Image.open(path) as image:
        return int((np.asarray(image.convert("L")) < 250).sum())


@pytest.mark.parametrize("plot", PLOTS)
@pytest.mark.parametrize(
    ("spans", "states", "loss"),
    [
        (RATE, "f", 1.0),  # one trial: no width to scale over
        (RATE, "dfpfd", 1.0),
        (MIXED, "ffpdpfpf", 1.0),
        (MIXED, "pppfppp", 1.0),  # all but one were given up
        (RATE, "fpf", 30.0),  # losses far apart are drawn in logs
    ],
)
def test_a_study_of_any_kind_is_drawn_to_the_same_bytes(tmp_path, plot, spans, states, loss):
    tables = study(spans, states, loss)
    for name in ("a.png", "b.png"):
        plot(tmp_path / name, tables)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert ink(tmp_path / "a.png") > 5000


@pytest.mark.parametrize("plot", PLOTS)
def test_another_best_trial_and_another_loss_show(tmp_path, plot):
    tables = study(MIXED, "fffp")
    other = StudyTables(tables.model, tables.trials, tables.history, tables.spans, chosen=2)
    moved = tables.trials.assign(val_loss=tables.trials["val_loss"].iloc[::-1].to_numpy())
    further = StudyTables(tables.model, moved, tables.history, tables.spans, tables.chosen)
    for name, drawn in [("a.png", tables), ("b.png", other), ("c.png", further)]:
        plot(tmp_path / name, drawn)
    assert len({(tmp_path / name).read_bytes() for name in ("a.png", "b.png", "c.png")}) == 3


def test_choices_that_a_table_gives_back_as_text_are_found(tmp_path):
    """A column of true, false and words comes back from a CSV file as words."""
    tables = study({"key": Choices(choices=(True, False, 3))}, "ffff")
    as_text = StudyTables("small", tables.trials.astype({"key": str}), tables.history, tables.spans, 0)
    slices(tmp_path / "a.png", tables)
    slices(tmp_path / "b.png", as_text)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
