"""The search for near copies in the shards: pictures that are alike in kind are no copies, and copies are found."""

import hashlib

import cv2
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from podium.config.preprocess import Preprocessing
from podium.curation.shard_check import ShardCheck, check_shards
from podium.data.shards import PreparedSplit
from tests.dataset_facts import manifest


def digits(side: int, interpolation: int) -> NDArray[np.uint8]:
    """1,797 handwritten digits of 8 x 8 pixels, many of them alike, enlarged."""
    small = (load_digits().images * 255 / 16).astype(np.uint8)
    grey = np.stack([cv2.resize(one, (side, side), interpolation=interpolation) for one in small])
    return np.repeat(grey[..., None], 3, axis=3)


def check(train: NDArray[np.uint8], val: NDArray[np.uint8], original: int) -> ShardCheck:
    """What is found of images whose originals had so many pixels a side."""
    frame = manifest(max(len(train), len(val)))
    frame = frame[frame["label"] == "lemon"].assign(width=original, height=original, photo_id=None)
    parts, splits = [], []
    for name, images in (("train", train), ("val", val)):
        of = frame[frame["split"] == name].head(len(images))
        parts.append(of.assign(prepared_sha256=[hashlib.sha256(image.tobytes()).hexdigest() for image in images]))
        how = Preprocessing(image_size=images.shape[1])
        splits.append(PreparedSplit(name, ("lemon",), how, "", of, np.zeros(len(of), np.int64), (images,)))
    return check_shards(pd.concat(parts), splits)


@pytest.mark.parametrize(
    ("side", "interpolation", "original", "compared"),
    [
        (64, cv2.INTER_NEAREST, 64, 897),
        (64, cv2.INTER_CUBIC, 64, 897),
        (64, cv2.INTER_CUBIC, 8, 0),  # enlarged by preprocess
        (8, cv2.INTER_NEAREST, 8, 0),
    ],
)
def test_digits_that_look_alike_are_no_copies_and_what_is_too_small_is_counted(
    side: int, interpolation: int, original: int, compared: int
) -> None:
    images = digits(side, interpolation)

    found = check(images[:900], images[900:], original)

    assert found.near_copies == []
    assert (found.compared, found.without_detail) == (compared, 897 - compared)


def test_the_same_picture_saved_anew_smaller_turned_or_brighter_is_found() -> None:
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (40, 12, 12, 3), dtype=np.uint8)
    train = np.stack([cv2.resize(one, (64, 64), interpolation=cv2.INTER_CUBIC) for one in coarse])
    _, saved = cv2.imencode(".jpg", train[0], [cv2.IMWRITE_JPEG_QUALITY, 60])
    smaller = cv2.resize(cv2.resize(train[1], (38, 38), interpolation=cv2.INTER_AREA), (64, 64))
    brighter = (train[2] * 0.8 + 20).astype(np.uint8)
    val = [
        cv2.imdecode(saved, cv2.IMREAD_COLOR),
        smaller,
        brighter,
        np.rot90(train[3]),
        train[4][:, ::-1].swapaxes(0, 1),
    ]

    found = check(train[:20], np.stack([*val, *train[20:]]), 64)

    assert found.near_copies == [(f"lemon/train{number}.jpg", f"lemon/val{number}.jpg") for number in range(5)]
    assert (found.compared, found.without_detail) == (25, 0)


def test_flat_pictures_are_like_nothing() -> None:
    flat = np.full((3, 64, 64, 3), 250, np.uint8)

    found = check(flat, flat, 64)

    assert (found.near_copies, found.same_pixels, found.compared, found.without_detail) == ([], [], 0, 3)
