"""Doubtful pictures are counted, the worst first; planted shortcuts and wrong labels are seen, and none that is not."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.curation.findings import (
    DOUBTFUL,
    MOST_WORST,
    balanced_accuracy,
    find_label_noise,
    flag_images,
    probe_shortcuts,
)
from podium.curation.linear_probe import ProbeImages, draw_images
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


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60))
def test_balanced_accuracy_is_the_mean_recall_within_its_interval(pairs: list[tuple[int, int]]) -> None:
    pairs = [*pairs, *((code, 0) for code in range(4))]
    given_, predicted = np.array(pairs, dtype=np.int64).T
    value, low, high = balanced_accuracy(given_, predicted, 4)

    assert value == pytest.approx(np.mean([(predicted[given_ == c] == c).mean() for c in range(4)]))
    assert 0 <= low <= value <= high <= 1 and low < high


PER_CLASS = 100


@pytest.fixture(scope="module")
def truth() -> tuple[np.ndarray, list[str]]:
    return shape_pictures(PER_CLASS)


def drawn(folder: Path, pictures: np.ndarray, labels: list[str]) -> ProbeImages:
    shapes = write_shapes(folder, pictures, labels)
    return draw_images(shapes.splits, shapes.manifest, shapes.measures)


def planted(labels: list[str], share: float, seed: int) -> tuple[list[str], set[str]]:
    """Labels with some replaced by others at random, and the paths of those images."""
    random, out = np.random.default_rng(seed), list(labels)
    wrong = random.choice(len(labels), int(share * len(labels)), replace=False)
    for at in wrong:
        out[at] = str(random.choice([shape for shape in SHAPES if shape != labels[at]]))
    return out, {f"{out[at]}/{at:04d}.png" for at in wrong}


@pytest.mark.parametrize("seed", [0, 1])
def test_three_percent_planted_wrong_labels_are_found(
    tmp_path: Path, truth: tuple[np.ndarray, list[str]], seed: int
) -> None:
    labels, wrong = planted(truth[1], 0.03, seed)

    noise = find_label_noise(drawn(tmp_path, truth[0], labels))

    named = {candidate.path for candidate in noise.candidates}
    assert len(wrong & named) >= 0.8 * len(wrong)
    assert len(wrong & named) >= 0.5 * len(named)
    assert noise.images == 4 * PER_CLASS and noise.count == len(named)
    assert noise.share == pytest.approx(noise.count / noise.images, abs=1e-4)


def test_candidates_say_which_class_it_looks_like_and_the_most_doubtful_come_first(
    tmp_path: Path, truth: tuple[np.ndarray, list[str]]
) -> None:
    labels, wrong = planted(truth[1], 0.03, 2)
    noise = find_label_noise(drawn(tmp_path, truth[0], labels))

    chances = [candidate.probability_label for candidate in noise.candidates]
    assert chances == sorted(chances) and max(chances) < DOUBTFUL
    rightly = [c for c in noise.candidates if c.path in wrong]
    true = {f"{given}/{at:04d}.png": label for at, (label, given) in enumerate(zip(truth[1], labels, strict=True))}
    assert sum(c.suggested == true[c.path] for c in rightly) >= 0.8 * len(rightly)
    assert all(c.suggested != c.label for c in noise.candidates)
    assert {c.split for c in noise.candidates} <= {"train", "val"}


def test_right_labels_are_hardly_doubted_and_two_runs_agree(
    tmp_path: Path, truth: tuple[np.ndarray, list[str]]
) -> None:
    images = drawn(tmp_path, *truth)
    noise = find_label_noise(images)

    assert noise.share < 0.02
    assert noise.accuracy > 0.9 > noise.chance
    assert find_label_noise(images) == noise


def test_copies_with_the_same_wrong_label_do_not_vouch_for_each_other(
    tmp_path: Path, truth: tuple[np.ndarray, list[str]]
) -> None:
    pictures, labels = truth[0], list(truth[1])
    copies = np.repeat(pictures[:1], 6, axis=0)
    groups = [f"g{number}" for number in range(len(pictures))] + ["g0"] * 6
    wrong = next(shape for shape in SHAPES if shape != labels[0])
    labels[0] = wrong
    shapes = write_shapes(tmp_path, np.concatenate([pictures, copies]), [*labels, *[wrong] * 6], groups=groups)

    noise = find_label_noise(draw_images(shapes.splits, shapes.manifest, shapes.measures))

    alike = {f"{wrong}/0000.png"} | {f"{wrong}/{len(pictures) + copy:04d}.png" for copy in range(6)}
    assert alike <= {candidate.path for candidate in noise.candidates}


def test_classes_with_too_few_pictures_are_left_out_and_said_when_none_is_left(
    tmp_path: Path, truth: tuple[np.ndarray, list[str]]
) -> None:
    few = [*truth[1][:80], *["rare"] * 3]
    noise = find_label_noise(drawn(tmp_path / "one", truth[0][:83], few))
    assert (noise.images, noise.classes, noise.note) == (80, 4, "")

    noise = find_label_noise(drawn(tmp_path / "two", truth[0][:8], truth[1][:8]))
    assert noise.count == 0 and not noise.candidates
    assert noise.note == "not judged: fewer than two classes have 5 different pictures"
