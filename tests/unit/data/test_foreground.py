"""Which pixels of an image are its object's."""

import numpy as np
import pytest

from podium.data.foreground import foreground_masks
from tests.shapes import draw_discs


def test_a_box_holds_the_pixels_whose_middle_lies_in_it_and_no_box_holds_nothing():
    boxes = np.array([[1, 0, 3, 2], [0.6, 0.4, 1.4, 4], [np.nan] * 4])
    found = foreground_masks(np.zeros((3, 4, 4, 3), np.uint8), boxes)
    assert (found.dtype, found.shape) == (np.bool_, (3, 4, 4))
    assert found[0].astype(int).tolist() == [[0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert not found[1].any(axis=0)[1:].any()
    assert not found[2].any()


def test_grabcut_finds_a_disc_within_its_box_whatever_stands_beside_it():
    images, boxes, truth = draw_discs(6, 48)
    found = foreground_masks(images, boxes, "grabcut")
    box = foreground_masks(images, boxes)
    assert (found & truth).sum() / (found | truth).sum() > 0.95 > (box & truth).sum() / (box | truth).sum()
    assert not (found & ~box).any()
    assert (foreground_masks(images[::-1], boxes[::-1], "grabcut") == found[::-1]).all()


@pytest.mark.parametrize("box", [[0, 0, 48, 48], [0, 0, 48, 47.2], [20, 20, 21, 21], [8, 8, 40, 40]])
def test_grabcut_falls_back_to_the_box_where_there_is_nothing_to_tell_the_object_from(box: list[float]):
    plain, boxes = np.full((1, 48, 48, 3), 90, np.uint8), np.array([box], float)
    assert (foreground_masks(plain, boxes, "grabcut") == foreground_masks(plain, boxes)).all()
    assert not foreground_masks(plain, boxes * np.nan, "grabcut").any()
