"""A probe goes the way of every model: tuned, trained, evaluated, packaged, judged and served, with the same files."""

import csv
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from mlflow.models import Model
from mlflow.pyfunc import PythonModelContext
from PIL import Image

from podium.config.dataset import Fetch
from podium.config.judging import Evaluate, Explain, Promote
from podium.config.models import NO_TRAINING, ModelConfig, ModelSection
from podium.config.train import Tune
from podium.core.files import sha256_file
from podium.core.layout import EXPLANATION, METRICS, PREDICTIONS, WEIGHTS, Layout
from podium.data.manifest import RAW_COLUMNS, RawWriter, write_manifest
from podium.data.shards import open_for_testing
from podium.data.tensors import save_weights
from podium.models import zoo
from podium.models.study import Study
from podium.pipeline import evaluate, explain, train, tune
from podium.pipeline.fetch import write_weights
from podium.records.evaluation import Metrics
from podium.records.explanation import Explanation
from podium.records.fetch import Sources
from podium.records.training import ModelCard, TuningResult, read_times
from podium.records.validate import ValidationReport
from podium.registry.evidence import GoldenBatch, read_evidence
from podium.registry.gates import run_gates
from podium.registry.package import build_package
from podium.registry.predictor import ImageClassifier
from tests.judged_model import write_known
from tests.raw_images import png, raw_row
from tests.small_splits import ARCHITECTURE, RESOURCES, RUNTIME, a_config, write_project
from tests.unit.registry.promotions import tags_of

PROBES = ("logistic_regression", "nearest_neighbours")
SETTINGS = Evaluate(batch_size=4, bootstrap_samples=50, mistakes=1)


def project(root, classifier: str) -> tuple[Layout, ModelSection]:
    """A project whose model `small` is a probe of pinned weights; random ones do."""
    layout = write_project(root)
    first = root.with_name("first.safetensors")
    save_weights(first, zoo.create(a_config(), 3, 1).state_dict(), {})
    section = ModelSection(
        architecture=ARCHITECTURE,
        classifier=classifier,
        weights=f"file:{first}",
        weights_sha256=sha256_file(first),
        weights_licence="CC0-1.0",
    )
    (layout.weights / "small" / "weights.json").unlink()
    (layout.weights / "small").rmdir()
    write_weights(layout, layout.weights, {"small": section}, Fetch())
    return layout, section


def tuned_and_trained(layout: Layout, section: ModelSection, seed: int = 0) -> dict[str, str]:
    """Digests of what `tune` and `train` write."""
    config, (key, values) = ModelConfig.of(section, NO_TRAINING), section.grid
    grid = [{key: value} for value in values.choices]
    settings = Tune(trials=len(grid), epochs=1, startup_trials=1, pruner="none", search={})
    study = Study(config, {key: values}, settings, seed, grid)
    tune.tune_model(layout, "small", study, runtime=RUNTIME, resources=RESOURCES)
    train.train_model(layout, "small", config=config, runtime=RUNTIME, resources=RESOURCES, seed=seed)
    files = [*layout.tuning("small").iterdir(), *layout.model("small").iterdir()]
    return {f"{file.parent.parent.name}/{file.name}": sha256_file(file) for file in files}


