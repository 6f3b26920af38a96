"""The MLflow package of a trained model: models-from-code, safetensors and JSON, no pickle; built and sent to MLflow.

Its `artifacts/` are the evidence a promotion needs, self-contained (`registry.evidence`). Building one fails when
serving would not reproduce the evaluation. Each pair of weights and evidence is packaged once, and found again by the
tags `podium.fingerprint` and `podium.evidence`.
"""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

import podium
from podium.config.judging import ExportFormat
from podium.config.preprocess import Preprocessing
from podium.config.runtime import Runtime
from podium.core.errors import DataError, ModelError, PodiumError
from podium.core.layout import GOLDEN, METRICS, MODEL_CARD, PREDICTIONS, TRAIN_MEASURES, WEIGHTS, Layout
from podium.records.base import write_parquet
from podium.records.training import ModelCard
from podium.registry.evidence import ARTIFACTS, EXPORT_FILES, FILES, digest_package, train_measures
from podium.registry.golden import GoldenBatch, choose_golden_batch
from podium.registry.licences import write_licences
from podium.report.results import JUDGED, ModelResults, Results, evidence_digest

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel
    from mlflow.models import Model, ModelSignature

_PENDING = "PENDING"
_READY = "READY"
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


def log_model(
    client: "MlflowClient", experiment: str, results: Results, model: ModelResults, run_id: str
) -> tuple[str, str | None]:
    """Packages and logs a trained model, unless it is there.

    Returns:
        MLflow's id of the logged model, and the digest of its package where it was built now.
    """
    found = client.search_logged_models([experiment], same_tags(model))
    ready = [known for known in found if is_ready(known)]
    begun = [known for known in found if str(known.status) == _PENDING]  # by a process that was killed
    logged = (ready or begun or [_create(client, experiment, model, run_id)])[0]
    digest = None
    if not ready:
        with _gone_if_cut_off(client, logged):
            digest = _upload(client, results, model, logged, run_id)
    elif not is_whole(str(logged.artifact_location), model, wanted=wanted_exports(results, model)):
        digest = send_package(results, model, str(logged.artifact_location), logged.model_id, run_id)
    for known in begun:
        if known.model_id != logged.model_id:
            client.delete_logged_model(known.model_id)
    show_in_run(client, run_id, logged.model_id)
    return str(logged.model_id), digest


def are_logged(client: "MlflowClient", experiment: str, results: Results) -> bool:
    """Whether each model of the experiment is there as a logged model, and not deleted."""
    return all(
        any(is_ready(known) for known in client.search_logged_models([experiment], same_tags(model)))
        for model in results.models
    )


def find_unfinished(client: "MlflowClient", experiment: str) -> "list[LoggedModel]":
    """Logged models of Podium whose upload was killed; to be asked by who alone publishes to the experiment."""
    known = client.search_logged_models([experiment])
    return [logged for logged in known if str(logged.status) == _PENDING and "podium.fingerprint" in logged.tags]


def is_ready(logged: "LoggedModel") -> bool:
    """Whether its files are complete."""
    return str(logged.status) == _READY


def identity_tags(model: ModelResults) -> dict[str, str]:
    """The tags by which a logged model or a version is found again."""
    return {
        "podium.fingerprint": model.card.fingerprint,
        "podium.evidence": model.evidence,
        "podium.model": model.name,
    }


def same_tags(model: ModelResults) -> str:
    """MLflow's filter for the same weights judged by the same evidence."""
    return f"tags.`podium.fingerprint` = '{model.card.fingerprint}' and tags.`podium.evidence` = '{model.evidence}'"


def wanted_exports(results: Results, model: ModelResults) -> tuple[ExportFormat, ...]:
    """The formats that a model's package is to hold beside the weights: the winner's alone, which becomes a version."""
    return results.params.publish.export if model.name == results.winner.name else ()


