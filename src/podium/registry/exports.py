"""A version in other formats: an ONNX file, a program of `torch.export`, an ONNX file in whole numbers of 8 bits.

All take what the network takes, normalised float32 images (N, 3, S, S) under the name `images` with any N, and give its
`logits` (N, C). Preparing images, softmax and temperature stay with Podium: weights and JSON are the truth, and an
export that gives other logits is refused.
"""

import contextlib
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from podium.analysis.paired import mcnemar
from podium.config.judging import ExportFormat
from podium.config.runtime import Runtime
from podium.core.errors import ModelError, one_line
from podium.core.files import sha256_file
from podium.core.layout import EXPORTS, ONNX
from podium.data.augment.batch import normalise
from podium.data.shards import PreparedSplit, open_for_fitting
from podium.models.inference import Classifier, load_classifier
from podium.records.base import Record
from podium.records.evaluation import Interval
from podium.registry.evidence import EXPORT_FILES
from podium.registry.onnx_model import Logits, on_cpu, open_onnx, quantise, quiet, with_onnx

if TYPE_CHECKING:
    from torch.export import ExportedProgram

TOLERANCE = 1e-4  # of a logit
IMAGES = 256  # that parity is measured on
BATCH_SIZES = (1, 2, 33)
_CALIBRATION = 128  # training images that decide the ranges of whole numbers
_OPSET = 18
_SEED = 0
_LIBRARIES = ("onnx", "onnxruntime", "onnxscript", "torch")


class Parity(Record):
    """The largest difference of a logit from the network's own, at one batch size."""

    batch_size: int
    difference: float


class Rounded(Record):
    """What rounding to 8 bits costs: accuracy on all validation images, and the difference with its 90 % interval."""

    images: int
    calibration_images: int
    accuracy: float
    accuracy_before: float
    difference: Interval


class Export(Record):
    """One file, and how near it comes to the network.

    `images` is how many parity was measured on, of which `validation_images` are prepared ones and the rest noise.
    `tolerance` is None and `rounded` told where the format is not exact.
    """

    format: ExportFormat
    file: str
    sha256: str
    images: int
    validation_images: int
    parity: list[Parity]
    tolerance: float | None
    rounded: Rounded | None = None

    @property
    def said(self) -> str:
        """In one line."""
        if self.rounded is None:
            most = max(each.difference for each in self.parity)
            return f"{self.format}: logits within {most:.1g} of the network's on {self.images} images"
        found = self.rounded.difference
        return (
            f"{self.format}: right on {self.rounded.accuracy:.1%} of {self.rounded.images} validation images, the "
            f"network on {self.rounded.accuracy_before:.1%} (difference {100 * found.value:+.1f} points, 90 % interval "
            f"{100 * found.low:+.1f} to {100 * found.high:+.1f})"
        )


class Exports(Record):
    """`exports.json` of a package."""

    exports: list[Export]
    versions: dict[str, str]


def write_exports(folder: Path, prepared: Path, formats: Sequence[ExportFormat], runtime: Runtime) -> Exports:
    """Writes a model in other formats beside its weights, once they are known to answer as it does.

    Args:
        folder: with weights and card, as `load_classifier` reads it.
        prepared: splits, of which train and val are opened.
        formats: which, at least one.
        runtime: whose number of threads is used; exports compute in float32 on the CPU.

    Raises:
        ModelError: the network cannot be exported, or an export gives other logits.
        DataError: a split is missing.
    """
    classifier = load_classifier(folder, on_cpu(runtime))
    validation = open_for_fitting(prepared, "val")
    pixels, real = parity_images(validation, classifier.card.preprocessing.image_size)
    inputs = _normalised(classifier, pixels)
    wanted = own_logits(classifier, inputs)
    exports = []
    with TemporaryDirectory(prefix="podium-export-") as temporary:
        program = export_program(classifier)
        onnx = (folder if "onnx" in formats else Path(temporary)) / ONNX
        if {"onnx", "onnx_int8"} & set(formats):
            save_onnx(program, onnx, classifier.card.model)
        for name in formats:
            path, rounded = folder / EXPORT_FILES[name], None
            if name == "torch_export":
                save_program(program, path)
            elif name == "onnx_int8":
                train = open_for_fitting(prepared, "train")
                quantise(onnx, path, _normalised(classifier, _spread(train, _CALIBRATION)))
                rounded = _measure_rounding(classifier, path, validation, min(len(train), _CALIBRATION))
            run = open_program(path) if name == "torch_export" else open_onnx(path, runtime.threads)
            exports.append(
                Export(
                    format=name,
                    file=path.name,
                    sha256=sha256_file(path),
                    images=len(pixels),
                    validation_images=real,
                    parity=measure_parity(run, inputs, wanted),
                    tolerance=None if rounded else TOLERANCE,
                    rounded=rounded,
                )
            )
            require_parity(exports[-1], classifier.card.model)
    found = Exports(exports=exports, versions={name: version(name) for name in _LIBRARIES})
    found.write(folder / EXPORTS)
    return found


