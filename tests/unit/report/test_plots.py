"""Plots: deterministic bytes, any number of classes, no global state; names of any script covered or transliterated."""

import shutil
import warnings
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import font_manager, ft2font
from PIL import Image

from podium.analysis.statistics import reliability
from podium.records.evaluation import ClassMetrics, Interval, Metrics, SliceMetrics
from podium.report import plots
from podium.report.plots import BASE_FAMILY, make_labels

HISTORY = pd.DataFrame(
    {
        "epoch": [1, 2, 3],
        "train_loss": [2.0, 1.0, 0.5],
        "val_loss": [2.1, 1.2, 0.9],
        "train_accuracy": [0.3, 0.6, 0.8],
        "val_accuracy": [0.3, 0.5, 0.7],
    }
)


def metrics_of(names):
    rate = Interval(value=0.8, low=0.7, high=0.9)
    per_class = {n: ClassMetrics(precision=1, recall=i / len(names), f1=0.5, support=9) for i, n in enumerate(names)}
    parts = {name: SliceMetrics(accuracy=rate, images=12) for name in ("clean", "occluded", "hard")}
    return Metrics.model_construct(model="m", accuracy=rate, per_class=per_class, slices=parts)


def draw_all(folder, names):
    folder.mkdir()
    rng, labels = np.random.default_rng(0), make_labels(names)
    counts = rng.integers(0, 5, (len(names), len(names)))
    plots.confusion_matrix(folder / "confusion.png", counts, labels, "m: confusion")
    plots.per_class_accuracy(folder / "classes.png", metrics_of(names), labels)
    plots.learning_curves(folder / "curves.png", HISTORY, 2, "m")
    plots.reliability_diagram(
        folder / "reliability.png", reliability(rng.uniform(0.3, 1, 50), rng.random(50) < 0.8, 15), "m"
    )
    plots.slice_accuracy(folder / "slices.png", metrics_of(names))
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_same_numbers_give_the_same_bytes_whatever_the_users_settings(tmp_path, monkeypatch):
    names = ["사과", "lemon", "🍎"]
    first = draw_all(tmp_path / "1", names)
    monkeypatch.setitem(matplotlib.rcParams, "axes.facecolor", "black")
    monkeypatch.setitem(matplotlib.rcParams, "font.size", 30.0)
    before = dict(matplotlib.rcParams)
    assert draw_all(tmp_path / "2", names) == first
    assert dict(matplotlib.rcParams) == before
    assert len(first) == 5


def test_nothing_about_the_machine_is_written_into_the_file(tmp_path):
    draw_all(tmp_path / "1", ["a", "b"])
    with Image.open(tmp_path / "1" / "slices.png") as image:
        assert set(image.info) == {"dpi"}


@pytest.mark.parametrize("classes", [2, 12, 40, 70])
def test_confusion_matrix_grows_with_the_classes(tmp_path, classes):
    names = [f"class {i}" for i in range(classes)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plots.confusion_matrix(tmp_path / "c.png", np.eye(classes, dtype=np.int64), make_labels(names), "title")
    with Image.open(tmp_path / "c.png") as image:
        assert min(200, 14 * classes) < image.width < 2600


def test_no_glyph_is_missing_in_any_script(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of every glyph it cannot draw
        draw_all(tmp_path / "1", ["사과", "🍎", "تفاح", "苹果", "हिन्दी", "яблоко", "$x_1$", "a" * 300, "ระ"])


def test_one_epoch_and_empty_classes_can_be_drawn(tmp_path):
    plots.learning_curves(tmp_path / "1.png", HISTORY[:1], 1, "m")
    plots.confusion_matrix(tmp_path / "2.png", np.array([[3, 0], [0, 0]]), make_labels(["a", "b"]), "m")
    assert (tmp_path / "2.png").stat().st_size > 1000


def covered(found, label):
    """Whether each character has a glyph in one of the chosen families, asked of the font files themselves."""
    paths = [font_manager.findfont(font_manager.FontProperties(family=[f])) for f in found.families]
    fonts = [ft2font.FT2Font(path) for path in paths]
    return all(any(font.get_char_index(ord(c)) for font in fonts) for c in label)


@pytest.fixture
def bare(monkeypatch):
    """A machine on which nothing but matplotlib's own fonts is installed."""
    monkeypatch.setattr(plots, "_installed_families", list)


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("사과", "sagwa"),
        ("🍎", ":apple:"),
        ("사과 🍎 red", "sagwa :apple: red"),
        ("苹果", "pingguo"),
        ("りんご", "ringo"),
        ("한a글", "hanageul"),  # scripts mixed in one word
        ("ระ", "ra"),
        ("👩🏽\u200d🌾", ":woman::ear_of_rice:"),  # one pictogram of four code points
    ],
)
def test_what_no_font_has_is_transliterated(bare, name, label):
    found = make_labels([name])
    assert found.shown == (label,)
    assert found.families == (BASE_FAMILY,)


