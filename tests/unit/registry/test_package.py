import base64
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from podium.analysis.calibration import at_temperature
from podium.config.preprocess import CentreCrop, Grey, Preprocessing
from podium.core.errors import ModelError
from podium.core.layout import Layout
from podium.data.decode import decode
from podium.data.manifest import RAW_COLUMNS, read_manifest, write_manifest
from podium.records.evaluation import Metrics
from podium.records.training import ModelCard
from podium.registry import package
from podium.registry.golden import GOLDEN_IMAGES, choose_golden_batch

MODEL = "tiny_resnet"


@pytest.fixture
def built(experiment, tmp_path_factory):
    from mlflow.models import Model

    target = tmp_path_factory.mktemp("package") / "model"
    with package.build_package(experiment.layout, MODEL, experiment.params.runtime, Model()) as folder:
        shutil.copytree(folder, target)
    return target


def test_the_package_is_self_contained_and_holds_no_pickle(built, experiment):
    files = {path.relative_to(built).as_posix() for path in built.rglob("*") if path.is_file()}
    evidence = {"weights.safetensors", "model.json", "metrics.json", "validation.json", "predictions.parquet"}
    assert {f"artifacts/{name}" for name in evidence | {"golden.json"}} <= files
    assert "code/podium/registry/predictor.py" in files
    assert not [name for name in files if name.endswith((".pkl", ".pyc", ".pt", ".pth"))]
    text = (built / "MLmodel").read_text(encoding="utf-8")
    assert str(experiment.layout.root) not in text
    assert "/tmp" not in text
    assert "+cpu" not in (built / "requirements.txt").read_text()


def test_the_package_loads_in_a_new_process_without_pickle_and_without_the_project(built, experiment):
    golden = package.GoldenBatch.read(built / "artifacts" / "golden.json")
    script = f"""
import base64, json, mlflow.pyfunc, pandas as pd
model = mlflow.pyfunc.load_model({str(built)!r})
import podium
texts = {[image.bytes for image in golden.images]!r}
a = model.predict(pd.DataFrame({{"image": texts}}))
b = model.predict(pd.DataFrame({{"image": [base64.b64decode(t) for t in texts]}}))
assert a.equals(b)
print(json.dumps([podium.__file__, a.drop(columns=["label", "score"]).values.tolist(), a["label"].tolist()]))
"""
    settings = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    settings["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd="/", env=settings, capture_output=True, text=True, check=True
    )
    where, probabilities, labels = json.loads(done.stdout)
    assert where == str(built / "code" / "podium" / "__init__.py")
    raw = np.array([image.probabilities for image in golden.images], np.float32)
    temperature = Metrics.read(built / "artifacts" / "metrics.json").temperature
    assert temperature != 1
    assert np.array(probabilities) == pytest.approx(at_temperature(raw, temperature), abs=10 * golden.tolerance)
    assert set(labels) <= set(golden.classes)


def test_the_golden_batch_takes_classes_in_turn_and_keeps_the_original_bytes(experiment):
    golden = choose_golden_batch(experiment.layout, MODEL, experiment.params.runtime)
    assert len(golden.images) == GOLDEN_IMAGES
    assert [image.label for image in golden.images[:3]] == sorted(golden.classes)
    assert base64.b64decode(golden.images[0].bytes).startswith(b"\x89PNG")
    assert golden == choose_golden_batch(experiment.layout, MODEL, experiment.params.runtime)


def test_serving_that_differs_from_the_evaluation_is_refused(experiment, tmp_path):
    folder = tmp_path / "evidence"
    golden = package.gather_evidence(experiment.layout, MODEL, experiment.params.runtime, folder)
    card = ModelCard.read(folder / "model.json")
    half = card.preprocessing.model_copy(update={"pad_value": 255 - card.preprocessing.pad_value})
    card.model_copy(update={"preprocessing": half}).write(folder / "model.json")
    with pytest.raises(ModelError, match=r"differs from its evaluation by .* run `dvc repro -f evaluate@tiny_resnet`"):
        package.check_parity(folder, golden, experiment.params.runtime)


def test_a_package_whose_golden_batch_holds_no_number_is_refused(experiment, tmp_path):
    folder = tmp_path / "evidence"
    golden = package.gather_evidence(experiment.layout, MODEL, experiment.params.runtime, folder)
    first = golden.images[0]
    broken = first.model_copy(update={"probabilities": [float("nan"), *first.probabilities[1:]]})
    golden = golden.model_copy(update={"images": [broken, *golden.images[1:]]})
    with pytest.raises(ModelError, match="a probability of its golden batch is not a number"):
        package.check_parity(folder, golden, experiment.params.runtime)


def test_requirements_name_the_installed_versions_and_opencv_only_for_steps_it_makes():
    plain = Preprocessing(image_size=8, pad_value=0, max_pixels=10)
    lines = package.requirements(plain)
    assert all(line.count("==") == 1 for line in lines)
    assert [line.split("==")[0] for line in lines] == list(package.REQUIREMENTS)
    assert package.requirements(plain.model_copy(update={"steps": [CentreCrop(share=0.5)]})) == lines
    with_step = package.requirements(plain.model_copy(update={"steps": [Grey()]}))
    assert [line.split("==")[0] for line in with_step if line not in lines] == ["opencv-python-headless"]


def test_the_golden_batch_holds_crops_as_files_of_their_own(experiment, tmp_path):
    shutil.copytree(experiment.layout.root, tmp_path / "project")
    layout = Layout(tmp_path / "project")
    raw = read_manifest(layout.raw / "manifest.parquet", RAW_COLUMNS).assign(box_left=0.25, box_bottom=0.5)
    write_manifest(layout.raw / "manifest.parquet", raw, RAW_COLUMNS)

    golden = choose_golden_batch(layout, MODEL, experiment.params.runtime)

    whole = choose_golden_batch(experiment.layout, MODEL, experiment.params.runtime)
    for crop, photograph in zip(golden.images, whole.images, strict=True):
        pixels = np.asarray(decode(base64.b64decode(photograph.bytes), 10**6).image)
        shown = np.asarray(decode(base64.b64decode(crop.bytes), 10**6).image)
        np.testing.assert_array_equal(shown, pixels[: pixels.shape[0] // 2, pixels.shape[1] // 4 :])
