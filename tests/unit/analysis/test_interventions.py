"""What matters in a picture, on models that are known: one looks at a corner, one at the object, one behind it."""

import numpy as np
import pytest

from podium.analysis.interventions import accuracy_gaps, describe_interventions, foreground_told, measure_interventions
from podium.config.judging import Interventions
from podium.data.foreground import box_masks
from podium.data.interventions import Scenes
from podium.records.explanation import Explanation

SIDE, OBJECT, CORNER = 32, 12, 8
SHADES = np.array([40, 110, 180])
WANTED = Interventions(shares=(0.1, 0.3, 0.45), fills=("grey", "foreign"), foreground="box")


def by_corner(images):
    """The channel that is highest in the lower right corner."""
    return images[:, -CORNER:, -CORNER:].astype(int).sum(axis=(1, 2)).argmax(axis=1)


def by_object(images):
    """The channel of which there is most colour."""
    return (images.astype(int) - images.min(axis=3, keepdims=True) > 40).sum(axis=(1, 2)).argmax(axis=1)


def by_background(images):
    """The shade of most pixels."""
    return np.abs(np.median(images[..., 1], axis=(1, 2))[:, None] - SHADES).argmin(axis=1)


def pictures(points_at):
    """60 squares in the colour of their class on its shade, with their exact boxes; corners tell the class, too."""
    random = np.random.default_rng(0)
    labels = np.arange(60) % 3
    images = np.repeat(SHADES[labels].astype(np.uint8)[:, None, None, None], SIDE, axis=1).repeat(SIDE, 2).repeat(3, 3)
    boxes = np.empty((60, 4))
    for image, label, box in zip(images, labels, boxes, strict=True):
        x, y = random.integers(0, SIDE - OBJECT - CORNER, 2)
        image[y : y + OBJECT, x : x + OBJECT] = 0
        image[y : y + OBJECT, x : x + OBJECT, label] = 255
        image[-CORNER:, -CORNER:, label] += 9
        box[:] = x, y, x + OBJECT, y + OBJECT
    objects = box_masks(SIDE, boxes)
    corner = np.zeros((60, SIDE, SIDE), bool)
    corner[:, -CORNER:, -CORNER:] = True
    maps = {"corner": corner, "object": objects}[points_at].astype(np.float32)
    return Scenes(images, labels, maps, np.ones_like(objects), objects, np.ones(60, bool))


def measure(model, points_at="object", **changes):
    scenes, asked = pictures(points_at), []
    assert (model(scenes.images) == scenes.labels).all()
    found = measure_interventions(
        model,
        scenes,
        scenes.labels,
        WANTED.model_copy(update=changes),
        0,
        method="gradcam",
        advance=asked.append,
    )
    assert sum(asked) == sum(one.images * (1 if one.how == "blur" else 2) for one in found.results)
    return found


def of(found, kind, how="other class", asked=None):
    return next(one for one in found.results if (one.kind, one.how, one.asked) == (kind, how, asked))


def test_hiding_the_corner_that_a_model_looks_at_hurts_and_as_much_elsewhere_does_not():
    hidden = of(measure(by_corner, "corner"), "salient", "grey", 0.1)
    assert hidden.accuracy.value == pytest.approx(1 / 3) and hidden.control.value == 1
    assert hidden.adjusted_p < 1e-6
    assert hidden.share == pytest.approx(0.1, abs=0.001)
    beside = of(measure(by_corner, "object"), "salient", "grey", 0.1)
    assert (beside.accuracy.value, beside.same) == (1, 1) and beside.control.value > 0.9
    assert beside.adjusted_p > 0.05


def test_who_reads_the_background_is_caught_by_another_and_who_reads_the_object_is_not():
    found = measure(by_background)
    assert found.clean.value == 1
    swapped = of(found, "background")
    assert (swapped.accuracy.value, swapped.control.value, swapped.turned) == (0, 1, 1)
    hidden = of(found, "object", "grey")
    assert (hidden.accuracy.value, hidden.control.value) == (1, 1)
    assert accuracy_gaps(found)["background_gap"] == 1
    said = " ".join(describe_interventions("m", found))
    assert "Exchanging the background for one of another class: m is right in 0.0% of 60 pictures; exchanging" in said
    assert "of its own class: 100.0%. It goes by the background, too (p < 0.001)" in said
    seen = of(measure(by_object), "background")
    assert (seen.accuracy.value, seen.control.value, seen.turned, seen.p_value) == (1, 1, 0, 1)


def test_who_reads_the_object_loses_it_and_takes_a_larger_one_of_another_class_for_it():
    found = measure(by_object)
    for fill in ("grey", "foreign"):
        hidden = of(found, "object", fill)
        assert hidden.accuracy.value < 0.5 and hidden.control.value > 0.9
        assert hidden.share == pytest.approx(OBJECT**2 / SIDE**2, abs=0.03)
    small, large = (of(found, "second_object", asked=asked) for asked in (0.1, 0.45))
    assert (small.accuracy.value, small.control.value, small.turned) == (1, 1, 0)
    assert (large.accuracy.value, large.control.value, large.turned) == (0, 1, 1)
    assert 0.3 < large.share <= 0.46
    assert any(
        "of the answers turn into the class that came in" in sentence for sentence in describe_interventions("m", found)
    )


def test_the_same_seed_gives_the_same_and_a_blurred_background_is_held_against_the_picture(tmp_path):
    found, again = measure(by_object), measure(by_object)
    assert found == again
    blurred = of(found, "background", "blur")
    assert blurred.control == found.clean and blurred.turned is None
    assert len({(one.kind, one.how, one.asked) for one in found.results}) == len(found.results) == 3 * 2 + 2 + 2 + 3
    assert foreground_told(found) == "The object is taken to be its known box in 60 of 60 pictures."


def test_where_no_class_has_two_pictures_or_no_object_is_known_what_needs_them_is_left_out():
    scenes = pictures("object")
    few = Scenes(*(getattr(scenes, name)[:3] for name in scenes.__dataclass_fields__))
    alone = measure_interventions(by_object, few, few.labels, WANTED, 0, method="gradcam", advance=lambda _done: None)
    assert {(one.kind, one.how) for one in alone.results if one.kind != "salient"} == {
        ("object", "grey"),
        ("object", "foreign"),
        ("background", "blur"),
    }
    assert Explanation.model_fields["interventions"].default is None
