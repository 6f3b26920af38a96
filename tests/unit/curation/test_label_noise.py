"""Wrong labels: the estimated share rises with those that are planted, and they are named; right ones hardly are."""

from pathlib import Path

import numpy as np
import pytest
from scipy.special import softmax

from podium.curation.label_noise import find_label_noise, true_labels
from podium.curation.linear_probe import ProbeImages, draw_images
from tests.shapes import SHAPES, shape_pictures, write_shapes

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
    assert noise.share == pytest.approx(0.03, abs=0.015)


def test_candidates_say_which_class_it_looks_like_and_the_most_doubtful_come_first(
    tmp_path: Path, truth: tuple[np.ndarray, list[str]]
) -> None:
    labels, wrong = planted(truth[1], 0.03, 2)
    noise = find_label_noise(drawn(tmp_path, truth[0], labels))

    chances = [candidate.probability_label for candidate in noise.candidates]
    assert chances == sorted(chances) and max(chances) < 0.5
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


@pytest.mark.parametrize("share", [0.0, 0.05, 0.2, 0.3])
@pytest.mark.parametrize("kind", ["at random", "in pairs"])
def test_the_estimated_share_follows_what_was_planted(share: float, kind: str) -> None:
    """Scores are normal, so that the softmax of twice the scores is right; what was fitted on noise is less sure."""
    random, classes = np.random.default_rng(0), 5
    true = np.repeat(np.arange(classes), 200)
    scores = random.normal(size=(len(true), classes)) + 2.0 * np.eye(classes)[true]
    others = np.roll(np.eye(classes), 1, axis=1) if kind == "in pairs" else (1 - np.eye(classes)) / (classes - 1)
    transition = (1 - share) * np.eye(classes) + share * others
    given = np.array([random.choice(classes, p=transition[label]) for label in true])

    right = true_labels(softmax(1.2 * scores, axis=1), given)

    assert right.shape == (1000, classes) and np.allclose(right.sum(axis=1), 1)
    wrong = 1 - right[np.arange(1000), given]
    assert wrong.mean() == pytest.approx((given != true).mean(), abs=0.05)
    if share:
        assert (given != true)[wrong > 0.5].mean() > 0.6