def is_whole(
    location: str, model: ModelResults, registered: str | None = None, *, wanted: Sequence[ExportFormat] = ()
) -> bool:
    """Whether a package lies whole where MLflow says; of a server's own place, whether anything lies there.

    Args:
        location: where MLflow says it lies.
        model: what was trained and judged.
        registered: the digest it was registered with; None for a package that is no version.
        wanted: formats that it is to hold besides.
    """
    exports = {EXPORT_FILES[name] for name in wanted}
    if urlsplit(location).scheme not in ("", "file"):
        from mlflow.artifacts import list_artifacts

        names = {Path(file.path).name for file in list_artifacts(artifact_uri=f"{location.rstrip('/')}/{ARTIFACTS}")}
        return bool(names) and exports <= names
    folder = Path(url2pathname(urlsplit(location).path))
    needed = {folder / "MLmodel", *(folder / ARTIFACTS / name for name in exports.union(FILES.values()))}
    if not all(path.is_file() for path in needed):
        return False
    if registered is not None:
        return digest_package(folder) == registered
    return evidence_digest(folder / ARTIFACTS / name for name in JUDGED) == model.evidence


def send_package(results: Results, model: ModelResults, location: str, model_id: str, run_id: str) -> str:
    """Puts the package of a registered version in its place anew, whatever lies there.

    Returns:
        The digest of the package.
    """
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    described = _describe(model, model_id, run_id)
    exports = wanted_exports(results, model)
    with build_package(results.layout, model.name, results.params.runtime, described, exports) as folder:
        repository = get_artifact_repository(location)
        repository.delete_artifacts()
        repository.log_artifacts(str(folder))
        return digest_package(folder)


@contextmanager
def build_package(
    layout: Layout, model: str, runtime: Runtime, mlflow_model: "Model", exports: Sequence[ExportFormat] = ()
) -> Iterator[Path]:
    """Builds the package of one trained model, and checks that it predicts what evaluation stored.

    Args:
        layout: the project's paths.
        model: a key of `models`.
        runtime: what the model was evaluated with.
        mlflow_model: the description MLflow starts from (run and model ids are in it).
        exports: formats that it holds besides; one that answers otherwise is a `ModelError`.

    Yields:
        A folder that `mlflow.pyfunc.load_model` loads; removed at the end.
    """
    with TemporaryDirectory(prefix="podium-package-") as temporary:
        work = Path(temporary)
        evidence = work / "evidence"
        golden = gather_evidence(layout, model, runtime, evidence)
        check_parity(evidence, golden, runtime)
        if exports:
            from podium.registry.exports import write_exports

            for export in write_exports(evidence, layout.prepared, exports, runtime).exports:
                print(f"{model} as {export.said}", flush=True)
        (work / _ENTRY).write_text(_ENTRY_TEXT, encoding="utf-8")
        left_out = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")
        shutil.copytree(Path(podium.__file__).parent, work / "podium", ignore=left_out)
        target = work / "package"
        _save(target, work, golden, mlflow_model)
        yield target


def gather_evidence(layout: Layout, model: str, runtime: Runtime, folder: Path) -> GoldenBatch:
    """Collects the evidence of one model in a new folder, and returns its golden batch, which is written there too.

    Raises:
        DataError: a file is missing.
    """
    folder.mkdir(parents=True)
    for source in (
        layout.model(model) / WEIGHTS,
        layout.model(model) / MODEL_CARD,
        layout.evaluation(model) / METRICS,
        layout.validation_report,
        layout.evaluation(model) / PREDICTIONS,
    ):
        if not source.is_file():
            raise DataError(f"{source} does not exist: run `dvc repro` to make it")
        shutil.copyfile(source, folder / source.name)
    write_licences(layout, model, folder)
    write_parquet(folder / TRAIN_MEASURES, train_measures(layout))
    golden = choose_golden_batch(layout, model, runtime)
    golden.write(folder / GOLDEN)
    return golden


