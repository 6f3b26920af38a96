"""`podium explain IMAGE... --model M`: what of an image speaks for the class a model names."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from podium.cli.compare import load_model
from podium.config.params import load
from podium.config.problems import nearest
from podium.console.terminal import project
from podium.core.errors import DataError, UsageError
from podium.core.files import replacing, write_json

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
    import numpy as np

    from podium.models.explanations import METHODS
    from podium.models.explanations import explain as explain_images

    layout = project()
    params = load(layout.params)
    if method not in METHODS:
        raise UsageError(f"--method {method!r} is none{nearest(method, METHODS)} (known: {', '.join(METHODS)})")
    loaded = load_model(layout, params, model)
    classifier, classes = loaded.classifier, loaded.classifier.card.classes
    if of_class is not None and of_class not in classes:
        raise UsageError(
            f"--class {of_class!r} is no class of {model}{nearest(of_class, classes)} (known: {', '.join(classes)})"
        )
    pixels = _read(classifier, images)
    answers = [_answer(row, classes, of_class) for row in loaded.probabilities(pixels, _BATCH_SIZE)]
    targets = np.array([classes.index(answer["class"]) for answer in answers])
    maps = explain_images(classifier, pixels, method, targets, seed=params.seed, batch_size=_BATCH_SIZE)
    made = {"model": classifier.card.model, "fingerprint": classifier.card.fingerprint, "method": method}
    for number, name in enumerate(_names(images, method)):
        said = {"image": images[number].as_posix(), **made, "seed": params.seed, **answers[number]}
        _write(out / name, pixels[number], maps[number], said)
        other = "" if said["class"] == said["predicted"] else f" (named {said['predicted']})"
        print(f"{out / name}.png: {said['class']} at {said['probability']:.1%}{other}")


def _answer(probabilities: "NDArray[np.float64]", classes: list[str], of_class: str | None) -> dict[str, Any]:
    """The class to explain with its probability, and the class the model names."""
    predicted = classes[int(probabilities.argmax())]
    explained = of_class or predicted
    sure = round(float(probabilities[classes.index(explained)]), 6)
    return {"class": explained, "probability": sure, "predicted": predicted}


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


def _write(place: Path, pixels: "NDArray[np.uint8]", found: "NDArray[np.float32]", said: dict[str, Any]) -> None:
    """The picture, the map and the JSON that names both, each whole or not at all."""
    import numpy as np

    from podium.report.plots import explanation

    picture, values = (place.with_name(f"{place.name}.{end}") for end in ("png", "npy"))
    told = f"{said['probability']:.1%} sure, by {said['model']}; explained with {said['method']}"
    with replacing(picture) as temporary:
        explanation(temporary, pixels, found, said["class"], told)
    with replacing(values) as temporary:
        np.save(temporary, found)
    write_json(place.with_name(f"{place.name}.json"), {**said, "picture": picture.name, "map": values.name})
