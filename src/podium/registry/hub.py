"""A version as a repository of the Hugging Face hub, in a folder: weights, configuration, model card, licences.

timm loads it without Podium: `timm.create_model("local-dir:DIR", pretrained=True)`. No network is asked.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from podium.core.errors import ModelError
from podium.core.files import replacing_folder, write_json, write_text
from podium.core.layout import ATTRIBUTION, HUB_CARD, LICENCES, LICENCES_TEXT, METRICS, MODEL_CARD, WEIGHTS, Layout
from podium.models.inference import Classifier
from podium.registry.evidence import ARTIFACTS, VersionMetrics
from podium.registry.licences import Licences
from podium.registry.loading import open_checked
from podium.registry.read_only import RegisteredModel, Version
from podium.registry.versions import plain

if TYPE_CHECKING:
    from huggingface_hub import ModelCardData

_WORST = 3  # classes whose recall stands among the limits
_CONFIG, _NETWORK = "config.json", "model.safetensors"  # as timm and the hub call them
_OF_OTHER_WEIGHTS = ("tag", "license", "origin_url", "paper_ids", "paper_name", "notes", "url", "hf_hub_id", "file")
_TESTED = "test images of the experiment that the model had never seen"


def write_hub_folder(layout: Layout, registered: RegisteredModel, version: Version, asked: str, folder: Path) -> None:
    """Writes the folder, whole or not at all.

    Args:
        layout: the project's paths.
        registered: the registered model.
        version: one of its versions.
        asked: the words it was asked for with.
        folder: is made; must not exist.

    Raises:
        ModelError: timm has no such network, so that timm could not load it.
        PromotionRefused: the version is not what the audit record says.
        DataError: a file of the package is missing or damaged.
        TrackingError: the package cannot be had.
    """
    from podium.models.inference import load_classifier
    from podium.registry.predictor import serving_runtime

    with open_checked(layout, registered, version, asked) as package:
        evidence = package / ARTIFACTS
        classifier = load_classifier(evidence, serving_runtime(evidence).model_copy(update={"device": "cpu"}))
        require_timm(classifier)
        metrics = VersionMetrics.read(evidence / METRICS)
        licences = Licences.read(evidence / LICENCES)
        with replacing_folder(folder) as made:
            _write_network(classifier, evidence / WEIGHTS, made)
            for name in (LICENCES, LICENCES_TEXT, ATTRIBUTION, MODEL_CARD):
                if (evidence / name).is_file():
                    shutil.copyfile(evidence / name, made / name)
            name = f"{registered.name} version {version.version}"
            write_text(made / HUB_CARD, _card(name, classifier, metrics, licences, version.tags))


def require_timm(classifier: Classifier) -> None:
    """Refuses what timm cannot build from a configuration.

    Raises:
        ModelError: another family's network, or one with attention, another head or neighbours of Podium's.
    """
    from podium.core.vision import timm

    card = classifier.card
    if hasattr(classifier.module, "pretrained_cfg") and timm.is_model(card.architecture):
        if card.classifier != "nearest_neighbours":
            return
        what = "a probe that holds training images in place of its last layer"
    else:
        composed = card.attention != "none" or card.head.pooling != "own" or card.head.hidden
        what = f"{card.architecture} with attention or a head of Podium's" if composed else card.architecture
    raise ModelError(
        f"{card.model} is {what}, which timm cannot build: `podium export hub` takes networks of timm as their authors "
        "built them; publish.export: [onnx] gives a file of any network"
    )


def _write_network(classifier: Classifier, weights: Path, folder: Path) -> None:
    """`config.json` by timm's own function, without what timm knows of other weights; `model.safetensors` as it is."""
    from podium.core.vision import timm

    card = classifier.card
    size = card.preprocessing.image_size
    timm.models.save_for_hf(
        classifier.module,
        folder,
        model_config={"label_names": card.classes},
        data_config={
            "input_size": (3, size, size),
            "mean": card.mean,
            "std": card.std,
            "interpolation": "bilinear",
            "crop_pct": 1.0,
            "crop_mode": "border",
        },
        safe_serialization=True,
    )
    config = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
    for key in _OF_OTHER_WEIGHTS:
        config["pretrained_cfg"].pop(key, None)
    write_json(folder / _CONFIG, config)
    (folder / _NETWORK).unlink()
    shutil.copyfile(weights, folder / _NETWORK)  # the same bytes as in the package, so that digests can be compared


