"""The MLflow model package of a trained model: models-from-code, safetensors and JSON, no pickle.

Its `artifacts/` are the evidence a promotion needs, self-contained: weights, card, metrics, validation report, every
test prediction, and a golden batch of original test images with the probabilities that were stored for them. Building
one fails when serving would not reproduce the evaluation.
"""

import base64
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow.parquet as pq

import podium
from podium.config.runtime import Runtime
from podium.core.errors import DataError, ModelError
from podium.core.layout import GOLDEN, MANIFEST, METRICS, MODEL_CARD, PREDICTIONS, WEIGHTS, Layout
from podium.data.manifest import RAW_COLUMNS, RawImages, read_manifest
from podium.data.preprocess import crop_file
from podium.data.steps import needs_opencv, region_of
from podium.records.preprocess import Preprocessing
from podium.records.training import ModelCard
from podium.registry.evidence import FILES, GoldenBatch, GoldenImage
from podium.registry.packaged_model import golden_difference

if TYPE_CHECKING:
    from mlflow.models import Model, ModelSignature

GOLDEN_IMAGES = 16
GOLDEN_BYTES = 16 * 2**20
TOLERANCE = 1e-4
TOLERANCE_ELSEWHERE = 2e-2
"""bfloat16 keeps 8 bits of a number, and CUDA adds in another order than the CPU a package may be served on."""
REQUIREMENTS = (
    "mlflow",
    "numpy",
    "pandas",
    "pillow",
    "pydantic",
    "pyyaml",
    "safetensors",
    "timm",
    "torch",
    "torchvision",
)
_OPENCV = "opencv-python-headless"
_ENTRY = "serve.py"
_ENTRY_TEXT = '''"""Loaded by MLflow; the classifier itself is in code/podium."""

from mlflow.models import set_model

from podium.registry.predictor import ImageClassifier

set_model(ImageClassifier())
'''


def choose_golden_batch(layout: Layout, model: str, runtime: Runtime) -> GoldenBatch:
    """Picks test images, classes in turn, and what was predicted for them.

    Args:
        layout: the project's paths.
        model: a key of `models`.
        runtime: what the predictions were made with; decides the tolerance.

    Returns:
        At most `GOLDEN_IMAGES` images of together at most `GOLDEN_BYTES` (but at least one).

    Raises:
        DataError: predictions or raw images are missing.
    """
    card = ModelCard.read(layout.model(model) / MODEL_CARD)
    stored = _predictions(layout.evaluation(model) / PREDICTIONS)
    stored["turn"] = stored.groupby("label").cumcount()
    chosen = stored.sort_values(["turn", "label", "image_id"]).head(GOLDEN_IMAGES)
    known = read_manifest(layout.raw / MANIFEST, RAW_COLUMNS).set_index("image_id")
    raw = RawImages(layout.raw)
    columns = [f"p_{name}" for name in card.classes]
    images: list[GoldenImage] = []
    size = 0
    for row in chosen.to_dict("records"):
        if row["image_id"] not in known.index:
            raise DataError(f"test image {row['path']!r} is not in artifacts/raw: run `dvc repro`")
        where = known.loc[row["image_id"]].to_dict()
        photograph = raw.read(where["shard"], where["photo_id"])
        data = crop_file(photograph, region_of(where), card.preprocessing.max_pixels)
        size += len(data)
        if images and size > GOLDEN_BYTES:
            break
        images.append(
            GoldenImage(
                image_id=row["image_id"],
                path=row["path"],
                label=row["label"],
                bytes=base64.b64encode(data).decode(),
                probabilities=[float(row[c]) for c in columns],
            )
        )
    exact = runtime.device == "cpu" and runtime.dtype == "float32"
    return GoldenBatch(classes=card.classes, tolerance=TOLERANCE if exact else TOLERANCE_ELSEWHERE, images=images)


@contextmanager
def build_package(layout: Layout, model: str, runtime: Runtime, mlflow_model: "Model") -> Iterator[Path]:
    """Builds the package of one trained model, and checks that it predicts what evaluation stored.

    Args:
        layout: the project's paths.
        model: a key of `models`.
        runtime: what the model was evaluated with.
        mlflow_model: the description MLflow starts from (run and model ids are in it).

    Yields:
        A folder that `mlflow.pyfunc.load_model` loads; removed at the end.

    Raises:
        DataError: a file of the evidence is missing.
        ModelError: the packaged model does not reproduce the stored predictions.
    """
    with TemporaryDirectory(prefix="podium-package-") as temporary:
        work = Path(temporary)
        evidence = work / "evidence"
        golden = gather_evidence(layout, model, runtime, evidence)
        check_parity(evidence, golden, runtime)
        (work / _ENTRY).write_text(_ENTRY_TEXT, encoding="utf-8")
        left_out = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")
        shutil.copytree(Path(podium.__file__).parent, work / "podium", ignore=left_out)
        target = work / "package"
        _save(target, work, golden, mlflow_model)
        yield target


