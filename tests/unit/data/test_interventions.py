"""Which pixels are changed: as many as asked, none of the padding, and nothing of the pictures given."""

import numpy as np
import pytest

from podium.config.judging import Interventions
from podium.data.interventions import Scenes, interventions, most_salient, pixel_ranks

SIDE = 40


@pytest.fixture
def scenes():
    """Eight noisy pictures of two classes, 24 pixels high between padding of 8, with an object of 10 x 10."""
    random = np.random.default_rng(0)
    images = np.full((8, SIDE, SIDE, 3), 114, np.uint8)
    images[:, 8:32] = random.integers(0, 100, (8, 24, SIDE, 3))
    content, objects = np.zeros((2, 8, SIDE, SIDE), bool)
    content[:, 8:32] = True
    objects[:, 12:22, 5:15] = True
    images[objects] += 150
    maps = random.random((8, SIDE, SIDE), dtype=np.float32)
    return Scenes(images, np.arange(8) % 2, maps, content, objects, np.arange(8) < 6)


def every(scenes, **wanted):
    wanted = Interventions(**{"shares": (0.1, 0.45, 0.6), "fills": ("grey", "blur", "foreign"), **wanted})
    return list(interventions(scenes, wanted, np.random.default_rng(1)))


def test_nothing_but_the_picture_is_changed_and_the_given_images_stay(scenes):
    before = scenes.images.copy()
    for change in every(scenes):
        for images in (change.images, change.control):
            if images is not None:
                assert (images.dtype, images.shape) == (np.uint8, (len(change.rows), SIDE, SIDE, 3))
                assert (images[:, :8] == 114).all() and (images[:, 32:] == 114).all(), change.kind
    assert (scenes.images == before).all()


def test_as_much_is_hidden_elsewhere_as_of_what_matters(scenes):
    for change in every(scenes, fills=("grey",)):
        if change.kind in ("salient", "object"):
            hidden, control = ((images == 114).all(axis=-1)[:, 8:32] for images in (change.images, change.control))
            assert hidden.sum(axis=(1, 2)) == pytest.approx(control.sum(axis=(1, 2)), abs=1)
            if change.kind == "salient":
                assert hidden.mean() == pytest.approx(change.asked, abs=0.002)
            else:
                assert change.rows.tolist() == [0, 1, 2, 3, 4, 5], "where the object is known"
                assert hidden[:, 4:14, 5:15].all() and not control[:, 4:14, 5:15].any()


def test_the_object_stays_where_the_background_is_exchanged_or_gets_a_second_object(scenes):
    for change in every(scenes):
        if change.kind in ("background", "second_object"):
            for images in (change.images, change.control):
                if images is not None:
                    assert (images[:, 12:22, 5:15] == scenes.images[change.rows, 12:22, 5:15]).all()
        if change.added is not None:
            assert (change.added != scenes.labels[change.rows]).all()
        if change.how == "other class" and change.kind == "background":
            rest = change.images[:, 8:32][~scenes.foreground[change.rows, 8:32]]
            assert rest.max() < 150, "the other picture's object is painted over"


def test_a_second_object_is_as_large_as_asked_where_there_is_room(scenes):
    sizes = {}
    for change in every(scenes):
        if change.kind == "second_object":
            changed = (change.images != scenes.images[change.rows]).any(axis=-1)[:, 8:32]
            sizes[change.asked] = changed.mean()
    assert list(sizes) == [0.1, 0.45], "more than 45 % leaves no room"
    assert sizes[0.1] == pytest.approx(0.1, abs=0.02)
    assert 0.3 < sizes[0.45] < 0.46


def test_the_most_salient_pixels_come_first_and_equals_at_random():
    random = np.random.default_rng(0)
    maps, content = np.zeros((1, 10, 10), np.float32), np.ones((1, 10, 10), bool)
    maps[0, 3, 4], content[0, 0] = 1, False
    assert pixel_ranks(maps, content, random)[0, 3, 4] == 0
    assert most_salient(maps, content, 0.1, random).sum() == 9
    drawn = [np.flatnonzero(most_salient(maps, content, 0.1, random)) for _ in range(2)]
    assert drawn[0].tolist() != drawn[1].tolist() and min(map(min, drawn)) >= 10
