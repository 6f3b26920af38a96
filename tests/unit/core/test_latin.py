"""A class name can be read whatever fonts are installed."""

import pytest

from podium.core.latin import with_latin


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("bell_pepper", "bell_pepper"),
        ("citrón", "citrón"),
        ("citro\u0301n", "citro\u0301n"),  # the accent as a character of its own
        ("사과", "사과 (sagwa)"),
        ("🍈", "🍈 (:melon:)"),
        ("", ""),
    ],
)
def test_other_scripts_are_transliterated_behind_the_name(name, shown):
    assert with_latin(name) == shown
