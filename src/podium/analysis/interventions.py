"""What matters in a picture: a model's answers where one thing is changed, against as much of something else.

The pictures and what is changed: `data/interventions.py`. The two answers to each picture are compared by McNemar's
exact test, and all of a model's comparisons corrected by Holm (`analysis/paired.py`).
"""

from collections.abc import Callable
from dataclasses import fields

import numpy as np
from numpy.typing import NDArray

from podium.analysis.paired import holm, mcnemar
from podium.analysis.statistics import generator_of, wilson
from podium.config import judging
from podium.console.progress import Advance
from podium.data.interventions import Change, Scenes, interventions
from podium.data.perturbations import Images
from podium.records.explanation import Intervention, InterventionKind, Interventions

_FOREGROUNDS: dict[judging.ForegroundMethod, str] = {
    "box": "its known box",
    "grabcut": "what GrabCut finds in its known box",
    "unet": "what a U-Net finds that learned from the boxes of training images",
}
SIGNIFICANCE = 0.05
"""Of the corrected test, from below which sentences speak of a difference."""
_AT_ONCE = 256  # pictures changed together; partners are found among these
_SMALLEST_P = 0.001  # that is written as it is
_TOLD = 0.3  # share that sentences tell of, or that nearest to it
_TITLES: dict[tuple[InterventionKind, bool], tuple[str, str]] = {
    ("salient", False): (
        "covering the {share} that speaks most for the answer ({how})",
        "covering as much elsewhere",
    ),
    ("object", False): ("covering the object ({how})", "covering as much background"),
    ("background", True): (
        "exchanging the background for one of another class",
        "exchanging it for one of its own class",
    ),
    ("background", False): ("blurring the background", "the picture as it is"),
    ("second_object", True): ("adding a second object of another class ({share})", "adding one of its own class"),
}
_VERDICTS: dict[tuple[InterventionKind, bool], tuple[str, str]] = {
    ("salient", False): (
        "These parts matter more than any loss of pixels does",
        "It loses no more than any loss of pixels explains",
    ),
    ("object", False): ("It goes by the object", "It does not surely go by the object"),
    ("background", True): ("It goes by the background, too", "The background's class does not surely matter"),
    ("background", False): ("It uses the background", "It does not surely need the background"),
    ("second_object", True): ("A second class confuses it", "A second class does not surely confuse it"),
}
"""What is said where accuracy is surely lower than that of the control, and where it is not surely another."""