def _card(
    name: str, classifier: Classifier, metrics: VersionMetrics, licences: Licences, tags: Mapping[str, str]
) -> str:
    """The model card, Markdown with the hub's front matter."""
    card = classifier.card
    front = _front(name, classifier, metrics, licences).to_yaml()
    rows = [
        f"| {plain(label)} | {one.recall:.1%} | {one.precision:.1%} | {one.support} |"
        for label, one in metrics.per_class.items()
    ]
    worst = sorted(metrics.per_class.items(), key=lambda item: item[1].recall)[:_WORST]
    told = ", ".join(f"{plain(label)} ({one.recall:.0%})" for label, one in worst)
    threshold = f"; below a confidence of {metrics.threshold:.3f} it had better not answer" if metrics.threshold else ""
    return f"""\
---
{front}
---
# {name}

A **{card.architecture}** that names one of {len(card.classes)} classes: {", ".join(map(plain, card.classes))}.

```python
import timm

model = timm.create_model("local-dir:PATH", pretrained=True).eval()
```

`config.json` holds the names in the order of the logits. Images were prepared by Podium: resized to fit a square of
{card.preprocessing.image_size} pixels and padded with {
        "grey " + str(card.preprocessing.pad_value)
        if card.preprocessing.fill == "grey"
        else "the colour of their corners"
    }{_steps(classifier)}; timm's own transform comes
near it and is not the same. Divide logits by {metrics.temperature or 1.0:.4f} before softmax to get calibrated
confidences{threshold}.

## Evaluation
On {metrics.images} {_TESTED}: accuracy {metrics.accuracy.value:.1%} (95 % interval {metrics.accuracy.low:.1%} to
{metrics.accuracy.high:.1%}), macro F1 {metrics.macro_f1.value:.3f}, calibration error {metrics.ece:.1%}.

| class | recall | precision | test images |
|---|---|---|---|
{chr(10).join(rows)}

## Intended use and limits
For images like those it was trained on, of these classes alone: an image of anything else gets one of their names. It
finds least of {told}. Numbers above are of the experiment's own test images; measure it on yours before you rely on it
(`podium evaluate` does).

## Training
Started from {licences.weights.weights if licences.weights.weights != "none" else "random weights"}. Commit
`{tags.get("podium.git_commit", "unknown")}`, data `{tags.get("podium.data_digest", "unknown")}`, weights
`{card.weights_sha256}`.

## Licences
`{LICENCES_TEXT}` names every source of images, the weights that training began with, and their licences.
"""


def _steps(classifier: Classifier) -> str:
    """The further steps of preprocessing, in words."""
    named = [step.step for step in classifier.card.preprocessing.steps]
    return f", with the steps {', '.join(named)}" if named else ""


def _front(name: str, classifier: Classifier, metrics: VersionMetrics, licences: Licences) -> "ModelCardData":
    """The front matter as the hub reads it; `other` where not all is under one licence."""
    from huggingface_hub import EvalResult, ModelCardData

    known = {licence for source in licences.images for licence in source.licences or {source.licence: 0}}
    known |= {licences.weights.licence} - ({licences.weights.licence} if licences.weights.weights == "none" else set())
    single = known.pop().casefold() if len(known) == 1 and "" not in known else None
    measured: dict[str, float] = {"accuracy": metrics.accuracy.value, "f1": metrics.macro_f1.value}
    more: dict[str, Any] = {} if single else {"license_name": "see-licences", "license_link": LICENCES_TEXT}
    return ModelCardData(
        license=single or "other",
        library_name="timm",
        pipeline_tag="image-classification",
        tags=["image-classification", "timm", "podium"],
        model_name=name,
        eval_results=[
            EvalResult(
                task_type="image-classification",
                dataset_type="private",
                dataset_name=", ".join(source.name for source in licences.images),
                dataset_split="test",
                metric_type=kind,
                metric_value=value,
                metric_name="macro F1" if kind == "f1" else kind,
            )
            for kind, value in measured.items()
        ],
        **more,
    )
