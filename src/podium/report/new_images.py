"""The page of one model on images that are no part of its experiment: how it fares on them, beside its test images."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from podium.analysis.mistakes import Answer
from podium.analysis.predictions import Predictions
from podium.analysis.slices import is_worse, worst_first
from podium.analysis.statistics import percent
from podium.core.layout import RELIABILITY, RISK_COVERAGE
from podium.records.evaluation import Metrics
from podium.report.mistakes import confusions, gather
from podium.report.pages import inlined, rendered, with_latin
from podium.report.sentences import between, count, describe_abstention, describe_slices, number, share

_SURE = 0.05
_LISTED = 60  # images left out that are told one by one
_ROOM = 3_500_000  # characters of the page that pictures of mistakes may take
_PLOTS = {RELIABILITY: "Calibration", RISK_COVERAGE: "Risk and coverage"}


@dataclass(frozen=True)
class NewImages:
    """A model on new images.

    Attributes:
        model: what the page calls it, with its version.
        images: what the page calls the images.
        metrics: on them.
        stored: its metrics on its test split.
        predictions: what it answered.
        left_out: columns `path label reason known`.
        mistakes: the surest first.
        known: which of the images it knows already, a sentence (`describe_known`).
    """

    model: str
    images: str
    metrics: Metrics
    stored: Metrics
    predictions: Predictions
    left_out: pd.DataFrame
    mistakes: list[Answer]
    known: str


def describe_against_test(new: Metrics, stored: Metrics) -> str:
    """Whether the model is right about new images as often as about its test images (Fisher's exact test)."""
    from scipy.stats import fisher_exact

    right = [round(one.accuracy.value * one.images) for one in (new, stored)]
    p = float(fisher_exact([[r, one.images - r] for r, one in zip(right, (new, stored), strict=True)]).pvalue)
    rates = f"{percent(new.accuracy)} of {count(new.images)} new images against {percent(stored.accuracy)} of "
    rates += f"{count(stored.images)} test images"
    if p >= _SURE:
        return f"Right about {rates}: no more apart than chance explains (p = {p:.2g})."
    worse = new.accuracy.value < stored.accuracy.value
    return f"{'Worse' if worse else 'Better'} than on its test images: right about {rates} (p = {p:.2g})."


def describe_known(known: Mapping[str, int], given: int, *, with_known: bool) -> str:
    """How many of the images given the model knows already, by split, and what was done; empty where nobody knows."""
    if not known:
        return (
            "Whether the model knows some of these images cannot be said: the data it was made with is not here "
            "(`dvc checkout` in its commit, or `dvc pull`)."
        )
    told = [f"{count(number)} of {split}" for split, number in known.items() if number]
    if not told:
        return f"None of the {count(given)} images is one that the model was trained, chosen or tested on."
    kept = " (those of train and val were asked about all the same)" if with_known else ""
    return f"Images that the model knows already: {', '.join(told)}; they are left out{kept}."


def render_page(new: NewImages, folder: Path) -> str:
    """The page as HTML, everything from file names and labels escaped.

    Args:
        new: what was found.
        folder: with the plots.
    """
    metrics, answers = new.metrics, new.predictions
    gallery = gather({metrics.model: new.mistakes}, _ROOM)
    table = pd.DataFrame({"actual": answers.index["label"], "predicted": answers.predicted_names})
    here = [name for name in answers.classes if metrics.per_class[name].support]
    absent = [name for name in answers.classes if name not in here]
    context = {
        "new": new,
        "m": metrics,
        "stored": new.stored,
        "against": describe_against_test(metrics, new.stored),
        "known": new.known.replace("`", ""),
        "abstains": describe_abstention(metrics.abstention).replace("test images", "images"),
        "slices": worst_first(metrics.slices),
        "slices_said": describe_slices(metrics),
        "confusions": confusions({metrics.model: table}, list(answers.classes)),
        "gallery": gallery,
        "plots": {title: inlined((folder / name).read_bytes(), "png") for name, title in _PLOTS.items()},
        "here": sorted(here, key=lambda name: (metrics.per_class[name].recall, name)),
        "absent": absent,
        "left_out": new.left_out.head(_LISTED).to_dict("records"),
        "more_left_out": max(0, len(new.left_out) - _LISTED),
    }
    forms = (share, between, count, number, with_latin, is_worse, percent)
    return rendered("podium.report", "page", "new_images.html.j2", {form.__name__: form for form in forms}, context)
