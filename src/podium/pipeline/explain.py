"""Stage explain@m: maps of what speaks for one model's answers, and whether these maps are any good.

Reads the test split after `evaluate` opened it for the same model, so no opening is added to the ledger.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from podium.analysis.calibration import at_temperature
from podium.analysis.explanation_checks import (
    Asked,
    Checked,
    ask,
    boxes_in_square,
    check_method,
    describe_checks,
    evenly,
    pictures_in_square,
)
from podium.analysis.interventions import describe_interventions, measure_interventions
from podium.analysis.slices import describe_images
from podium.analysis.statistics import generator_of
from podium.config import judging
from podium.config.judging import Explain
from podium.config.problems import nearest
from podium.config.runtime import LOCAL, Resources, Runtime
from podium.console.openings import Opening, keep_openings
from podium.console.progress import show_progress
from podium.core.errors import DataError, ModelError, ParamsError
from podium.core.files import replacing_folder, sha256_text
from podium.core.layout import EXPLANATION, INTERVENTIONS, METRICS, PREDICTIONS, WEIGHTS, Layout
from podium.data.foreground import box_masks, foreground_masks
from podium.data.interventions import SALIENT_FOREGROUND, Scenes, most_salient
from podium.data.shards import PreparedSplit, open_for_fitting, open_for_testing
from podium.records.base import read_parquet, round_floats
from podium.records.evaluation import Metrics
from podium.records.explanation import ExplainedImage, Explanation, Interventions, MethodChecks
from podium.records.training import ModelCard

if TYPE_CHECKING:
    from podium.models.inference import AskedModel


UNET_IMAGES = 300
"""Training images that `explain.interventions.foreground: unet` learns from, as in `benchmarks/foreground`."""
_Kind = Literal["typical", "worst"]


@dataclass(frozen=True)
class _Chosen:
    """An image of which a picture is made: its row in the split, class numbers, how sure the model is."""

    kind: _Kind
    row: int
    label: int
    predicted: int
    confidence: float


def explain_model(
    layout: Layout, model: str, explain: Explain, runtime: Runtime, seed: int, *, resources: Resources = LOCAL
) -> None:
    """Writes `artifacts/explanation/<m>/`; the model is asked where `resources` say.

    Raises:
        ParamsError: `explain.methods` names one that there is not, or a U-Net has no boxes to learn from or cannot be
            built on the model.
        DataError: the split, the model or its evaluation is missing, or they do not belong together.
        ModelError: the weights are not those of the model's card.
        PodiumError: the cluster cannot be used, or was lost.
    """
    from podium.models.inference import open_models

    _check_names(explain)
    with open_models(layout.root, runtime, resources) as models:
        _explain(layout, models(layout.model(model)), model, explain, seed)


def _explain(layout: Layout, own: "AskedModel", model: str, explain: Explain, seed: int) -> None:
    """The same, with a model that can be asked."""
    from podium.report import plots

    metrics = Metrics.read(layout.evaluation(model) / METRICS)
    test, card = open_for_testing(layout.prepared), own.card
    if (metrics.fingerprint, metrics.test_digest) != (card.fingerprint, test.digest):
        raise DataError(f"artifacts/evaluation/{model} is of another model or other images: run `dvc repro`")
    checked, pictures = _checked(layout, test, explain.checks.images)
    objects = _objects(layout, card, checked, explain.interventions, seed) if explain.methods else None
    checks: dict[str, MethodChecks] = {}
    refused: dict[str, str] = {}
    changed: Interventions | None = None
    if explain.methods:
        keep_openings(layout, _opening(card, test))
    for name in explain.methods:
        try:
            asked = ask(own, checked.images, name, seed=seed, batch_size=explain.batch_size)
            checks[name] = check_method(own, asked, checked, name, explain.checks)
            if changed is None and objects is not None:
                changed = round_floats(
                    _intervene(
                        own, asked, checked, objects, pictures=pictures, wanted=explain.interventions, method=name
                    )
                )
        except ModelError as error:
            refused[name] = str(error)
        for sentence in describe_checks(name, checks[name]) if name in checks else [refused[name]]:
            print(f"{model}: {sentence}", flush=True)
    if changed is not None:
        print(*describe_interventions(model, changed), sep="\n", flush=True)
    answers = read_parquet(layout.evaluation(model) / PREDICTIONS)
    chosen = _choose(answers, test, metrics.temperature, explain.images_per_class)
    able = explain.model_copy(update={"methods": tuple(checks)})
    said = {"model": model, "fingerprint": card.fingerprint, "test_digest": test.digest}
    with replacing_folder(layout.explanation(model)) as folder:
        drawn = _draw(folder, own, test, chosen, able, seed=seed) if checks and chosen else []
        record = Explanation(**said, methods=checks, refused=refused, pictures=drawn, interventions=changed)
        if changed is not None:
            plots.interventions(folder / INTERVENTIONS, changed, model)
        round_floats(record).write(folder / EXPLANATION)


def _check_names(explain: Explain) -> None:
    """Refuses methods that there are not."""
    from podium.models.explanations import METHODS

    for name in explain.methods:
        if name not in METHODS:
            known = ", ".join(METHODS)
            raise ParamsError(f"explain.methods: there is no method {name!r}{nearest(name, METHODS)} (known: {known})")


def _checked(layout: Layout, test: PreparedSplit, count: int) -> tuple[Checked, NDArray[np.float64]]:
    """At most so many test images, evenly from the first to the last, with known boxes; and where padding ends."""
    manifest, measures = (read_parquet(path) for path in (layout.manifest, layout.measures))
    rows, known = evenly(len(test), count), describe_images(test.index, manifest, measures)
    boxes, pictures = (find(known, test.preprocessing)[rows] for find in (boxes_in_square, pictures_in_square))
    return Checked(test.images(rows), test.labels[rows], boxes), pictures


def _objects(
    layout: Layout, card: ModelCard, checked: Checked, wanted: judging.Interventions, seed: int
) -> NDArray[np.bool_] | None:
    """Where the object is in the images that are to be changed; None where none are.

    A U-Net starts from the model's own weights and learns from the first of the training images that have a box.
    """
    if not wanted.images:
        return None
    rows = evenly(len(checked.images), wanted.images)
    images, boxes = checked.images[rows], checked.boxes[rows]
    if wanted.foreground != "unet":
        return foreground_masks(images, boxes, wanted.foreground)
    from podium.models.unet import UNet, fit_unet

    train = open_for_fitting(layout.prepared, "train")
    known = describe_images(train.index, read_parquet(layout.manifest), read_parquet(layout.measures))
    lessons = boxes_in_square(known, train.preprocessing)
    taken = np.flatnonzero(~np.isnan(lessons).any(axis=1))[:UNET_IMAGES]
    if not len(taken):
        raise ParamsError(
            "explain.interventions.foreground: unet learns from boxes, and no training image has one: choose grabcut, "
            "which then takes what the model's own map marks"
        )
    try:
        unet = UNet(card.architecture, images.shape[1], seed, layout.model(card.model) / WEIGHTS)
    except ModelError as error:
        raise ParamsError(
            f"explain.interventions.foreground: no unet can be built on {card.model} ({error}): choose grabcut"
        ) from error
    shown = train.images(taken)
    print(f"{card.model}: a U-Net learns from {len(taken)} training images where objects are", flush=True)
    fit_unet(unet, shown, foreground_masks(shown, lessons[taken], "grabcut"), seed)
    return unet.masks(images, boxes)


def _intervene(
    model: "AskedModel",
    asked: Asked,
    checked: Checked,
    objects: NDArray[np.bool_],
    *,
    pictures: NDArray[np.float64],
    wanted: judging.Interventions,
    method: str,
) -> Interventions:
    """The model's answers to some of the images, changed."""
    rows = evenly(len(checked.images), wanted.images)
    images, maps, answers = checked.images[rows], asked.maps[rows], asked.targets[rows]
    content = box_masks(images.shape[1], pictures[rows])
    objects = content & objects
    known = np.asarray(objects.any(axis=(1, 2)), np.bool_)
    salient = most_salient(maps, content, SALIENT_FOREGROUND, generator_of(asked.seed, "salient foreground"))
    objects[~known] = salient[~known]
    scenes = Scenes(images, checked.labels[rows], maps, content, objects, known)

    def classify(changed: NDArray[np.uint8]) -> NDArray[np.int64]:
        """The class that the model names for each image."""
        found: NDArray[np.int64] = model.logits(changed, asked.batch_size).argmax(axis=1)
        return found

    with show_progress(f"{model.card.model}: changed pictures", None, transient=True) as advance:
        return measure_interventions(classify, scenes, answers, wanted, asked.seed, method=method, advance=advance)


