"""Doubtful pictures are counted, the worst first; planted shortcuts are seen, and none that is not."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.curation.findings import (
    MOST_WORST,
    balanced_accuracy,
    flag_images,
    probe_shortcuts,
)
from podium.curation.linear_probe import draw_images
from podium.curation.measures import NAMES, measure
from tests.shapes import SHAPES, Shapes, shape_pictures, write_shapes

RANDOM = np.random.default_rng(0)
NOISE = RANDOM.integers(40, 216, (64, 64, 3), dtype=np.uint8)
PICTURES = {
    "fine": NOISE,
    "dark": NOISE // 10,
    "darker": NOISE // 20,
    "blurred": cv2.GaussianBlur(
        np.repeat(np.arange(0, 256, 4, dtype=np.uint8)[None, :, None], 64, 0).repeat(3, 2), (0, 0), 3
    ),
    "flat": np.full((64, 64, 3), 128, dtype=np.uint8),
}
LIMITS = {"dark": 0.08, "blurred": 15.0, "uniform": 0.005, "aspect": 4.0}


def tables(sizes: dict[str, tuple[int, int]] | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    ids = [f"{number:016x}" for number in range(len(PICTURES))]
    given = sizes or {}
    manifest = pd.DataFrame(
        {
            "image_id": ids,
            "path": list(PICTURES),
            "split": ["train", "test", "val", "train", "train"],
            "width": [given.get(name, (64, 64))[0] for name in PICTURES],
            "height": [given.get(name, (64, 64))[1] for name in PICTURES],
        }
    )
    measures = pd.DataFrame([measure(picture) for picture in PICTURES.values()], columns=list(NAMES))
    return measures.assign(image_id=ids), manifest


def named(**limits: float | None) -> dict[str, list[str]]:
    return {flag.name: [one.path for one in flag.worst] for flag in flag_images(*tables(), **(LIMITS | limits))}


def test_of_many_doubtful_pictures_the_worst_are_named_those_alike_by_key() -> None:
    values = np.array([0.05, 0.01, 0.03, 0.01] * 10)
    ids = [f"{(7 * n) % 40:02d}" for n in range(40)]
    manifest = pd.DataFrame({"image_id": ids, "path": ids, "split": "train", "width": 8, "height": 8})
    measures = pd.DataFrame({"image_id": ids, "brightness": values, "contrast": 1.0, "sharpness": 1.0})

    [dark] = flag_images(measures, manifest, dark=0.04, blurred=None, uniform=None, aspect=None)

    assert dark.count == 30
    assert [one.image_id for one in dark.worst] == sorted(
        id for id, value in zip(ids, values, strict=True) if value < 0.02
    )
    shuffled = measures.sample(frac=1, random_state=0, ignore_index=True)
    assert flag_images(shuffled, manifest, dark=0.04, blurred=None, uniform=None, aspect=None) == [dark]


def test_doubtful_pictures_are_named_the_worst_first() -> None:
    found = named()

    assert found["dark"] == ["darker", "dark"]
    assert found["blurred"] == ["blurred"]
    assert found["uniform"] == ["flat"]
    assert found["odd_aspect"] == []


@pytest.mark.parametrize("size", [(64, 300), (300, 64)])
def test_long_and_tall_originals_have_an_odd_shape(size: tuple[int, int]) -> None:
    shape = flag_images(*tables({"fine": size}), **LIMITS)[-1]

    assert [one.path for one in shape.worst] == ["fine"] and shape.worst[0].value == 4.6875


def test_a_limit_that_is_off_makes_no_flag() -> None:
    assert list(named(dark=None, aspect=None)) == ["blurred", "uniform"]
    # what would be uniform is blurred as well, and is then called that
    assert set(named(uniform=None)["blurred"]) == {"blurred", "flat"}


def test_all_are_counted_and_the_worst_are_listed() -> None:
    measures, manifest = tables()
    many = [manifest.assign(image_id=[f"{n}-{key}" for key in manifest["image_id"]]) for n in range(15)]
    numbers = [measures.assign(image_id=[f"{n}-{key}" for key in measures["image_id"]]) for n in range(15)]

    dark = flag_images(pd.concat(numbers), pd.concat(many), **LIMITS)[0]

    assert dark.count == 30 and len(dark.worst) == MOST_WORST
    assert [one.path for one in dark.worst] == ["darker"] * 15 + ["dark"] * 5


@pytest.fixture(scope="module")
def pictures() -> tuple[np.ndarray, list[str]]:
    return shape_pictures(40)


def probed(shapes: Shapes, border: int = 8):
    return probe_shortcuts(draw_images(shapes.splits, shapes.manifest, shapes.measures, border=border))


def test_without_a_shortcut_the_border_tells_no_more_than_chance(
    tmp_path: Path, pictures: tuple[np.ndarray, list[str]]
) -> None:
    found = probed(write_shapes(tmp_path, *pictures)).label_from_border

    assert found.chance == 0.25 and found.images == 160 and found.classes == 4
    assert found.low <= found.chance <= found.high
    assert abs(found.excess) < 0.15


def test_a_frame_in_the_colour_of_the_class_is_seen_and_its_images_are_named(
    tmp_path: Path, pictures: tuple[np.ndarray, list[str]]
) -> None:
    framed, labels = pictures[0].copy(), pictures[1]
    for picture, label in zip(framed, labels, strict=True):
        picture[:3] = 60 * SHAPES.index(label)
    found = probed(write_shapes(tmp_path, framed, labels)).label_from_border

    assert found.balanced_accuracy > 0.95 and found.excess > 0.9
    assert found.low > found.chance
    assert len(found.giveaways) == 20 and all(path.endswith(".png") for path in found.giveaways)


def test_a_mark_in_the_middle_is_no_business_of_the_border(
    tmp_path: Path, pictures: tuple[np.ndarray, list[str]]
) -> None:
    marked, labels = pictures[0].copy(), pictures[1]
    for picture, label in zip(marked, labels, strict=True):
        picture[20:28, 20:28] = 60 * SHAPES.index(label)
    found = probed(write_shapes(tmp_path, marked, labels)).label_from_border

    assert abs(found.excess) < 0.15


def test_a_letterbox_shows_in_the_border_and_in_the_aspect_ratio_alike(
    tmp_path: Path, pictures: tuple[np.ndarray, list[str]]
) -> None:
    boxed, labels = pictures[0].copy(), pictures[1]
    sizes = []
    for picture, label in zip(boxed, labels, strict=True):
        band = 2 * SHAPES.index(label)
        picture[:band], picture[48 - band :] = 114, 114
        sizes.append((48, 48 - 2 * band))
    found = probed(write_shapes(tmp_path, boxed, labels, sizes=sizes))

    assert found.label_from_border.excess > 0.9
    assert found.label_from_aspect.excess > 0.9


def test_sources_that_look_different_within_a_class_are_told_apart(
    tmp_path: Path, pictures: tuple[np.ndarray, list[str]]
) -> None:
    bright, labels = pictures[0].copy(), pictures[1]
    sources = ["dark camera" if number % 8 < 4 else "bright camera" for number in range(len(labels))]
    for picture, source in zip(bright, sources, strict=True):
        picture //= 2 if source == "dark camera" else 1
    found = probed(write_shapes(tmp_path, bright, labels, sources=sources)).source_from_image

    assert found.chance == pytest.approx(0.5)
    assert found.balanced_accuracy > 0.9 and found.excess > 0.8


def test_sources_that_look_the_same_are_not_told_apart(tmp_path: Path, pictures: tuple[np.ndarray, list[str]]) -> None:
    labels = pictures[1]
    sources = ["one" if number % 8 < 4 else "other" for number in range(len(labels))]
    found = probed(write_shapes(tmp_path, *pictures, sources=sources)).source_from_image

    assert abs(found.excess) < 0.3 and found.low <= found.chance <= found.high


def test_the_chance_of_a_source_is_what_the_class_tells_of_it(
    tmp_path: Path, pictures: tuple[np.ndarray, list[str]]
) -> None:
    labels = pictures[1]
    # discs and rings come from one source alone, the others from both
    sources = ["one" if label in ("disc", "ring") or number % 8 < 4 else "other" for number, label in enumerate(labels)]
    found = probed(write_shapes(tmp_path, *pictures, sources=sources)).source_from_image

    assert found.chance == pytest.approx((1 + 2 / 3) / 2, abs=1e-4)


@pytest.mark.parametrize("per_class", [False, True])
def test_what_cannot_be_asked_is_said(tmp_path: Path, pictures: tuple[np.ndarray, list[str]], per_class: bool) -> None:
    found = probed(write_shapes(tmp_path, *pictures, sources=[f"of {x}" for x in pictures[1]] if per_class else None))

    assert found.label_from_aspect.note == "not run: all images have the same aspect ratio"
    expected = (
        "every class comes from one source, so the class tells the source" if per_class else "there is one source"
    )
    assert found.source_from_image.note == f"not run: {expected}"
    assert found.source_from_image.images == 0


def test_the_border_is_at_most_half_the_image(tmp_path: Path, pictures: tuple[np.ndarray, list[str]]) -> None:
    shapes = write_shapes(tmp_path, *pictures)

    assert draw_images(shapes.splits, shapes.manifest, shapes.measures, border=500).border == 24


@settings(max_examples=100)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60))
def test_balanced_accuracy_is_the_mean_recall_within_its_interval(pairs: list[tuple[int, int]]) -> None:
    pairs = [*pairs, *((code, 0) for code in range(4))]
    given_, predicted = np.array(pairs, dtype=np.int64).T
    value, low, high = balanced_accuracy(given_, predicted, 4)

    assert value == pytest.approx(np.mean([(predicted[given_ == c] == c).mean() for c in range(4)]))
    assert 0 <= low <= value <= high <= 1 and low < high