def measure_interventions(
    classify: Callable[[Images], NDArray[np.int64]],
    scenes: Scenes,
    answers: NDArray[np.int64],
    wanted: judging.Interventions,
    seed: int,
    *,
    method: str,
    advance: Advance,
) -> Interventions:
    """Asks a model about changed pictures.

    Args:
        classify: gives class numbers, shape (B,), of uint8 images of shape (B, S, S, 3).
        scenes: N pictures, at least one.
        answers: of the model to them as they are, shape (N,).
        wanted: which interventions.
        seed: of what is drawn: for every model the same, but where a map decides what is changed.
        method: that made the maps.
        advance: is called with how many changed pictures were answered.
    """
    found: dict[tuple[InterventionKind, str, float | None], list[NDArray[np.float64]]] = {}
    for start in range(0, len(answers), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        some = Scenes(**{field.name: getattr(scenes, field.name)[part] for field in fields(Scenes)})
        for change in interventions(some, wanted, generator_of(seed, f"interventions {start}")):
            numbers = _ask(classify, some, answers[part], change)
            found.setdefault((change.kind, change.how, change.asked), []).append(numbers)
            advance(len(change.rows) * (1 if change.control is None else 2))
    results = [_result(*key, np.concatenate(parts, axis=1)) for key, parts in found.items()]
    adjusted = holm([one.p_value for one in results])
    return Interventions(
        images=len(answers),
        clean=wilson(int((answers == scenes.labels).sum()), len(answers)),
        method=method,
        foreground=wanted.foreground,
        objects_known=int(scenes.known.sum()),
        results=tuple(one.model_copy(update={"adjusted_p": p}) for one, p in zip(results, adjusted, strict=True)),
    )


def _ask(
    classify: Callable[[Images], NDArray[np.int64]], scenes: Scenes, answers: NDArray[np.int64], change: Change
) -> NDArray[np.float64]:
    """Of each picture: share changed; right; right of the control; the answer as before; turned, (5, n)."""
    before, labels = answers[change.rows], scenes.labels[change.rows]
    after = classify(change.images)
    control = before if change.control is None else classify(change.control)
    changed = (change.images != scenes.images[change.rows]).any(axis=-1).sum(axis=(1, 2))
    share = changed / scenes.content[change.rows].sum(axis=(1, 2))
    turned = np.full(len(after), np.nan)
    if change.added is not None:
        turned = (after == change.added) & (before != change.added)
    return np.stack([share, after == labels, control == labels, after == before, turned]).astype(np.float64)


def _result(kind: InterventionKind, how: str, asked: float | None, numbers: NDArray[np.float64]) -> Intervention:
    """One intervention on all pictures; its p is not corrected yet."""
    share, right, control, same, turned = numbers
    images = len(share)
    p = mcnemar("changed", "control", right == 1, control == 1).p_value
    return Intervention(
        kind=kind,
        how=how,
        share=float(share.mean()),
        asked=asked,
        images=images,
        accuracy=wilson(int(right.sum()), images),
        control=wilson(int(control.sum()), images),
        same=float(same.mean()),
        turned=None if np.isnan(turned).any() else float(turned.mean()),
        p_value=p,
        adjusted_p=p,
    )


def describe_interventions(model: str, found: Interventions) -> list[str]:
    """Which changes matter to a model, in sentences: one of each kind, the share nearest to 30 %."""
    told: dict[tuple[InterventionKind, bool], Intervention] = {}
    for one in sorted(found.results, key=lambda one: abs((one.asked or 0) - _TOLD)):
        told.setdefault((one.kind, one.turned is not None), one)
    return [_describe(model, told[key]) for key in _TITLES if key in told]


def _describe(model: str, one: Intervention) -> str:
    """One intervention against its control."""
    changed, control = titles(one)
    more, not_surely = _VERDICTS[one.kind, one.turned is not None]
    lower, surely = one.accuracy.value < one.control.value, one.adjusted_p < SIGNIFICANCE
    verdict = more if lower and surely else "This surely hurts less than the other" if surely else not_surely
    sure = f"p = {one.adjusted_p:.2g}" if one.adjusted_p >= _SMALLEST_P else f"p < {_SMALLEST_P}"
    turns = "" if one.turned is None else f"; {one.turned:.1%} of the answers turn into the class that came in"
    return (
        f"{changed[0].upper()}{changed[1:]}: {model} is right in {one.accuracy.value:.1%} of {one.images:,} pictures; "
        f"{control}: {one.control.value:.1%}. {verdict} ({sure}){turns}."
    )


def titles(one: Intervention) -> tuple[str, str]:
    """What is changed and what the control is, in words."""
    share = "" if one.asked is None else f"{one.asked:.0%}"
    changed, control = _TITLES[one.kind, one.turned is not None]
    return changed.format(share=share, how=one.how), control


def foreground_told(found: Interventions) -> str:
    """How objects were told from their backgrounds, in a sentence."""
    rest = found.images - found.objects_known
    by, of = _FOREGROUNDS[found.foreground], f"{found.objects_known:,} of {found.images:,} pictures"
    known = f"The object is taken to be {by} in {of}"
    stands = f"the third that speaks most for the answer ({found.method}) stands for it"
    return (
        f"{known}."
        if not rest
        else f"{known}; in the others {stands}."
        if found.objects_known
        else (f"No object's place is known: {stands}.")
    )


def accuracy_gaps(found: Interventions | None) -> dict[str, float]:
    """How much accuracy depends on what is salient and on the background: the mean of control less changed, by name."""
    gaps = {}
    for name, kind, how in (("salient_gap", "salient", None), ("background_gap", "background", "other class")):
        some = [one for one in (found.results if found else ()) if one.kind == kind and how in (None, one.how)]
        if some:
            gaps[name] = float(np.mean([one.control.value - one.accuracy.value for one in some]))
    return gaps
