"""Pictures with several labels, and pictures that stand for one that could not be had."""

import pytest

from podium.config.validate import Validate
from podium.curation.expectations import leakage
from podium.curation.expectations.leakage import _is_named_so
from tests.dataset_facts import facts, judged, manifest

PARAMS = Validate()


def test_a_sound_set_has_one_label_a_picture_and_no_placeholders():
    assert judged(leakage.one_label_per_picture(facts(), PARAMS))[:2] == ([], "0 pictures with several labels")
    assert judged(leakage.placeholders(facts(), PARAMS))[:2] == ([], "0 placeholders")


def test_the_same_picture_under_two_labels_is_told_with_both_paths():
    frame = manifest()
    frame.loc[12, "sha256"] = frame.loc[0, "sha256"]

    broken, observed, images = judged(leakage.one_label_per_picture(facts(frame), PARAMS))

    assert broken
    assert observed == ("1 pictures with several labels: 'lemon/train0.jpg' (lemon) and 'orange/train0.jpg' (orange)")
    assert images.paths == ["lemon/train0.jpg", "orange/train0.jpg"]


def test_copies_within_one_class_and_images_without_a_digest_have_one_label():
    frame = manifest()
    frame.loc[1, "sha256"] = frame.loc[0, "sha256"]
    frame.loc[[5, 14], "sha256"] = None

    assert judged(leakage.one_label_per_picture(facts(frame), PARAMS))[0] == []


def test_many_pictures_with_several_labels_are_counted():
    frame = manifest()
    frame.loc[12:16, "sha256"] = list(frame.loc[0:4, "sha256"])
    frame.loc[1, "sha256"] = frame.loc[0, "sha256"]

    _, observed, images = judged(leakage.one_label_per_picture(facts(frame), PARAMS))

    assert observed.startswith("4 pictures with several labels: ") and observed.endswith(" and 1 more")
    assert "'lemon/train0.jpg' (lemon) and 'orange/train0.jpg' (orange), 3 times in all" in observed
    assert images.count == 9


def test_a_picture_repeated_across_classes_is_named_as_a_placeholder():
    frame = manifest()
    frame.loc[[0, 12, 24], "sha256"] = "the same"

    broken, observed, images = judged(leakage.placeholders(facts(frame), PARAMS))

    assert broken
    assert observed == "1 placeholders: 'lemon/train0.jpg' 3 times in 3 classes"
    assert images.paths == ["lemon/train0.jpg", "orange/train0.jpg", "귤/train0.jpg"]


def test_a_file_named_like_a_placeholder_is_named():
    frame = manifest()
    frame.loc[3, "path"] = "ants/imageNotFound.gif"

    _, observed, images = judged(leakage.placeholders(facts(frame), PARAMS))

    assert observed == "1 placeholders: 'ants/imageNotFound.gif' by its name"
    assert images.paths == ["ants/imageNotFound.gif"]


@pytest.mark.parametrize(
    ("name", "placeholder"),
    [
        ("imageNotFound.gif", True),
        ("photo_unavailable.png", True),
        ("image-not-available.jpg", True),
        ("this photo is no longer available.jpg", True),
        ("no_image.png", True),
        ("NoImageAvailable.png", True),
        ("no-photo-available-2.png", True),
        ("placeholder_300x200.png", True),
        ("image missing.png", True),
        ("coming-soon.jpg", True),
        ("404.png", True),
        ("n0404.jpg", False),
        ("IMG_404.jpg", False),
        ("no_image_noise.jpg", False),
        ("found fox.jpg", False),
        ("nopic mountain.jpg", False),
        ("foundation.jpg", False),
    ],
)
def test_which_names_say_so(name, placeholder):
    assert _is_named_so(f"a class/{name}") is placeholder
