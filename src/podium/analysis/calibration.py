"""How rightly sure a model is: temperature, calibration errors, when it should abstain, sets that hold the truth.

What is chosen here (temperature, threshold, limits of sets) is chosen on the validation split and measured on the test
split. Formulas and sources: docs/metrics.md.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from podium.analysis.predictions import Predictions
from podium.analysis.statistics import wilson
from podium.config.judging import Abstain
from podium.records.evaluation import Abstention, PredictionSets

_LEAST = float(np.finfo(np.float32).tiny)  # a probability below has no logarithm to speak of
_EXPONENTS = (-3.0, 3.0)  # of e: between which a temperature is sought
_SURE = 0.9  # that a risk is within the one asked for


def fit_temperature(predictions: Predictions) -> float:
    """The temperature with the least log loss (Guo and others, "On Calibration of Modern Neural Networks", ICML 2017).

    One more image, that is of every class alike, is added to those given, as Platt (1999) adds one to each class: where
    all answers are right the loss alone would choose certainty.

    Args:
        predictions: on the validation split.

    Returns:
        A temperature in [0.05, 20.1], six significant digits; above 1 where the model is too sure of itself.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import softmax

    logarithms = _logarithms(predictions.probabilities)
    truth = np.arange(len(logarithms)), predictions.labels

    def loss(exponent: float) -> float:
        """Mean log loss at the temperature e ** exponent, in nats; summed in one order whatever that of the images."""
        shares = np.maximum(softmax(logarithms / np.exp(exponent), axis=1), _LEAST)
        unknown = -np.log(shares).mean(axis=1)
        return float(np.sort(-np.log(shares[truth])).sum() + np.sort(unknown).mean()) / len(logarithms)

    found = minimize_scalar(loss, bounds=_EXPONENTS, method="bounded", options={"xatol": 1e-6})
    return float(f"{np.exp(found.x):.6g}")


def at_temperature(probabilities: NDArray[np.floating[Any]], temperature: float) -> NDArray[np.float64]:
    """Probabilities, shape (N, C), at a temperature: softmax(z / T), which is p ** (1 / T) over its sum.

    In float64, so that no two classes that differ become equal and another answer comes out.
    """
    from scipy.special import softmax

    shares: NDArray[np.float64] = softmax(_logarithms(probabilities) / temperature, axis=1)
    return shares


def calibrate(predictions: Predictions, temperature: float) -> Predictions:
    """The same answers with probabilities at a temperature."""
    return replace(predictions, probabilities=at_temperature(predictions.probabilities, temperature))


@dataclass(frozen=True)
class Reliability:
    """Confidence and accuracy by bin of confidence.

    Attributes:
        edges: of the bins, shape (M + 1,), from 0 to 1.
        counts: images per bin, shape (M,), int64.
        confidence: mean confidence per bin, shape (M,); NaN where the bin is empty.
        accuracy: share of right answers per bin, shape (M,); NaN where the bin is empty.
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]

    @property
    def expected_calibration_error(self) -> float:
        """ECE = sum over bins of (images in the bin / images) x |accuracy - confidence|, in [0, 1]."""
        filled = self.counts > 0
        gaps = np.abs(self.accuracy[filled] - self.confidence[filled])
        return float((self.counts[filled] / self.counts.sum() * gaps).sum())

    @property
    def debiased_error(self) -> float | None:
        """Root mean square gap less what chance alone makes of it (Kumar, Liang, Ma, NeurIPS 2019, section 5).

        From each squared gap the variance of the bin's accuracy is taken, a (1 - a) / (n - 1), so a calibrated model
        has 0 on average whatever N and M are. In [0, 1], 0 where it comes out negative; None where no bin holds two.
        """
        several = self.counts > 1
        if not several.any():
            return None
        counts, accuracy = self.counts[several], self.accuracy[several]
        squared = (accuracy - self.confidence[several]) ** 2 - accuracy * (1 - accuracy) / (counts - 1)
        return float(np.sqrt(max(0.0, (counts / counts.sum() * squared).sum())))


def reliability(confidence: NDArray[np.float64], correct: NDArray[np.bool_], bins: int) -> Reliability:
    """Sorts predictions into bins of equal width; bin m of M holds confidences in ((m-1)/M, m/M].

    Args:
        confidence: probability of the predicted class, shape (N,), in [0, 1], N > 0.
        correct: whether the prediction was right, shape (N,).
        bins: how many, at least 1.
    """
    # A confidence of exactly 0 belongs to the first bin, though its lower edge is open.
    number = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    return _by_bin(confidence, correct, number, np.linspace(0.0, 1.0, bins + 1))


def reliability_by_mass(confidence: NDArray[np.float64], correct: NDArray[np.bool_], bins: int) -> Reliability:
    """As `reliability`, in bins of as many images each (Nixon and others, CVPR workshops 2019), equals together."""
    edges = np.unique(np.quantile(confidence, np.linspace(0, 1, bins + 1)))
    edges[0], edges[-1] = 0.0, 1.0
    edges = edges if len(edges) > 1 else np.array([0.0, 1.0])
    number = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, len(edges) - 2)
    return _by_bin(confidence, correct, number.astype(np.int64), edges)


def classwise_error(predictions: Predictions, bins: int) -> float:
    """Mean over the classes of the calibration error of p(class) as a forecast of "it is this class".

    Source: Kull and others, "Beyond temperature scaling", NeurIPS 2019, section 2. In [0, 1].
    """
    probabilities = np.minimum(predictions.probabilities.astype(np.float64), 1.0)
    found = [
        reliability(probabilities[:, number], predictions.labels == number, bins).expected_calibration_error
        for number in range(len(predictions.classes))
    ]
    return float(np.mean(found))


def risk_coverage(
    confidence: NDArray[np.float64], correct: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The share of wrong answers among the surest ones, for every number of them.

    Source: El-Yaniv and Wiener, JMLR 11, 2010. Images of one confidence come in and stay out together.

    Args:
        confidence: shape (N,), N > 0.
        correct: shape (N,).

    Returns:
        Coverage (share of images answered) and risk (share of these answered wrongly), shape (K,) each, K <= N.
    """
    order = np.argsort(-confidence, kind="stable")
    answered = np.arange(1, len(order) + 1)
    risk = np.cumsum(~correct[order]) / answered
    last = np.append(np.flatnonzero(np.diff(confidence[order])), len(order) - 1)
    return answered[last] / len(order), risk[last]