@pytest.mark.parametrize("name", ["lemon", "Gemüsekürbis", "яблоко", "μῆλον", "Việt", "$x_1$", "a_b %"])
def test_names_the_first_font_has_stay_as_they_are(bare, name):
    assert make_labels([name]).shown == (name,)


def test_hangul_is_covered_or_transliterated_with_the_fonts_of_this_machine():
    found = make_labels(["사과", "lemon", "🍎"])
    assert all(covered(found, label) for label in found.shown)
    assert found.shown[0] in ("사과", "sagwa")
    assert found.label("lemon") == "lemon"


def test_an_installed_font_that_has_the_glyphs_is_used(monkeypatch):
    # Mathematical fraktur is in matplotlib's STIX font and not in DejaVu Sans.
    name = "\U0001d51e\U0001d51f"
    monkeypatch.setattr(plots, "_installed_families", lambda: ["DejaVu Sans Mono", "STIXGeneral"])
    found = make_labels(["lemon", name])
    assert found == plots.Labels(("lemon", name), ("lemon", name), (BASE_FAMILY, "STIXGeneral"))
    assert covered(found, name)


def test_fonts_installed_after_matplotlibs_cache_was_made_are_found(monkeypatch, tmp_path):
    stix = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "STIXGeneral.ttf"
    new = Path(shutil.copy(stix, tmp_path / "Fresh.ttf"))
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [str(new), str(tmp_path / "missing.ttf")])
    known = list(font_manager.fontManager.ttflist)
    try:
        assert "STIXGeneral" in plots._installed_families()
    finally:
        font_manager.fontManager.ttflist[:] = known


def test_right_to_left_letters_are_transliterated_where_matplotlib_cannot_join_them(bare, monkeypatch):
    monkeypatch.setattr(plots, "_can_shape", lambda: False)
    assert make_labels(["تفاح", "שלום"]).shown == ("tfh", "slvm")


def test_right_to_left_letters_stay_where_matplotlib_joins_them(bare, monkeypatch):
    monkeypatch.setattr(plots, "_can_shape", lambda: True)
    assert make_labels(["تفاح"]).shown == ("تفاح",)


def test_long_names_keep_both_ends():
    (label,) = make_labels(["beginning" + "x" * 200 + "end"]).shown
    assert label.startswith("beginning")
    assert label.endswith("end")
    assert len(label) <= plots.LONGEST


def test_labels_that_would_look_the_same_are_numbered(bare):
    assert make_labels(["사과", "sagwa"]).shown == ("sagwa (1)", "sagwa (2)")
    assert len(set(make_labels(["a" * 50 + str(i) + "a" * 50 for i in range(4)]).shown)) == 4


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=40), min_size=1, max_size=5, unique=True))
def test_any_names_give_distinct_labels_that_can_be_drawn(names):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = make_labels(names)
    assert len(set(found.shown)) == len(names)
    assert all(label and covered(found, label) for label in found.shown)