def _opening(card: ModelCard, test: PreparedSplit) -> Opening:
    """The line that evaluate has written already, unless the ledger lost it."""
    images = sha256_text("\n".join(sorted(test.index["image_id"])))
    purpose = f"explain {card.model}"
    return Opening(purpose=purpose, fingerprint=card.fingerprint, test_digest=test.digest, images=images)


def _choose(answers: pd.DataFrame, test: PreparedSplit, temperature: float, count: int) -> list[_Chosen]:
    """The surest right and the surest wrong images of each class, equals by `image_id`; confidences are calibrated."""
    columns = [f"p_{name}" for name in test.classes]
    found = test.index[["image_id"]].merge(answers[["image_id", *columns]], on="image_id", how="left")
    probabilities = at_temperature(found[columns].to_numpy(dtype=np.float64), temperature)
    predicted, sure = probabilities.argmax(axis=1), probabilities.max(axis=1)
    order = np.lexsort((test.index["image_id"].to_numpy(dtype=str), -sure))
    chosen = []
    for label in range(len(test.classes)):
        mine = order[test.labels[order] == label]
        right = predicted[mine] == label
        for row in (*mine[right][:count], *mine[~right][:count]):
            kind: _Kind = "typical" if predicted[row] == label else "worst"
            chosen.append(_Chosen(kind, int(row), label, int(predicted[row]), float(sure[row])))
    return chosen