def area_under_risk_coverage(confidence: NDArray[np.float64], correct: NDArray[np.bool_]) -> float:
    """AURC: the mean risk over all coverages, in [0, 1], less is better (Geifman and others, ICLR 2019)."""
    coverage, risk = risk_coverage(confidence, correct)
    return float((np.diff(coverage, prepend=0.0) * risk).sum())


def choose_threshold(predictions: Predictions, abstain: Abstain) -> float:
    """The least confidence with which an answer is given, so that risk or coverage are as asked for on these images.

    For a risk it is the lowest threshold above which the 90 % upper bound of the risk (Clopper and Pearson, Biometrika
    26, 1934) is within it, so that nine of ten models keep their promise (Geifman and El-Yaniv, "Selective
    Classification for Deep Neural Networks", NeurIPS 2017). 1 where no answer is sure enough for that.

    Args:
        predictions: calibrated, on the validation split.
        abstain: what is asked for.
    """
    from scipy.stats import beta

    confidence, images = predictions.confidence, len(predictions.labels)
    coverage, risk = risk_coverage(confidence, predictions.correct)
    answered = np.round(coverage * images)
    if abstain.risk is not None:
        wrong = np.round(risk * answered)
        highest = np.where(wrong < answered, beta.ppf(_SURE, wrong + 1, np.maximum(answered - wrong, 1)), 1.0)
        good = np.flatnonzero(highest <= abstain.risk)
    else:
        enough = np.flatnonzero(coverage >= (abstain.coverage or 0.0))
        good = enough[:1]
    if not len(good):
        return 1.0
    sorted_confidence = np.sort(confidence)[::-1]
    return float(sorted_confidence[int(answered[good[-1]]) - 1])


def measure_abstention(predictions: Predictions, threshold: float, abstain: Abstain) -> Abstention:
    """Coverage and risk on the test split at a threshold; no risk where nothing is answered."""
    answered = predictions.confidence >= threshold
    wrong = int((answered & ~predictions.correct).sum())
    return Abstention(
        target_risk=abstain.risk,
        target_coverage=abstain.coverage,
        threshold=threshold,
        coverage=wilson(int(answered.sum()), len(answered)),
        risk=wilson(wrong, int(answered.sum())) if answered.any() else None,
    )


def set_limits(predictions: Predictions, coverage: float) -> dict[str, float]:
    """Least probability with which a class is in an image's set, so that the set holds the truth often enough.

    Class-conditional split conformal prediction (Vovk, ACML 2012; Sadinle, Lei, Wasserman, JASA 114, 2019): of n images
    of a class, the k-th lowest probability of the truth, k = floor((n + 1) (1 - coverage)). Where k is 0 the images are
    too few to leave the class out of any set, and the limit is 0.

    Args:
        predictions: calibrated, on the validation split.
        coverage: share of images of each class whose set is to hold the truth.

    Returns:
        A limit by class.
    """
    limits = {}
    for number, name in enumerate(predictions.classes):
        of_truth = np.sort(predictions.probabilities[predictions.labels == number, number].astype(np.float64))
        place = int(np.floor((len(of_truth) + 1) * (1 - coverage) + 1e-9))
        limits[name] = float(of_truth[place - 1]) if place else 0.0
    return limits


def measure_sets(predictions: Predictions, limits: dict[str, float], coverage: float) -> PredictionSets:
    """How often the sets hold the truth on the test split, and how many classes they name."""
    inside = predictions.probabilities >= np.array([limits[name] for name in predictions.classes])
    holds = inside[np.arange(len(inside)), predictions.labels]
    return PredictionSets(
        target_coverage=coverage,
        limits=limits,
        coverage=wilson(int(holds.sum()), len(holds)),
        mean_size=float(inside.sum(axis=1).mean()),
        per_class={
            name: float(holds[predictions.labels == number].mean())
            for number, name in enumerate(predictions.classes)
            if (predictions.labels == number).any()
        },
    )


def _logarithms(probabilities: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Logits up to a constant of each image."""
    return np.log(np.maximum(probabilities.astype(np.float64), _LEAST))


def _by_bin(
    confidence: NDArray[np.float64], correct: NDArray[np.bool_], number: NDArray[np.int64], edges: NDArray[np.float64]
) -> Reliability:
    """Means by bin; sums over sorted values do not depend on the order of the images."""
    bins = len(edges) - 1
    order = np.lexsort((confidence, number))
    number, confidence, correct = number[order], confidence[order], correct[order]
    counts = np.bincount(number, minlength=bins).astype(np.int64)
    divisor = np.where(counts > 0, counts, np.nan)
    return Reliability(
        edges=edges,
        counts=counts,
        confidence=np.bincount(number, weights=confidence, minlength=bins) / divisor,
        accuracy=np.bincount(number, weights=correct.astype(np.float64), minlength=bins) / divisor,
    )
