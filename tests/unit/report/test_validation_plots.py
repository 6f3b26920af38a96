"""The plots of the validation page, looked at as pictures."""

import base64
import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from podium.data.manifest import MEASURES
from podium.records.profile import Part, Spread
from podium.report.validation_page import COLOURS, plot_sizes, plot_spectra


def opened(uri: str) -> np.ndarray:
    assert uri.startswith("data:image/png;base64,")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB")).astype(int)


def holds(picture: np.ndarray, colour: str, least: int = 30) -> bool:
    wanted = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
    return int((np.abs(picture - wanted).max(axis=2) <= 6).sum()) >= least


def part(slope: float) -> Part:
    def spread(mean: float) -> Spread:
        return Spread(mean=mean, std=0, q05=mean, q50=mean, q95=mean)

    measures = {name: spread(0.5) for name in MEASURES}
    measures |= {f"spectrum_{band}": spread(-0.2 - slope * band) for band in range(8)}
    return Part(images=3, sizes={}, measures=measures, histograms={})


@pytest.mark.parametrize("classes", [2, 60])
def test_the_two_ends_of_the_spectra_are_in_colour(classes: int) -> None:
    by_class = {f"class {n}": part(0.1 + 0.3 * n / classes) for n in range(classes)}

    picture = opened(plot_spectra(by_class, "class 0", f"class {classes - 1}"))

    assert holds(picture, COLOURS[0]) and holds(picture, COLOURS[1])
    assert holds(picture, "#c3ced9", 200) == (classes > 2)


def test_one_class_alone_is_drawn() -> None:
    assert holds(opened(plot_spectra({"only": part(0.2)}, "only", "only")), COLOURS[1])


def test_sizes_of_many_images_and_sources_stay_small() -> None:
    random = np.random.default_rng(0)
    manifest = pd.DataFrame(
        {
            "image_id": [f"{number:016x}" for number in range(20_000)],
            "source": [f"source {number % 9}" for number in range(20_000)],
            "width": random.integers(20, 4000, 20_000),
            "height": random.integers(20, 3000, 20_000),
        }
    )
    sources = [f"source {number}" for number in range(6)]
    uri = plot_sizes(manifest, sources, 224)

    assert len(uri) < 900_000
    assert uri == plot_sizes(manifest.sample(frac=1, random_state=1), sources, 224)
