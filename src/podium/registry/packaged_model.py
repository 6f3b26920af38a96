"""A packaged model run the way serving runs it: loaded from its package, asked for its golden batch, timed.

It knows nothing of gates; a promotion judges what is found here. numpy and torch are imported on use.
"""

import base64
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from podium.core.errors import DataError, ModelError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from podium.models.inference import Classifier
    from podium.registry.package import GoldenBatch

LATENCY_WARM_UPS = 3
LATENCY_CALLS = 21


def load(folder: Path) -> "Classifier | str":
    """The model of a package, or why it does not load.

    Args:
        folder: the `artifacts/` of the package.
    """
    from podium.models.inference import load_classifier
    from podium.registry.predictor import serving_runtime

    try:
        return load_classifier(folder, serving_runtime(folder))
    except (DataError, ModelError) as error:
        return str(error)


def golden_files(golden: "GoldenBatch") -> list[bytes]:
    """The images of a golden batch as the files they were."""
    return [base64.b64decode(image.bytes) for image in golden.images]


def golden_probabilities(
    classifier: "Classifier", golden: "GoldenBatch"
) -> "tuple[NDArray[np.float64], NDArray[np.float64]]":
    """What the model says of its golden batch now, and what was stored for it.

    Returns:
        Two arrays of probabilities, shape (N, C) each in a sound package; a changed one may hold other shapes.

    Raises:
        DataError: an image cannot be read.
        ModelError: the model's answers are not numbers.
    """
    import numpy as np

    from podium.registry.predictor import predict_bytes

    stored = np.array([image.probabilities for image in golden.images], dtype=np.float64)
    now = predict_bytes(classifier, golden_files(golden)).astype(np.float64)
    return now, stored


def median_seconds(classifier: "Classifier", images: Sequence[bytes]) -> float:
    """How long one image takes, decoding included: the median of `LATENCY_CALLS` calls after some that do not count.

    Args:
        classifier: a loaded model.
        images: files, taken in turn, one a call; at least one.

    Raises:
        DataError: an image cannot be read.
        ModelError: the model's answers are not numbers.
    """
    from podium.registry.predictor import predict_bytes

    seconds = []
    for call in range(LATENCY_WARM_UPS + LATENCY_CALLS):
        start = time.perf_counter()
        predict_bytes(classifier, [images[call % len(images)]])
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[LATENCY_WARM_UPS:])