def _draw(
    folder: Path, model: "AskedModel", test: PreparedSplit, chosen: list[_Chosen], explain: Explain, *, seed: int
) -> list[ExplainedImage]:
    """A picture of each image beside its overlay by each of `explain.methods`, at the size the model sees."""
    from PIL import Image

    from podium.models.explanations import explain as explain_images
    from podium.report.plots import overlay

    images = test.images(np.array([one.row for one in chosen], dtype=np.int64))
    targets = np.array([one.predicted for one in chosen], dtype=np.int64)
    size, explained = explain.batch_size, partial(explain_images, seed=seed, batch_size=explain.batch_size)
    maps = [
        model.in_batches(partial(explained, name=name), size, images=images, targets=targets)
        for name in explain.methods
    ]
    pictures = []
    for number, one in enumerate(chosen):
        strip: list[NDArray[np.uint8]] = [images[number], *(overlay(images[number], found[number]) for found in maps)]
        file = f"{number:04}.png"
        Image.fromarray(np.concatenate(strip, axis=1)).save(folder / file, format="PNG")
        row = test.index.iloc[one.row]
        pictures.append(
            ExplainedImage(
                file=file,
                image_id=str(row["image_id"]),
                path=str(row["path"]),
                label=test.classes[one.label],
                predicted=test.classes[one.predicted],
                confidence=one.confidence,
                kind=one.kind,
            )
        )
    return pictures