def rows_of(path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("classifier", PROBES)
def test_a_probe_is_tuned_trained_evaluated_and_served(classifier, tmp_path):
    layout, section = project(tmp_path / "one", classifier)
    written = tuned_and_trained(layout, section)
    key, values = section.grid
    trials = rows_of(layout.tuning("small") / "trials.csv")
    assert [float(row[key]) for row in trials] == list(values.choices)
    best = TuningResult.read(layout.tuning("small") / "best.json")
    assert best.val_loss == min(float(row["val_loss"]) for row in trials)
    (row,) = rows_of(layout.model("small") / "history.csv")
    assert "learning_rate" not in row
    assert float(row["val_loss"]) == best.val_loss
    card = ModelCard.read(layout.model("small") / "model.json")
    assert (card.classifier, card.recipe, card.learning_rate, card.tuned) == (classifier, None, None, best.parameters)
    assert (card.trainable, card.epochs, card.cached_prefix) == ("head", 1, True)
    assert {"seconds_per_epoch", "started", "ended"} <= read_times(layout, card.fingerprint).keys()

    assert tuned_and_trained(*project(tmp_path / "two", classifier)) == written
    other = tuned_and_trained(*project(tmp_path / "three", classifier), seed=7)
    weights = tmp_path / "three" / "artifacts" / "models" / "small" / WEIGHTS
    assert other != written  # the seed is in the fingerprint, though it changes no weight
    assert ModelCard.read(weights.with_name("model.json")).weights_sha256 == card.weights_sha256

    measured = _evaluated(layout)
    assert (measured.classifier, measured.images) == (classifier, 6)
    assert (measured.conditions.images_seen, measured.conditions.tuning_images) == (None, None)
    _write_originals(layout)
    with build_package(layout, "small", RUNTIME, Model()) as package:
        _served(layout, package)
    _explained(layout, classifier)


def test_probes_of_one_network_compute_its_features_once_whatever_their_seed(tmp_path):
    layout, section = project(tmp_path, "logistic_regression")
    tuned_and_trained(layout, section)
    (entry,) = (each for each in layout.probe_features.iterdir() if each.is_dir())
    kept = {file: file.stat().st_mtime_ns for file in entry.iterdir()}
    _, other = project(tmp_path / "params of another", "nearest_neighbours")
    tuned_and_trained(layout, other, seed=7)
    assert [each for each in layout.probe_features.iterdir() if each.is_dir()] == [entry]
    assert {file: file.stat().st_mtime_ns for file in entry.iterdir()} == kept


def _evaluated(layout: Layout) -> Metrics:
    write_known(layout)
    evaluate.evaluate_model(layout, "small", SETTINGS, RUNTIME, 0)
    return Metrics.read(layout.evaluation("small") / METRICS)


def _explained(layout: Layout, classifier: str) -> None:
    """Grad-CAM needs gradients: a linear head has them, and votes are passed over with the reason."""
    checks = {"images": 2, "deletion": 1, "randomised": 1}
    explain.explain_model(layout, "small", Explain.model_validate({"checks": checks}), RUNTIME, 0)
    record = Explanation.read(layout.explanation("small") / EXPLANATION)
    assert list(record.methods or record.refused) == ["gradcam"]
    assert bool(record.refused) == (classifier == "nearest_neighbours")


def _write_originals(layout: Layout) -> None:
    """The test images as files that `fetch` could have left, and a report that nothing is wrong with them."""
    split, rows = open_for_testing(layout.prepared), []
    layout.raw.mkdir(parents=True)
    writer = RawWriter(layout.raw, shard_images=50)
    for known, pixels in zip(
        split.index.to_dict("records"), split.images(pd.RangeIndex(len(split)).to_numpy()), strict=True
    ):
        data = png(Image.fromarray(pixels))
        shard = writer.add(known["image_id"], data)
        row = raw_row(known["path"], known["label"], "test", shard=shard, data=data)
        rows.append({**row, "image_id": known["image_id"], "photo_id": known["image_id"], "occlusion": 0.0})
    writer.close()
    write_manifest(layout.raw / "manifest.parquet", pd.DataFrame(rows), RAW_COLUMNS)
    Sources(sources=[], shared={}).write(layout.raw / "sources.json")
    report = ValidationReport(passed=True, manifest_sha256="0" * 64, images=len(rows), rejected=0, results=[])
    report.write(layout.validation_report)


def _served(layout: Layout, package: Path) -> None:
    """Without pickle, the package gives the answers of `evaluate` and passes every gate, as a network's does."""
    assert not [path for path in package.rglob("*") if path.suffix in (".pkl", ".pt", ".pth")]
    folder = package / "artifacts"
    golden, known = GoldenBatch.read(folder / "golden.json"), pd.read_parquet(folder / PREDICTIONS)
    model = ImageClassifier()
    paths = {"weights": folder / WEIGHTS, "metrics": folder / METRICS}
    model.load_context(PythonModelContext({name: str(path) for name, path in paths.items()}, {}))
    answers = model.predict(None, pd.DataFrame({"image": [image.bytes for image in golden.images]}))
    expected = known.set_index("image_id").loc[[image.image_id for image in golden.images], "predicted"]
    assert list(answers["label"]) == list(expected) and len(expected) == 6
    limits = Promote(minimum_accuracy=0, minimum_macro_f1=0, maximum_latency_seconds=60)
    evidence = read_evidence(SimpleNamespace(version="1", tags=tags_of(folder), aliases=[]), package)
    assert {
        result.name: result.detail for result in run_gates(evidence, None, limits, layout) if not result.passed
    } == {}
