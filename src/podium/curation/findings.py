"""What stands out among the images: drift from train to test, doubtful pictures, shortcuts.

Rule: all of it is for a person to look at; nothing is ever removed. A large set makes every trifle significant and a
small one makes every accident large, so a measure drifts only when both hold: its Kolmogorov-Smirnov distance (Hodges
1958, Ark. Mat. 3) is above a limit that a person can judge, and is no accident after Benjamini & Yekutieli (2001, Ann.
Statist. 29), which allows for measures that depend on one another. Crops and copies of one photograph are no
independent draws, which makes p too small; then the limit on the distance decides alone. The border is probed as the
models see it, padding included, which tells the aspect ratio; so the aspect ratio alone is probed as well.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from podium.curation.linear_probe import LEAST_PICTURES, CrossValidated, Features, ProbeImages, cross_validate
from podium.data.manifest import MEASURES
from podium.records.base import ParquetTable
from podium.records.profile import FlaggedImage, Probe, QualityFlag, Shortcuts
from podium.records.validate import MeasureDrift

MOST_WORST = 20  # images of a flag
MOST_GIVEAWAYS = 20  # images of a probe
_EXACT = 10_000  # train x test images up to which p is exact; the asymptotic one is far off for a handful
_Z = 1.959964  # of a 95 % interval

_Flag = Literal["dark", "blurred", "uniform", "odd_aspect"]


def compare_splits(measures: pd.DataFrame | ParquetTable, maximum: float, significance: float) -> list[MeasureDrift]:
    """Holds train against test.

    Args:
        measures: columns `split` and those of `MEASURES`, a row an image.
        maximum: distance (0 to 1) above which a measure drifts.
        significance: false discovery rate below which a distance is no accident.

    Returns:
        One entry a measure, in the order of `MEASURES`; none where train or test is empty.
    """
    names = [name for name in MEASURES if name in measures.columns]
    split = measures[["split"]]["split"]
    train, test = (split == "train").to_numpy(), (split == "test").to_numpy()
    if not train.any() or not test.any() or not names:
        return []
    tests = {}
    for name in names:
        values = measures[[name]][name]
        tests[name] = kolmogorov_smirnov(values[train], values[test])
    return judge_drift({name: (t.statistic, t.pvalue) for name, t in tests.items()}, maximum, significance)


def judge_drift(tests: Mapping[str, tuple[float, float]], maximum: float, significance: float) -> list[MeasureDrift]:
    """Says of each of several tests whether it found drift; at least one.

    Args:
        tests: distance (0 to 1) and p-value by measure.
        maximum: distance above which a measure drifts.
        significance: false discovery rate, over all that are given, below which a distance is no accident.
    """
    adjusted = stats.false_discovery_control([p for _, p in tests.values()], method="by")
    drifts = []
    for (name, (found, _)), p in zip(tests.items(), adjusted, strict=True):
        distance, p_value = round(float(found), 10), float(f"{p:.3g}")
        clear = distance > maximum and p_value < significance
        drifts.append(MeasureDrift(measure=name, distance=distance, p_value=p_value, threshold=maximum, drifts=clear))
    return drifts


def kolmogorov_smirnov(train: pd.Series, test: pd.Series) -> Any:
    """SciPy's result of the two-sample test of one measure."""
    method = "exact" if len(train) * len(test) <= _EXACT else "asymp"
    return stats.ks_2samp(train.to_numpy(np.float64), test.to_numpy(np.float64), method=method)


def surplus(measures: pd.DataFrame | ParquetTable, name: str) -> list[str]:
    """The test images that train has too few of: those on their side of the largest distance of one measure.

    Args:
        measures: as for `compare_splits`, with `image_id`.
        name: of the measure.

    Returns:
        Their `image_id`, the most extreme first.
    """
    images = measures[["image_id", "split", name]]
    test = images[images["split"] == "test"]
    found = kolmogorov_smirnov(images.loc[images["split"] == "train", name], test[name])
    values: NDArray[np.float64] = test[name].to_numpy(np.float64)
    lower = found.statistic_sign < 0  # test has the larger share of values up to this place
    there = values <= found.statistic_location if lower else values > found.statistic_location
    outwards = values[there] if lower else -values[there]
    ordered: list[str] = test.loc[there, "image_id"].iloc[np.argsort(outwards, kind="stable")].tolist()
    return ordered


