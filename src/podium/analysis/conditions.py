"""Was it a fair comparison? The conditions each model was trained under, where they differ, and that in words."""

from collections.abc import Mapping, Sequence
from typing import get_args

from podium.config.judging import Accepted, Condition
from podium.records.evaluation import Conditions, Difference, Metrics
from podium.records.training import ModelCard, ModelFacts

TITLES: dict[Condition, str] = {
    "image_size": "image size",
    "pretraining": "pretraining",
    "distillation": "distillation",
    "images_seen": "planned training images",
    "tuning_images": "tuning budget in images",
    "seed": "seed",
    "dtype": "number format",
    "processes": "processes that trained together",
    "train_split": "training split",
    "val_split": "validation split",
}
_DIGEST_SHOWN = 12
_UNKNOWN = "unknown"
_NO_TEACHER = "none"


def read_conditions(card: ModelCard) -> Conditions:
    """What a model was trained under, as its card tells it.

    Pretraining that nobody described counts as equal for the same file only, so the file's digest is a part of it.

    Returns:
        Its conditions; `images_seen` is what the recipe planned. A probe has no budgets: it is computed, not trained.
    """
    pretrained = card.pretrained
    known = pretrained.pretraining != _UNKNOWN
    unknown = f"{_UNKNOWN} (file {(pretrained.sha256 or '')[:_DIGEST_SHOWN]})"
    return Conditions(
        image_size=card.preprocessing.image_size,
        pretraining=pretrained.pretraining if known else unknown,
        distillation=_NO_TEACHER if card.distil is None else f"from {card.distil.teacher}",
        images_seen=None if card.recipe is None else card.images_seen // card.epochs * card.recipe.epochs,
        tuning_images=None if card.recipe is None else card.tuning_images,
        seed=card.seed,
        dtype=str(card.runtime["dtype"]),
        processes=None if card.recipe is None else _processes(card),
        train_split=card.data_digests["train"],
        val_split=card.data_digests["val"],
    )


def _processes(card: ModelCard) -> int | str:
    """How many trained it together, in words where it changed meanwhile."""
    processes = card.runtime.get("processes", 1)
    return processes if isinstance(processes, str) else int(processes)


def find_differences(metrics: Sequence[Metrics], accept: Mapping[Accepted, str]) -> list[Difference]:
    """The conditions in which models differ; `accept` has the reason of each that may.

    A model that a condition means nothing for, as budgets of training do for a probe, is left out of it.

    Returns:
        In the order of `Condition`; empty where all are equal.
    """
    found: list[Difference] = []
    for condition in get_args(Condition):
        values = _values(metrics, condition)
        if len(set(values.values())) > 1:
            because = accept.get(condition)
            found.append(Difference(condition=condition, values=values, accepted=bool(because), because=because))
    return found


def _values(metrics: Sequence[Metrics], condition: Condition) -> dict[str, str | int]:
    """What each model has, of those that the condition means something for."""
    found = {entry.model: getattr(entry.conditions, condition) for entry in metrics}
    return {model: value for model, value in found.items() if value is not None}


def is_comparable(found: Sequence[Difference]) -> bool:
    """Whether the models met on equal conditions, but for what was accepted."""
    return all(difference.accepted for difference in found)


def models_by_value(difference: Difference) -> dict[str, list[str]]:
    """The models that have each value, the value as a reader should see it: `{"in1k": ["a", "b"], "none": ["c"]}`."""
    models: dict[str, list[str]] = {}
    for model, value in difference.values.items():
        models.setdefault(_format(difference.condition, value), []).append(model)
    return models


def describe(difference: Difference) -> str:
    """One difference as a phrase: `pretraining (in1k: a, b; in12k_ft_in1k: c)`."""
    parts = [f"{value}: {', '.join(models)}" for value, models in models_by_value(difference).items()]
    return f"{TITLES[difference.condition]} ({'; '.join(parts)})"


def describe_shared(metrics: Sequence[Metrics]) -> list[str]:
    """What is equal for all models, as phrases: `image size 64`, `pretraining in1k`; splits without their digest."""
    different = {difference.condition for difference in find_differences(metrics, {})}
    different |= {"processes", "distillation"}  # these are of interest only where they differ
    shared = {
        condition: list(_values(metrics, condition).values()) for condition in TITLES if condition not in different
    }
    return [
        TITLES[condition] + ("" if condition.endswith("_split") else f" {_format(condition, values[0])}")
        for condition, values in shared.items()
        if values
    ]


def describe_probes(models: Sequence[ModelFacts]) -> str:
    """What the probes among some models are, in a sentence; empty where there is none."""
    said = [f"{m.model} ({m.classifier.replace('_', ' ')})" for m in models if m.classifier != "network"]
    if not said:
        return ""
    return (
        f"Computed from the features of a frozen network, not trained: {in_words(said)}; budgets of training and "
        "tuning are compared among the other models."
    )


def describe_differences(found: Sequence[Difference]) -> list[str]:
    """What a reader of the leaderboard has to know of its conditions.

    Returns:
        Sentences about what is not accepted, with what to do about it, then about what is; empty where all is equal.
    """
    refused = [difference for difference in found if not difference.accepted]
    accepted = [difference for difference in found if difference.accepted]
    said = []
    if refused:
        said.append(f"Not comparable: the models differ in {in_words([describe(d) for d in refused])}.")
        said.append(remedy(found))
    if accepted:
        told = in_words([f"{describe(d)}, because {d.because}" for d in accepted])
        said.append(f"Accepted by compare.accept: the models differ in {told}.")
    return said


def remedy(found: Sequence[Difference]) -> str:
    """What to do about differences that are not accepted; there is at least one.

    `compare.accept` is given with every condition it has to name in the end.
    """
    named = ", ".join(f"{difference.condition}: <why>" for difference in found)
    matched = ""
    if any(difference.condition == "pretraining" and not difference.accepted for difference in found):
        matched = " (`podium models --matched ARCHITECTURE...` proposes weights of equal pretraining)"
    return f"Make them equal{matched}, or accept them with a reason: compare.accept: {{{named}}}."


def _format(condition: Condition, value: str | int) -> str:
    """A condition's value in a sentence; digests of splits are cut short."""
    if isinstance(value, int):
        return str(value) if condition == "seed" else f"{value:,}"
    return value[:_DIGEST_SHOWN] if condition.endswith("_split") else value


def in_words(phrases: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return phrases[0] if len(phrases) == 1 else f"{', '.join(phrases[:-1])} and {phrases[-1]}"
