"""`podium explain IMAGE... --model M`: what of an image speaks for the class a model names."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from podium.cli.compare import find_version
from podium.config.params import Params, load
from podium.config.problems import nearest
from podium.console.terminal import project
from podium.core.errors import DataError, UsageError
from podium.core.files import replacing, write_json
from podium.core.layout import METRICS, Layout

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from podium.models.inference import Classifier

_BATCH_SIZE = 32


def explain(
    images: Annotated[list[Path], typer.Argument(help="Image files.", show_default=False)],
    model: Annotated[
        str,
        typer.Option(
            help="A model of the experiment in force, or a version (its number, an alias, models:/NAME@ALIAS).",
            show_default=False,
        ),
    ],
    method: Annotated[
        str,
        typer.Option(help="cam, gradcam, integrated_gradients, occlusion, lime, kernel_shap or gradient_shap."),
    ] = "gradcam",
    of_class: Annotated[
        str | None, typer.Option("--class", help="Explain this class instead of the one the model names.")
    ] = None,
    out: Annotated[Path, typer.Option(help="The folder for pictures, maps and what they are of.")] = Path(
        "explanations"
    ),
) -> None:
    """Show what of an image speaks for the class a model names: a picture, the map as NumPy array, and a JSON of both.

    A map above 0 speaks for the class, below 0 against it. docs/metrics.md says what each method does.
    """
    from podium.analysis.calibration import at_temperature
    from podium.models.explanations import METHODS
    from podium.models.explanations import explain as explain_images

    layout = project()
    params = load(layout.params)
    if method not in METHODS:
        raise UsageError(f"--method {method!r} is none{nearest(method, METHODS)} (known: {', '.join(METHODS)})")
    classifier, temperature = _load(layout, params, model)
    classes = classifier.card.classes
    if of_class is not None and of_class not in classes:
        raise UsageError(
            f"--class {of_class!r} is no class of {model}{nearest(of_class, classes)} (known: {', '.join(classes)})"
        )
    pixels = _read(classifier, images)
    probabilities = at_temperature(classifier.probabilities(pixels, _BATCH_SIZE), temperature)
    targets = probabilities.argmax(axis=1)
    if of_class is not None:
        targets[:] = classes.index(of_class)
    maps = explain_images(classifier, pixels, method, targets, seed=params.seed, batch_size=_BATCH_SIZE)
    names = _names(images, method)
    for number, name in enumerate(names):
        target, sure = classes[targets[number]], float(probabilities[number, targets[number]])
        predicted = classes[int(probabilities[number].argmax())]
        said = {
            "image": images[number].as_posix(),
            "model": classifier.card.model,
            "fingerprint": classifier.card.fingerprint,
            "method": method,
            "seed": params.seed,
            "class": target,
            "probability": round(sure, 6),
            "predicted": predicted,
        }
        _write(out / name, pixels[number], maps[number], said)
        print(f"{out / name}.png: {target} at {sure:.1%}" + (f" (named {predicted})" if predicted != target else ""))


def _load(layout: Layout, params: Params, given: str) -> tuple["Classifier", float]:
    """A model and the temperature of its probabilities.

    Raises:
        UsageError: it is no model of the experiment and no version.
        DataError: a file of it is missing or damaged.
        ModelError: the weights are not those of the model's card.
        TrackingError: the store does not answer.
    """
    from podium.models.inference import load_classifier
    from podium.records.evaluation import Metrics

    if given in params.models:
        classifier = load_classifier(layout.model(given), params.runtime)
        return classifier, Metrics.read(layout.evaluation(given) / METRICS).temperature
    from podium.registry.holder import artifact_of

    registered, version = find_version(layout, params, given, " and no version of {}")
    with TemporaryDirectory(prefix="podium-explain-") as temporary:
        folder = artifact_of(layout, registered.name, version, "", Path(temporary))
        from podium.registry.predictor import serving_runtime

        return load_classifier(folder, serving_runtime(folder)), Metrics.read(folder / METRICS).temperature


def _read(classifier: "Classifier", images: list[Path]) -> "NDArray[np.uint8]":
    """Image files as the model sees them, uint8, shape (N, S, S, 3).

    Raises:
        DataError: one cannot be read.
    """
    import numpy as np

    from podium.data.preprocess import read_image

    pixels = []
    for path in images:
        if not path.is_file():
            raise DataError(f"{path} is no file: name image files")
        try:
            pixels.append(read_image(path.read_bytes(), classifier.card.preprocessing).pixels)
        except DataError as error:
            raise DataError(f"{path} is not an image: {error}") from error
    return np.stack(pixels)


def _names(images: list[Path], method: str) -> list[str]:
    """A name for what is written of each image, also where two files have the same."""
    names: list[str] = []
    for path in images:
        wanted = name = f"{path.stem}_{method}"
        number = 1
        while name in names:
            number += 1
            name = f"{wanted}_{number}"
        names.append(name)
    return names


def _write(place: Path, pixels: "NDArray[np.uint8]", found: "NDArray[np.float32]", said: dict[str, object]) -> None:
    """The picture, the map and the JSON that names both, each whole or not at all."""
    import numpy as np

    from podium.report.plots import explanation

    picture, values = (place.with_name(f"{place.name}.{end}") for end in ("png", "npy"))
    told = f"{said['probability']:.1%} sure, by {said['model']}; explained with {said['method']}"
    with replacing(picture) as temporary:
        explanation(temporary, pixels, found, str(said["class"]), told)
    with replacing(values) as temporary:
        np.save(temporary, found)
    write_json(place.with_name(f"{place.name}.json"), {**said, "picture": picture.name, "map": values.name})
