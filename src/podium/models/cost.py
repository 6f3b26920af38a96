"""What models cost to run: seconds and memory of all of them, measured in turns in one process.

In turns, because what else the machine does then slows all of them alike: the ratios are worth more than the seconds.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from torch.distributed._tools.mem_tracker import MemTracker

from podium.models.inference import Classifier

_WARM_UPS = 3
_IMAGES = 60  # one at a time, of each model
_SECONDS = 6.0  # for each model and way; where one takes long it is measured less often
_BATCHES = 5


@dataclass(frozen=True)
class Cost:
    """Measured on one machine, from prepared pixels to probabilities; seconds, images a second, bytes.

    Attributes:
        latency_p50_seconds: of one image at a time, the median.
        latency_p95_seconds: 95 of 100 are faster.
        images_per_second: in batches, the median of them.
        peak_bytes: weights and the most that is held beside them while a batch is computed, without what the kernels of
            a library keep for themselves.
    """

    latency_p50_seconds: float
    latency_p95_seconds: float
    images_per_second: float
    peak_bytes: float

    @property
    def measured(self) -> dict[str, float]:
        """For `records.training.add_times`."""
        return asdict(self)


def measure_costs(classifiers: Sequence[Classifier], images: NDArray[np.uint8], batch_size: int) -> list[Cost]:
    """Measures models on the same images.

    Args:
        classifiers: which take these images.
        images: uint8, shape (N, H, W, 3), N > 0; taken again where more are needed.
        batch_size: images at once for throughput and memory.

    Returns:
        A cost for each, in their order.
    """
    batch = images[np.arange(batch_size) % len(images)]
    for classifier in classifiers:
        for number in range(_WARM_UPS):
            classifier.probabilities(images[[number % len(images)]], 1)
    single = _in_turns(classifiers, [images[[number % len(images)]] for number in range(_IMAGES)])
    batched = _in_turns(classifiers, [batch] * _BATCHES)
    return [
        Cost(
            latency_p50_seconds=float(np.median(one)),
            latency_p95_seconds=float(np.quantile(one, 0.95)),
            images_per_second=batch_size / float(np.median(many)),
            peak_bytes=_peak_bytes(classifier, batch),
        )
        for classifier, one, many in zip(classifiers, single, batched, strict=True)
    ]


def _in_turns(classifiers: Sequence[Classifier], inputs: Sequence[NDArray[np.uint8]]) -> list[list[float]]:
    """Seconds of each model on each input, the models one after the other on every one; at least one a model."""
    seconds: list[list[float]] = [[] for _ in classifiers]
    for given in inputs:
        for classifier, spent in zip(classifiers, seconds, strict=True):
            if sum(spent) < _SECONDS:
                begun = time.perf_counter()
                classifier.probabilities(given, len(given))
                spent.append(time.perf_counter() - begun)
    return seconds


def _peak_bytes(classifier: Classifier, batch: NDArray[np.uint8]) -> float:
    """What torch counts of weights, inputs and activations at its height."""
    tracker = MemTracker()
    tracker.track_external(classifier.module)
    with tracker:
        classifier.probabilities(batch, len(batch))
    peak = tracker.get_tracker_snapshot("peak")
    return float(sum(kinds["Total"] for kinds in peak.values()))