def gather_evidence(layout: Layout, model: str, runtime: Runtime, folder: Path) -> GoldenBatch:
    """Collects the evidence of one model in a folder.

    Args:
        layout: the project's paths.
        model: a key of `models`.
        runtime: what the model was evaluated with.
        folder: to be made.

    Returns:
        The golden batch, which is written there too.

    Raises:
        DataError: a file is missing.
    """
    folder.mkdir(parents=True)
    for source in (
        layout.model(model) / WEIGHTS,
        layout.model(model) / MODEL_CARD,
        layout.evaluation_report(model) / METRICS,
        layout.validation_report,
        layout.evaluation(model) / PREDICTIONS,
    ):
        if not source.is_file():
            raise DataError(f"{source} does not exist: run `dvc repro` to make it")
        shutil.copyfile(source, folder / source.name)
    golden = choose_golden_batch(layout, model, runtime)
    golden.write(folder / GOLDEN)
    return golden


def check_parity(folder: Path, golden: GoldenBatch, runtime: Runtime) -> float:
    """Predicts the golden batch from the original files, as serving will.

    Args:
        folder: the evidence.
        golden: what must come out.
        runtime: how to compute.

    Returns:
        The largest difference of a probability.

    Raises:
        ModelError: it is above the tolerance, or a probability is not a number.
    """
    from podium.models.inference import load_classifier

    classifier = load_classifier(folder, runtime)
    difference = golden_difference(classifier, golden)
    if difference > golden.tolerance:
        raise ModelError(
            f"{classifier.card.model} as served differs from its evaluation by {difference:.2g} in a probability "
            f"(at most {golden.tolerance:g}): run `dvc repro -f evaluate@{classifier.card.model}`"
        )
    return difference


def signature(classes: list[str]) -> "ModelSignature":
    """What the packaged model takes and gives."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    outputs = [ColSpec("string", "label"), ColSpec("double", "score"), *(ColSpec("double", f"p_{c}") for c in classes)]
    return ModelSignature(inputs=Schema([ColSpec("string", "image")]), outputs=Schema(outputs))


def requirements(preprocessing: Preprocessing) -> list[str]:
    """What serving needs, at the installed versions; a build suffix (`+cpu`) is not a version an index knows.

    Args:
        preprocessing: OpenCV is needed only where it has steps that OpenCV makes.
    """
    names = [*REQUIREMENTS, *([_OPENCV] if needs_opencv(preprocessing.steps) else [])]
    return [f"{name}=={version(name).partition('+')[0]}" for name in sorted(names)]


def _save(target: Path, work: Path, golden: GoldenBatch, mlflow_model: "Model") -> None:
    """Has MLflow write the package, then takes out where it was written and what Python compiled."""
    import mlflow.pyfunc

    mlflow.pyfunc.save_model(
        path=str(target),
        python_model=str(work / _ENTRY),
        artifacts={name: str(work / "evidence" / file) for name, file in FILES.items()},
        code_paths=[str(work / "podium")],
        signature=signature(golden.classes),
        input_example=pd.DataFrame({"image": [golden.images[0].bytes]}),
        pip_requirements=requirements(ModelCard.read(work / "evidence" / MODEL_CARD).preprocessing),
        mlflow_model=mlflow_model,
    )
    # MLflow notes where the entry script lay when it was saved, and reads nothing but its last part.
    mlflow_model.flavors["python_function"]["model_code_path"] = _ENTRY
    for artifact in mlflow_model.flavors["python_function"]["artifacts"].values():
        artifact["uri"] = artifact["path"]
    mlflow_model.save(str(target / "MLmodel"))
    for cache in target.rglob("__pycache__"):
        shutil.rmtree(cache)


def _predictions(path: Path) -> pd.DataFrame:
    """The stored answers on the test split, sorted by `image_id`."""
    if not path.is_file():
        raise DataError(f"{path} does not exist: run `dvc repro` to make it")
    frame: pd.DataFrame = pq.read_table(path).to_pandas()
    return frame.sort_values("image_id", ignore_index=True)
