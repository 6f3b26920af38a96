"""What more training images would bring: the error as a power law of their number, and where it leads.

error(n) = a (n / N)^-b + c, with a, b and c at least 0: Cortes, Jackel, Solla, Vapnik and Denker, "Learning curves:
asymptotic values and rate of convergence", NIPS 6, 1993; Hestness et al., "Deep learning scaling is predictable,
empirically", arXiv 1712.00409, 2017. The interval is a parametric bootstrap (Efron and Tibshirani, "An Introduction to
the Bootstrap", 1993, section 6.5): draws of the same number of images differ by as much as they were seen to differ.
"""

import shutil
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from podium.analysis.statistics import LEVEL, generator_of
from podium.config.params import Params
from podium.console.process import set_up_logging
from podium.core.errors import DataError
from podium.core.executor import open_executor
from podium.core.files import write_text
from podium.core.layout import MODEL_CARD, Layout
from podium.records.base import read_parquet
from podium.records.evaluation import Interval
from podium.records.training import LearningCurve, LearningPoint, ModelCard

if TYPE_CHECKING:
    from podium.models.job import Job

SHARES = (0.125, 0.25, 0.5, 1.0)
"""Of the training groups."""
DRAWS = 3
"""Of each share."""
_EXPONENTS = np.linspace(0.05, 2.0, 79)
"""Those tried. A curve that falls more slowly cannot be told from a straight one by a few sizes."""
_RESAMPLES = 1000


def measure_learning_curve(
    layout: Layout, params: Params, model: str, draws: int = DRAWS, *, quiet: bool = False
) -> LearningCurve:
    """Trains on every share of the training images, some draws each, and writes `reports/learning_curve.json`.

    What an earlier call has trained is not trained again. The others are trained one by one, several at once
    (`resources.trials_at_once`) or on the cluster. `quiet` prints nothing.

    Raises:
        DataError: a file of an earlier stage is missing or damaged.
        PodiumError: a process was ended from outside, or the cluster cannot be used or was lost.
    """
    from podium.models.training import open_training

    label = f"learning curve of {model}"
    whole = open_training(
        layout,
        "train",
        model,
        config=params.complete(model),
        runtime=params.runtime,
        resources=params.resources,
        seed=params.seed,
        label=label,
    ).job
    # parts of the images are seen by one training alone, so nothing is kept of their frozen layers
    job = replace(whole, cache=replace(whole.cache, gib=0.0))
    manifest = read_parquet(layout.manifest, ["image_id", "split_group"]).set_index("image_id")["split_group"]
    groups = manifest.reindex(job.train.index["image_id"])
    if groups.isna().any():
        raise DataError(f"{layout.manifest} does not hold all training images: run `dvc repro preprocess`")
    names = groups.astype(str).to_numpy(dtype=object)
    train = _TrainPart(layout, job)
    parts = [
        train.plan(draw_rows(job.train.labels, names, share, params.seed, draw), share, draw)
        for draw in range(draws)
        for share in SHARES
    ]
    # by name: of few groups, two shares can be the same images
    missing = {part.name: part for part in parts if not layout.learning_point(part.name).is_file()}
    points = []
    with closing(_train_all(train, list(missing.values()), params)) as trained:
        for part in parts:
            if missing.pop(part.name, None) is not None:
                next(trained)
            point = LearningPoint.read(layout.learning_point(part.name))
            points.append(point.model_copy(update={"share": part.share, "draw": part.draw}))
            if not quiet:
                said = f"{part.share:.1%} of the images ({point.images:,}), draw {part.draw + 1} of {draws}"
                print(f"{label}: {said}, val accuracy {point.accuracy:.3f}", flush=True)
    card = ModelCard.read(layout.model(model) / MODEL_CARD)
    size, val_images = len(job.train), len(job.val)
    curve = fit_curve(model, card.fingerprint, points, images=size, val_images=val_images, seed=params.seed)
    write_text(layout.learning_curve, curve.model_dump_json(indent=2) + "\n")
    return curve


