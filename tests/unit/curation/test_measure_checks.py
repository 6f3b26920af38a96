"""Quality flags: doubtful pictures are counted, the worst first."""

import cv2
import numpy as np
import pandas as pd
import pytest

from podium.curation.measure_checks import MOST_WORST, flag_images
from podium.curation.measures import NAMES, measure

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
