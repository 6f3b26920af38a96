import pytest

from podium.config.validate import Shortcut, Validate
from podium.curation.expectations import shortcuts
from podium.curation.expectations.evidence import CannotCheck
from podium.records.profile import Shortcuts
from tests import evidence as made

PARAMS = Validate(border_shortcut=Shortcut(maximum=0.5), source_shortcut=Shortcut(maximum=0.5))


def test_a_border_that_gives_the_label_away_is_told_with_its_numbers_and_images():
    found = made.evidence(shortcuts=made.shortcuts(made.probe(0.9, ("b.jpg", "a.jpg"))))

    broken, observed, images = made.judged(shortcuts.border_shortcut(found, PARAMS))

    assert broken
    assert observed == "0.9 (balanced accuracy 0.9333, 95 % interval 0.2 to 0.6, chance 0.3333, 24 images)"
    assert images.paths == ["b.jpg", "a.jpg"]


def test_what_the_aspect_ratio_alone_tells_stands_beside_the_border():
    probes = Shortcuts(
        label_from_border=made.probe(0.6), label_from_aspect=made.probe(0.55), source_from_image=made.probe(0)
    )

    _, observed, _ = made.judged(shortcuts.border_shortcut(made.evidence(shortcuts=probes), PARAMS))

    assert observed.endswith("; the aspect ratio alone comes to 0.55, which padding shows in the border")


def test_sources_that_look_different_are_told():
    found = made.evidence(shortcuts=made.shortcuts(source=made.probe(0.8, ("c.jpg",))))

    broken, observed, images = made.judged(shortcuts.source_shortcut(found, PARAMS))

    assert broken
    assert observed.startswith("0.8 (balanced accuracy 0.8667")
    assert images.paths == ["c.jpg"]


def test_one_source_has_nothing_to_be_told_apart():
    found = made.evidence(made.manifest().assign(source="only"), shortcuts=None)

    assert made.judged(shortcuts.source_shortcut(found, PARAMS))[:2] == ([], "one source, nothing to tell apart")


def test_a_probe_that_was_not_run_says_why():
    found = made.evidence(shortcuts=made.shortcuts(made.probe(0, note="not run: one class")))

    with pytest.raises(CannotCheck, match="not run: one class"):
        shortcuts.border_shortcut(found, PARAMS)