def draw_rows(
    labels: NDArray[np.int64], groups: NDArray[np.object_], share: float, seed: int, draw: int
) -> NDArray[np.int64]:
    """Training images for a point of the curve: a share of the groups of each class, so every class stays.

    Within a draw a larger share holds the smaller ones.

    Args:
        labels: class of each image, shape (N,).
        groups: name of its split group, shape (N,); a group counts for the class of its first image.
        share: of the groups of each class, in (0, 1]; at least one is taken.
        seed: of the experiment.
        draw: from 0.

    Returns:
        Row numbers, ascending, int64.
    """
    names, first, group_of = np.unique(groups, return_index=True, return_inverse=True)
    order = generator_of(seed, f"learning curve {draw}").permutation(len(names))
    class_of = labels[first]
    taken = np.zeros(len(names), np.bool_)
    for label in np.unique(class_of):
        own = order[class_of[order] == label]
        taken[own[: max(1, round(share * len(own)))]] = True
    return np.flatnonzero(taken[group_of]).astype(np.int64)


def fit_curve(
    model: str, fingerprint: str, points: Sequence[LearningPoint], *, images: int, val_images: int, seed: int
) -> LearningCurve:
    """Puts the power law through the points and says what doubling the images would bring.

    Args:
        model: whose recipe it is.
        fingerprint: of that model, trained on all images.
        points: of at least three different shares.
        images: training images in all, N.
        val_images: that accuracies were measured on.
        seed: of the bootstrap.

    Returns:
        The curve; `doubling` = a (1 - 2^-b).
    """
    law, laws = _fit_and_resample(points, images, val_images, seed)
    gain = float(_gain(law[None, :])[0])
    low, high = _wider(gain, _gain(laws))
    scale, exponent, floor = (float(value) for value in law)
    return LearningCurve(
        model=model,
        fingerprint=fingerprint,
        images=images,
        val_images=val_images,
        points=tuple(points),
        scale=scale,
        exponent=exponent,
        floor=floor,
        doubling=gain,
        low=max(0.0, low),
        high=high,
    )


def expected_accuracy(curve: LearningCurve, share: float) -> float:
    """What the power law gives for a share of the training images, above 1 for more than there are."""
    return float(1 - (curve.scale * share**-curve.exponent + curve.floor))


def fitted_accuracies(curve: LearningCurve, shares: Sequence[float], seed: int) -> list[Interval]:
    """`expected_accuracy` at several shares, with its 95 % interval; `seed` is the experiment's."""
    laws = _fit_and_resample(curve.points, curve.images, curve.val_images, seed)[1]
    found = []
    for share in shares:
        value = expected_accuracy(curve, share)
        low, high = _wider(value, 1 - _law(np.array([share]), laws)[:, 0])
        found.append(Interval(value=value, low=max(0.0, low), high=min(1.0, high)))
    return found


def describe_curve(curve: LearningCurve) -> str:
    """What doubling the images would bring, in a sentence."""
    sure = "" if curve.low > 0.001 else ", so it may bring nothing"
    return (
        f"Twice the {curve.images:,} training images would bring about {100 * curve.doubling:+.1f} points of "
        f"validation accuracy ({100 * curve.low:.1f} to {100 * curve.high:.1f}, 95% interval){sure}, if they are like "
        f"those there are and {curve.model} is trained by the same recipe."
    )