def require_parity(export: Export, model: str) -> None:
    """Refuses an export that gives other logits than the network.

    Raises:
        ModelError: it does.
    """
    for each in export.parity:
        if export.tolerance is not None and not each.difference <= export.tolerance:  # NaN is refused too
            raise ModelError(
                f"{model} as {export.format} differs by {each.difference:.2g} in a logit at batch size "
                f"{each.batch_size} (at most {export.tolerance:g}): take {export.format} out of publish.export"
            )


def parity_images(validation: PreparedSplit | None, size: int) -> tuple[NDArray[np.uint8], int]:
    """Images that parity is measured on, shape (256, S, S, 3): prepared ones, and noise where these are not enough.

    Returns:
        The images, and how many of them are prepared ones.
    """
    real = _spread(validation, IMAGES) if validation is not None else np.empty((0, size, size, 3), np.uint8)
    noise = np.random.default_rng(_SEED).integers(0, 256, (IMAGES - len(real), size, size, 3), dtype=np.uint8)
    return np.concatenate([real, noise]), len(real)


def _spread(split: PreparedSplit, count: int) -> NDArray[np.uint8]:
    """At most so many images of a split, spread evenly over it."""
    return split.images(np.unique(np.linspace(0, len(split) - 1, count).astype(np.int64)))


def _normalised(classifier: Classifier, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Images as the network takes them, float32, shape (N, 3, S, S)."""
    found: NDArray[np.float32] = normalise(pixels, classifier.card.mean, classifier.card.std).contiguous().numpy()
    return found


def export_program(classifier: Classifier) -> "ExportedProgram":
    """The network as a graph of torch, for batches of any size.

    Raises:
        ModelError: it cannot be exported.
    """
    size = classifier.card.preprocessing.image_size
    with quiet(), _refused_in_words(classifier.card.model, "torch.export"):
        return torch.export.export(
            classifier.module, (torch.zeros(2, 3, size, size),), dynamic_shapes=({0: torch.export.Dim("batch", min=1)},)
        )


def save_program(program: "ExportedProgram", path: Path) -> None:
    """Writes a program of `torch.export`, without the example that torch would pickle into it."""
    example, program.example_inputs = program.example_inputs, None
    try:
        torch.export.save(program, path)
    finally:
        program.example_inputs = example


def save_onnx(program: "ExportedProgram", path: Path, model: str) -> None:
    """Writes a program as one ONNX file.

    Raises:
        ModelError: it cannot be.
    """
    with quiet(), _refused_in_words(model, "onnx"):
        made = torch.onnx.export(
            program, input_names=["images"], output_names=["logits"], opset_version=_OPSET, dynamo=True, verbose=False
        )
        if made is None:
            raise RuntimeError("no program came of it")
        made.save(path, external_data=False)


def open_program(path: Path) -> Logits:
    """A program of `torch.export` that was written just now; torch may unpickle what others wrote."""
    module = torch.export.load(path).module()

    def run(images: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            found: NDArray[np.float32] = module(torch.from_numpy(images)).numpy()
        return found

    return run


def measure_parity(run: Logits, inputs: NDArray[np.float32], wanted: NDArray[np.float32]) -> list[Parity]:
    """How far an export's logits are from the network's own (`wanted`), at each batch size."""
    return [
        Parity(batch_size=size, difference=float(np.abs(_in_batches(run, inputs, size) - wanted).max()))
        for size in BATCH_SIZES
    ]


def own_logits(classifier: Classifier, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """The network's own logits of normalised images, float32, shape (N, C)."""

    def run(images: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            found: NDArray[np.float32] = classifier.module(torch.from_numpy(images)).numpy()
        return found

    return _in_batches(run, inputs, BATCH_SIZES[-1])


def _in_batches(run: Logits, inputs: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Logits of all images, so many at once."""
    return np.concatenate([run(inputs[start : start + size]) for start in range(0, len(inputs), size)])


def _measure_rounding(classifier: Classifier, path: Path, validation: PreparedSplit, calibration: int) -> Rounded:
    """Accuracy of rounded numbers against the network's own, on all validation images."""
    rounded = with_onnx(classifier.card, path, classifier.compute.runtime)
    right = []
    for each in (rounded, classifier):
        logits = [
            each.logits(validation.images(np.arange(start, min(start + IMAGES, len(validation)))), BATCH_SIZES[-1])
            for start in range(0, len(validation), IMAGES)
        ]
        right.append(np.concatenate(logits).argmax(axis=1) == validation.labels)
    return Rounded(
        images=len(validation),
        calibration_images=calibration,
        accuracy=float(right[0].mean()),
        accuracy_before=float(right[1].mean()),
        difference=mcnemar("onnx_int8", classifier.card.model, *right).difference,
    )


@contextlib.contextmanager
def _refused_in_words(model: str, what: str) -> Iterator[None]:
    """Turns what torch's exporters raise into a sentence.

    Raises:
        ModelError: they refuse the network.
    """
    try:
        yield
    except (RuntimeError, TypeError, ValueError) as error:  # also those of torch.export and of the ONNX exporter
        raise ModelError(
            f"{model} cannot be exported as {what} ({one_line(error)}): take its formats out of publish.export"
        ) from error