def check_parity(folder: Path, golden: GoldenBatch, runtime: Runtime) -> None:
    """Predicts the golden batch from the original files, as serving will.

    Raises:
        ModelError: a probability differs by more than the tolerance, or is not a number.
    """
    from podium.models.inference import load_classifier
    from podium.registry.predictor import golden_difference

    classifier = load_classifier(folder, runtime)
    difference = golden_difference(classifier, golden)
    if difference > golden.tolerance:
        raise ModelError(
            f"{classifier.card.model} as served differs from its evaluation by {difference:.2g} in a probability "
            f"(at most {golden.tolerance:g}): run `dvc repro -f evaluate@{classifier.card.model}`"
        )


def signature(classes: Sequence[str]) -> "ModelSignature":
    """What a package takes and gives, for MLflow."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    columns = {"label": "string", "score": "double", **{f"p_{name}": "double" for name in classes}}
    return ModelSignature(
        inputs=Schema([ColSpec("string", "image")]),
        outputs=Schema([ColSpec(kind, name) for name, kind in columns.items()]),
    )


def requirements(preprocessing: Preprocessing) -> list[str]:
    """What serving needs, at the installed versions; a build suffix (`+cpu`) is not a version an index knows.

    OpenCV is among it only where the preprocessing has steps that OpenCV makes.
    """
    from podium.data.preprocess import needs_opencv

    names = [*REQUIREMENTS, *([_OPENCV] if needs_opencv(preprocessing.steps) else [])]
    return [f"{name}=={version(name).partition('+')[0]}" for name in sorted(names)]


def _create(client: "MlflowClient", experiment: str, model: ModelResults, run_id: str) -> "LoggedModel":
    """A logged model without files; it is not ready before `_upload`."""
    return client.create_logged_model(
        experiment,
        name=model.name,
        source_run_id=run_id,
        tags=identity_tags(model),
        params={"architecture": model.card.architecture, "learning_rate": repr(model.card.learning_rate)},
        model_type="image classifier",
    )


@contextmanager
def _gone_if_cut_off(client: "MlflowClient", logged: "LoggedModel") -> Iterator[None]:
    """Deletes a logged model where its upload is interrupted or cannot be built."""
    try:
        yield
    except (KeyboardInterrupt, PodiumError, OSError):
        client.delete_logged_model(logged.model_id)
        raise


def _upload(client: "MlflowClient", results: Results, model: ModelResults, logged: "LoggedModel", run_id: str) -> str:
    """Builds the package, sends it to the store and marks the logged model as ready; the package's digest."""
    described = _describe(model, logged.model_id, run_id)
    exports = wanted_exports(results, model)
    with build_package(results.layout, model.name, results.params.runtime, described, exports) as folder:
        client.log_model_artifacts(logged.model_id, str(folder))
        digest = digest_package(folder)
    client.finalize_logged_model(logged.model_id, _READY)
    return digest


def _describe(model: ModelResults, model_id: str, run_id: str) -> "Model":
    """What MLflow notes of a package before it is built."""
    from mlflow.models import Model

    return Model(
        artifact_path=model.name,
        run_id=run_id,
        model_uuid=model_id,
        model_id=model_id,
        metadata=identity_tags(model),
    )


def show_in_run(client: "MlflowClient", run_id: str, model_id: str) -> None:
    """Links the run to the model it made, unless it is linked."""
    from mlflow.entities import LoggedModelOutput

    outputs = client.get_run(run_id).outputs
    if outputs is None or model_id not in {output.model_id for output in outputs.model_outputs}:
        client.log_outputs(run_id, [LoggedModelOutput(model_id, 0)])


def _save(target: Path, work: Path, golden: GoldenBatch, mlflow_model: "Model") -> None:
    """Has MLflow write the package, then takes out where it was written and what Python compiled."""
    import mlflow.pyfunc
    import pandas as pd

    names = {file: name for name, file in FILES.items()}
    mlflow.pyfunc.save_model(
        path=str(target),
        python_model=str(work / _ENTRY),
        artifacts={names.get(path.name, path.name): str(path) for path in sorted((work / "evidence").iterdir())},
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