def _fit_and_resample(
    points: Sequence[LearningPoint], images: int, val_images: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The law `a b c` of the points, shape (3,), and those of resampled points, shape (R, 3)."""
    shares = np.array([point.images / images for point in points])
    errors = 1 - np.array([point.accuracy for point in points])
    law = _fit(shares, errors[None, :])[0]
    fitted = _law(shares, law[None, :])[0]
    freedom = max(1, len(points) - 3)
    # Where all draws agree, half an image more or less could still have been seen.
    spread = max(float(np.sqrt(np.sum((errors - fitted) ** 2) / freedom)), 0.5 / val_images)
    generator = generator_of(seed, "learning curve")
    # The spread itself is known from few points: its chi-square share makes the noise Student's t.
    known = np.sqrt(freedom / generator.chisquare(freedom, (_RESAMPLES, 1)))
    noise = spread * known * generator.standard_normal((_RESAMPLES, len(points)))
    return law, _fit(shares, fitted + noise)


def _wider(value: float, drawn: NDArray[np.float64]) -> tuple[float, float]:
    """The percentile interval or its mirror image, on each side the wider: c >= 0 pulls the estimates to one side."""
    tail = (1 - LEVEL) / 2
    low, high = (float(bound) for bound in np.quantile(drawn, [tail, 1 - tail]))
    return min(low, 2 * value - high), max(high, 2 * value - low)


def _fit(shares: NDArray[np.float64], errors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Least squares of the law for many sets of errors, (R, P), at shares (P,): `a b c` of each, shape (R, 3).

    For a given b the law is linear in a and c, so b is tried on a grid and the other two follow.
    """
    best = np.full(len(errors), np.inf)
    found = np.zeros((len(errors), 3))
    centred = errors - errors.mean(axis=1, keepdims=True)
    for exponent in _EXPONENTS:
        x = shares**-exponent
        slope = np.maximum(centred @ (x - x.mean()) / np.sum((x - x.mean()) ** 2), 0.0)
        floor = errors.mean(axis=1) - slope * x.mean()
        through_zero = floor < 0  # the best law with c >= 0 then has c = 0
        slope = np.where(through_zero, np.maximum(errors @ x / np.sum(x**2), 0.0), slope)
        floor = np.where(through_zero, 0.0, floor)
        law = np.column_stack([slope, np.full(len(errors), exponent), floor])
        missed = np.sum((errors - _law(shares, law)) ** 2, axis=1)
        better = missed < best
        best[better], found[better] = missed[better], law[better]
    return found


def _law(shares: NDArray[np.float64], law: NDArray[np.float64]) -> NDArray[np.float64]:
    """Errors, (R, P), by laws (R, 3) at shares (P,)."""
    return law[:, :1] * shares[None, :] ** -law[:, 1:2] + law[:, 2:]


def _gain(law: NDArray[np.float64]) -> NDArray[np.float64]:
    """What doubling all images brings, (R,)."""
    return np.asarray(law[:, 0] * (1 - 2 ** -law[:, 1]), np.float64)


def _train_all(train: "_TrainPart", parts: Sequence["_Part"], params: Params) -> Generator[None]:
    """Trains on all parts, here or on the cluster; goes on to the next when the one before is done."""
    from podium.models.compute import find_cluster

    cluster, lower = find_cluster(train.layout.root, params.runtime, params.resources), "resources.trials_at_once"
    processes = params.resources.trials_at_once
    with open_executor(train, processes, lower=lower, cluster=cluster, prepare=set_up_logging) as executor:
        yield from executor.map(parts)


@dataclass(frozen=True)
class _Part:
    """Rows of the training images, int64: a share of them in a draw; `name` is the fingerprint of the training."""

    share: float
    draw: int
    rows: NDArray[np.int64]
    name: str


@dataclass(frozen=True)
class _TrainPart:
    """Trains on some of the images of a job, and keeps what came of it; each draw has a seed of its own."""

    layout: Layout
    whole: "Job"

    def plan(self, rows: NDArray[np.int64], share: float, draw: int) -> _Part:
        """A training that is to be done."""
        from podium.core.identity import fingerprint

        return _Part(share, draw, rows, fingerprint(self._job(rows, draw).identity(self.layout, "train")))

    def __call__(self, part: _Part) -> None:
        from podium.models.checkpoint import Checkpoint, lock_folder
        from podium.models.compute import Compute
        from podium.models.engine import fit

        Compute.of(self.whole.compute.runtime)  # this may be a process of its own
        job, folder = self._job(part.rows, part.draw), self.layout.checkpoint(part.name)
        with lock_folder(folder):
            best = fit(job, job.build(), checkpoint=Checkpoint(folder)).progress.best
            point = LearningPoint(share=part.share, draw=part.draw, images=len(part.rows), accuracy=best.val_accuracy)
            point.write(self.layout.learning_point(part.name))
            shutil.rmtree(folder, ignore_errors=True)

    def _job(self, rows: NDArray[np.int64], draw: int) -> "Job":
        return replace(self.whole, train=self.whole.train.subset(rows), seed=self.whole.seed + draw)