def flag_images(
    measures: pd.DataFrame | ParquetTable,
    manifest: pd.DataFrame | ParquetTable,
    *,
    dark: float | None,
    blurred: float | None,
    uniform: float | None,
    aspect: float | None,
) -> list[QualityFlag]:
    """Counts doubtful images and names the worst.

    Args:
        measures: `image_id` and a column per key of `MEASURES`.
        manifest: `image_id path split width height` of the same images.
        dark: mean grey value in [0, 1] below which an image is dark; nothing for no such flag, as everywhere here.
        blurred: variance of the Laplacian below which it is blurred.
        uniform: standard deviation of the grey values (0 to 0.5) below which it is nearly uniform. A uniform image is
            not called blurred as well.
        aspect: longer / shorter side of the original above which its shape is odd.

    Returns:
        One record for each threshold given.
    """
    sides = manifest[["width", "height"]].to_numpy(np.float64)
    shape = sides.max(axis=1) / sides.min(axis=1)
    images = manifest[["image_id", "path", "split"]]
    numbers = measures[["image_id", "brightness", "contrast", "sharpness"]]
    if not numbers["image_id"].equals(images["image_id"]):  # as preprocess writes them, they are
        numbers = images[["image_id"]].merge(numbers, on="image_id", how="left", validate="one_to_one")
    brightness, contrast, sharpness = (
        numbers[name].to_numpy(np.float64) for name in ("brightness", "contrast", "sharpness")
    )
    flat = contrast < uniform if uniform is not None else np.zeros(len(images), dtype=bool)
    rules: list[tuple[_Flag, float | None, NDArray[np.float64], str]] = [
        ("dark", dark, brightness, "mean grey value below {:g} of 1"),
        ("blurred", blurred, np.where(flat, np.inf, sharpness), "variance of the Laplacian below {:g}"),
        ("uniform", uniform, contrast, "standard deviation of the grey values below {:g} of 1"),
        ("odd_aspect", aspect, shape, "longer side more than {:g} times the shorter"),
    ]
    return [
        _flag(name, sentence.format(threshold), threshold, images, values)
        for name, threshold, values, sentence in rules
        if threshold is not None
    ]


def _flag(
    name: _Flag, sentence: str, threshold: float, images: pd.DataFrame, values: NDArray[np.float64]
) -> QualityFlag:
    """How many images have a value beyond the threshold, and the worst of them."""
    badness = values if name == "odd_aspect" else -values
    rows = np.flatnonzero(badness > (threshold if name == "odd_aspect" else -threshold))
    count = len(rows)
    if count > MOST_WORST:
        rows = rows[badness[rows] >= np.partition(badness[rows], -MOST_WORST)[-MOST_WORST]]
    candidates = images.iloc[rows].assign(value=values[rows], badness=badness[rows])
    worst = candidates.sort_values(["badness", "image_id"], ascending=[False, True]).head(MOST_WORST)
    told = worst[["image_id", "path", "split", "value"]].itertuples(index=False, name=None)
    return QualityFlag(
        name=name,
        sentence=sentence,
        threshold=threshold,
        count=count,
        worst=[
            FlaggedImage(image_id=key, path=path, split=split, value=round(value, 4))
            for key, path, split, value in told
        ],
    )


def probe_shortcuts(drawn: ProbeImages, *, folds: int = 5, seed: int = 0) -> Shortcuts:
    """Runs all probes.

    Args:
        drawn: images of train and val as features.
        folds: of the cross-validation.
        seed: of the folds.

    Returns:
        Balanced accuracy of each probe against its chance. The chance of a label is 1 / classes. The chance of a source
        is what the label alone tells of it, since sources of different classes are told apart without any shortcut.
    """
    border = _Question("label", f"the outermost {drawn.border} pixels", drawn.borders)
    same = "all images have the same aspect ratio" if (drawn.aspect == drawn.aspect[0]).all() else ""
    aspect = _Question("label", "the aspect ratio", drawn.aspect, needless=same)
    source = _Question("source", "the whole image", drawn.appearance, drawn.mirrored, _nothing_to_tell(drawn.rows))
    return Shortcuts(
        label_from_border=_probe(drawn, border, folds, seed),
        label_from_aspect=_probe(drawn, aspect, folds, seed),
        source_from_image=_probe(drawn, source, folds, seed),
    )


