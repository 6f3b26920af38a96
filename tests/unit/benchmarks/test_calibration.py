"""`python -m benchmarks.calibration` in short: what it says of models whose calibration is known."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax

from benchmarks.calibration import Judged, fresh_pictures, judge, meets_target
from podium.analysis.predictions import Predictions
from podium.config.preprocess import Preprocessing


def answers(seed: int, images: int, sharpness: float) -> Predictions:
    """Of five classes, right as often as they say at `sharpness` 1; above it too sure, below it not sure enough."""
    random = np.random.default_rng(seed)
    scores = random.normal(0, 2.5, (images, 5))
    labels = (random.random(images)[:, None] > softmax(scores, axis=1).cumsum(axis=1)).sum(axis=1).clip(0, 4)
    index = pd.DataFrame({"image_id": [f"{number:06d}" for number in range(images)]})
    return Predictions(tuple("abcde"), index, labels, softmax(scores * sharpness, axis=1).astype(np.float32))


def judged(sharpness: float, images: int = 3000) -> Judged:
    return judge("toy", answers(3, 3000, sharpness), answers(4, images, sharpness))


@pytest.mark.parametrize("sharpness", [0.4, 3.0])
def test_the_temperature_of_a_model_that_is_too_sure_or_not_sure_enough_is_found_and_halves_its_error(sharpness):
    found = judged(sharpness)
    assert found.temperature == pytest.approx(sharpness, rel=0.1)
    assert found.before > 0.1
    assert found.after < found.before / 2 and found.after <= 1.5 * found.chance_high
    assert found.calibrated and found.keeps_risk


def test_a_calibrated_model_shows_an_error_that_falls_with_the_root_of_the_images():
    few, many = judged(1.0, 250), judged(1.0, 4000)
    assert few.chance == pytest.approx(4 * many.chance, rel=0.35)
    assert few.chance > 0.03 > many.chance_high  # the target cannot be told from chance on so few
    assert few.images_needed == pytest.approx(many.images_needed, rel=0.5)
    assert many.after <= many.chance_high


def test_more_validation_images_choose_a_better_temperature():
    many = answers(3, 4000, 1.6)
    assert meets_target(many, 50, tries=8) < meets_target(many, 2000, tries=8) == 1


def test_fresh_pictures_are_the_samples_kind_and_none_of_its_own():
    classes = ("banana", "lemon")
    preprocessing = Preprocessing(image_size=32, pad_value=114, max_pixels=10**6)
    index, labels, pixels = fresh_pictures(classes, preprocessing, 2)
    assert list(index["image_id"]) == [f"{name}/{number}.jpg" for name in classes for number in (10000, 10001)]
    assert labels.tolist() == [0, 0, 1, 1]
    assert pixels.shape == (4, 32, 32, 3) and pixels.std() > 10
    assert np.array_equal(fresh_pictures(classes, preprocessing, 1)[2], pixels[[0, 2]])
