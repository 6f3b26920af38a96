"""Which pixels of an image are its object's."""

import numpy as np

from podium.data.foreground import foreground_masks


def test_a_box_holds_the_pixels_whose_middle_lies_in_it_and_no_box_holds_nothing():
    boxes = np.array([[1, 0, 3, 2], [0.6, 0.4, 1.4, 4], [np.nan] * 4])
    found = foreground_masks(np.zeros((3, 4, 4, 3), np.uint8), boxes)
    assert (found.dtype, found.shape) == (np.bool_, (3, 4, 4))
    assert found[0].astype(int).tolist() == [[0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert not found[1].any(axis=0)[1:].any()
    assert not found[2].any()