@dataclass(frozen=True)
class _Question:
    """Which column is predicted, from what (in words), its features, and why it need not be asked, if so."""

    predicted: str
    seen: str
    features: Features
    mirrored: Features | None = None
    needless: str = ""


def _nothing_to_tell(rows: pd.DataFrame) -> str:
    """Why no class has two sources to be told apart; empty where one has."""
    if rows["source"].nunique() < 2:
        return "there is one source"
    if (pd.crosstab(rows["label"], rows["source"]) > 0).sum(axis=1).max() < 2:
        return "every class comes from one source, so the class tells the source"
    return ""


def _probe(drawn: ProbeImages, question: _Question, folds: int, seed: int) -> Probe:
    """Asks a question of the drawn images; without numbers where it need not or cannot be asked."""
    predicted, seen = question.predicted, question.seen
    judged = (
        None
        if question.needless
        else cross_validate(
            question.features,
            drawn.rows[predicted],
            drawn.rows["split_group"],
            folds=folds,
            seed=seed,
            mirrored=question.mirrored,
            equal_priors=True,
        )
    )
    if judged is None:
        few = f"fewer than two {predicted}s have {max(folds, LEAST_PICTURES)} different pictures"
        zeros = dict.fromkeys(("images", "classes", "balanced_accuracy", "low", "high", "chance", "excess"), 0)
        return Probe(predicted=predicted, seen=seen, **zeros, giveaways=[], note=f"not run: {question.needless or few}")
    classes = len(judged.names)
    chance = 1 / classes
    if predicted == "source":
        chance = max(chance, _accuracy_from_label(drawn.rows["label"].iloc[judged.rows], judged))
    value, low, high = balanced_accuracy(judged.codes, judged.probabilities.argmax(axis=1), classes)
    return Probe(
        predicted=predicted,
        seen=seen,
        images=len(judged.rows),
        classes=classes,
        balanced_accuracy=round(value, 4),
        low=round(low, 4),
        high=round(high, 4),
        chance=round(chance, 4),
        excess=round((value - chance) / (1 - chance), 4) if chance < 1 else 0.0,
        giveaways=_giveaways(drawn, judged),
    )


def balanced_accuracy(
    given: NDArray[np.int64], predicted: NDArray[np.int64], classes: int
) -> tuple[float, float, float]:
    """Mean recall over classes, and its 95 % interval.

    The variance of the mean is the sum of the classes' binomial variances over classes², with the recalls adjusted as
    by Agresti & Coull (1998), so that an interval does not vanish where every image was right.

    Args:
        given: codes, shape (N,), each class at least once.
        predicted: codes, shape (N,).
        classes: how many.

    Returns:
        Value, lower and upper bound, in [0, 1].
    """
    total = np.bincount(given, minlength=classes)
    right = np.bincount(given[given == predicted], minlength=classes)
    adjusted = (right + _Z**2 / 2) / (total + _Z**2)
    spread = _Z * float(np.sqrt((adjusted * (1 - adjusted) / (total + _Z**2)).sum())) / classes
    value = float((right / total).mean())
    return value, max(0.0, value - spread), min(1.0, value + spread)


def _accuracy_from_label(labels: pd.Series, judged: CrossValidated) -> float:
    """Balanced accuracy of the best guess of the source that knows the label and nothing else."""
    shares = pd.crosstab(labels.to_numpy(), judged.codes, normalize="columns").to_numpy()
    return float(shares.max(axis=1).sum() / len(judged.names))


def _giveaways(drawn: ProbeImages, judged: CrossValidated) -> list[str]:
    """Paths of the images that were told right with the most confidence."""
    own = judged.probabilities[np.arange(len(judged.codes)), judged.codes]
    right = judged.probabilities.argmax(axis=1) == judged.codes
    order = np.lexsort((np.arange(len(own)), -own.round(6)))
    return [str(drawn.rows["path"].iloc[int(judged.rows[at])]) for at in order[right[order]][:MOST_GIVEAWAYS]]
