"""Labels of plots: names of any script covered by a font or transliterated, all different."""

import shutil
import warnings
from pathlib import Path

import matplotlib
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import font_manager, ft2font

from podium.report import labels
from podium.report.labels import BASE_FAMILY, LONGEST, Labels, make_labels


def covered(found, label):
    """Whether each character has a glyph in one of the chosen families, asked of the font files themselves."""
    paths = [font_manager.findfont(font_manager.FontProperties(family=[f])) for f in found.families]
    fonts = [ft2font.FT2Font(path) for path in paths]
    return all(any(font.get_char_index(ord(c)) for font in fonts) for c in label)


@pytest.fixture
def bare(monkeypatch):
    """A machine on which nothing but matplotlib's own fonts is installed."""
    monkeypatch.setattr(labels, "_installed_families", list)


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
    monkeypatch.setattr(labels, "_installed_families", lambda: ["DejaVu Sans Mono", "STIXGeneral"])
    found = make_labels(["lemon", name])
    assert found == Labels(("lemon", name), ("lemon", name), (BASE_FAMILY, "STIXGeneral"))
    assert covered(found, name)


def test_fonts_installed_after_matplotlibs_cache_was_made_are_found(monkeypatch, tmp_path):
    stix = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "STIXGeneral.ttf"
    new = Path(shutil.copy(stix, tmp_path / "Fresh.ttf"))
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [str(new), str(tmp_path / "missing.ttf")])
    known = list(font_manager.fontManager.ttflist)
    try:
        assert "STIXGeneral" in labels._installed_families()
    finally:
        font_manager.fontManager.ttflist[:] = known


def test_right_to_left_letters_are_transliterated_where_matplotlib_cannot_join_them(bare, monkeypatch):
    monkeypatch.setattr(labels, "_can_shape", lambda: False)
    assert make_labels(["تفاح", "שלום"]).shown == ("tfh", "slvm")


def test_right_to_left_letters_stay_where_matplotlib_joins_them(bare, monkeypatch):
    monkeypatch.setattr(labels, "_can_shape", lambda: True)
    assert make_labels(["تفاح"]).shown == ("تفاح",)


def test_long_names_keep_both_ends():
    (label,) = make_labels(["beginning" + "x" * 200 + "end"]).shown
    assert label.startswith("beginning")
    assert label.endswith("end")
    assert len(label) <= LONGEST


def test_labels_that_would_look_the_same_are_numbered(bare):
    assert make_labels(["사과", "sagwa"]).shown == ("sagwa (1)", "sagwa (2)")
    assert len(set(make_labels(["a" * 50 + str(i) + "a" * 50 for i in range(4)]).shown)) == 4


@settings(max_examples=60)
@given(st.lists(st.text(max_size=40), min_size=1, max_size=5, unique=True))
def test_any_names_give_distinct_labels_that_can_be_drawn(names):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = make_labels(names)
    assert len(set(found.shown)) == len(names)
    assert all(label and covered(found, label) for label in found.shown)
