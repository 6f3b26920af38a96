"""The bounded draw of images that probes are fitted on."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from podium.core.errors import DataError
from podium.curation import linear_probe
from podium.curation.linear_probe import cross_validate, draw_images
from tests.shapes import Shapes, shape_pictures, write_shapes


@pytest.fixture
def shapes(tmp_path: Path) -> Shapes:
    return write_shapes(tmp_path, *shape_pictures(15))


def test_rows_follow_the_ids_and_do_not_depend_on_the_order_of_the_tables(shapes: Shapes) -> None:
    drawn = draw_images(shapes.splits, shapes.manifest, shapes.measures)
    other = draw_images(shapes.splits[::-1], shapes.manifest.iloc[::-1], shapes.measures.sample(frac=1, random_state=0))

    assert drawn.rows["image_id"].is_monotonic_increasing and len(drawn.rows) == 60
    assert drawn.rows.equals(other.rows)
    assert np.array_equal(drawn.appearance, other.appearance) and np.array_equal(drawn.borders, other.borders)
    assert len(drawn.appearance) == len(drawn.mirrored) == len(drawn.borders) == len(drawn.aspect) == 60


def test_a_class_gives_at_most_the_images_asked_for(shapes: Shapes, monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(
        draw_images(shapes.splits, shapes.manifest, shapes.measures, images_per_class=6).rows.value_counts("label")
    ) == {6}

    monkeypatch.setattr(linear_probe, "MOST_IMAGES", 16)
    assert set(draw_images(shapes.splits, shapes.manifest, shapes.measures).rows.value_counts("label")) == {4}


def test_mirroring_changes_layout_and_not_colours(shapes: Shapes) -> None:
    drawn = draw_images(shapes.splits, shapes.manifest, shapes.measures)

    assert not np.allclose(drawn.appearance, drawn.mirrored)
    cells = 8 * 8 * 3
    assert np.allclose(drawn.appearance[:, cells : cells + 48], drawn.mirrored[:, cells : cells + 48])


def test_the_test_split_is_refused(shapes: Shapes) -> None:
    opened = replace(shapes.splits[1], name="test")

    with pytest.raises(DataError, match="only train and val are"):
        draw_images((shapes.splits[0], opened), shapes.manifest, shapes.measures)


@pytest.mark.parametrize("missing", ["manifest", "measures"])
def test_an_image_that_is_not_in_the_tables_is_an_error(shapes: Shapes, missing: str) -> None:
    cut = replace(shapes, **{missing: getattr(shapes, missing).iloc[1:]})

    with pytest.raises(DataError, match="dvc repro -f preprocess"):
        draw_images(cut.splits, cut.manifest, cut.measures)


RANDOM = np.random.default_rng(5)


def blobs(per_class: int, apart: float, classes: int = 3) -> tuple[np.ndarray, pd.Series]:
    """Clouds of points in ten dimensions."""
    codes = np.arange(per_class * classes) % classes
    centres = RANDOM.normal(0, apart, (classes, 10))
    features = (centres[codes] + RANDOM.normal(0, 1, (len(codes), 10))).astype(np.float32)
    return features, pd.Series([f"class {code}" for code in codes])


def alone(count: int) -> pd.Series:
    return pd.Series([f"{number:05d}" for number in range(count)])


def test_clouds_far_apart_are_told_apart_and_noise_is_not() -> None:
    features, given_ = blobs(60, 3.0)
    judged = cross_validate(features, given_, alone(180), folds=5, seed=0)
    assert (judged.probabilities.argmax(axis=1) == judged.codes).mean() > 0.98

    features, given_ = blobs(60, 0.0)
    judged = cross_validate(features, given_, alone(180), folds=5, seed=0)
    assert (judged.probabilities.argmax(axis=1) == judged.codes).mean() < 0.5
    assert judged.probabilities.max() < 0.7  # it knows that it does not know


def test_probabilities_mean_what_they_say() -> None:
    features, given_ = blobs(400, 0.7)
    features = np.hstack([features, features + RANDOM.normal(0, 0.1, features.shape)]).astype(np.float32)  # correlated
    judged = cross_validate(features, given_, alone(1200), folds=5, seed=0)

    sure = judged.probabilities.max(axis=1)
    right = judged.probabilities.argmax(axis=1) == judged.codes
    assert sure.mean() == pytest.approx(right.mean(), abs=0.03)
    assert judged.probabilities.sum(axis=1) == pytest.approx(np.ones(1200))


def test_a_copy_in_the_same_group_is_no_help() -> None:
    features = RANDOM.normal(0, 1, (120, 40)).astype(np.float32)
    given_ = pd.Series([f"class {number % 2}" for number in range(60)] * 2)  # each point twice, labels are noise
    features[60:] = features[:60]
    together, apart = pd.concat([alone(60), alone(60)], ignore_index=True), alone(120)

    def accuracy(groups: pd.Series) -> float:
        judged = cross_validate(features, given_, groups, folds=5, seed=0)
        return float((judged.probabilities.argmax(axis=1) == judged.codes).mean())

    assert accuracy(together) < 0.65 < accuracy(apart)


@settings(max_examples=8)
@given(st.integers(1, 4))
def test_the_number_of_threads_changes_no_bit(threads: int) -> None:
    random = np.random.default_rng(0)
    features = random.normal(0, 1, (200, 150)).astype(np.float32)
    given_ = pd.Series([f"class {number % 4}" for number in range(200)])
    first = cross_validate(features, given_, alone(200), folds=3, seed=1)

    with threadpool_limits(threads):
        again = cross_validate(features, given_, alone(200), folds=3, seed=1)

    assert np.array_equal(again.probabilities, first.probabilities)


def test_features_that_never_change_are_harmless() -> None:
    features, given_ = blobs(20, 3.0)
    features = np.hstack([features, np.ones((60, 3), dtype=np.float32)])
    judged = cross_validate(features, given_, alone(60), folds=5, seed=0)

    assert (judged.probabilities.argmax(axis=1) == judged.codes).mean() > 0.9


def test_with_equal_priors_a_rare_class_is_not_drowned() -> None:
    features = RANDOM.normal(0, 1, (330, 2)).astype(np.float32)
    features[300:, 0] += 1.5
    given_ = pd.Series(["common"] * 300 + ["rare"] * 30)

    def recall(equal: bool) -> float:
        judged = cross_validate(features, given_, alone(330), folds=5, seed=0, equal_priors=equal)
        return float((judged.probabilities.argmax(axis=1)[judged.codes == 1] == 1).mean())

    assert recall(equal=True) > recall(equal=False) + 0.2


def test_classes_without_enough_different_pictures_are_not_judged() -> None:
    features, given_ = blobs(20, 3.0)
    groups = alone(60)
    groups[(given_ == "class 2").to_numpy()] = "the same picture"

    judged = cross_validate(features, given_, groups, folds=5, seed=0)

    assert judged.names == ("class 0", "class 1") and len(judged.rows) == 40
    assert cross_validate(features[:6], given_[:6], groups[:6], folds=5, seed=0) is None
