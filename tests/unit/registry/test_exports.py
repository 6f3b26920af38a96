"""A version in other formats: the same logits, one file each, nothing pickled; and what answers from the ONNX file."""

import json
import shutil
import zipfile
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from podium.config.models import Network
from podium.config.params import load
from podium.config.preprocess import Preprocessing
from podium.config.runtime import Runtime
from podium.core.errors import DataError, ModelError
from podium.models import zoo
from podium.models.compute import Compute
from podium.models.inference import Classifier, load_classifier
from podium.registry import exports, package
from podium.registry.exports import Exports, write_exports
from podium.registry.loading import load_version
from podium.registry.onnx_model import load_onnx, open_onnx
from podium.registry.predictor import serving_runtime
from podium.registry.read_only import find_registered
from tests.cards import a_card
from tests.unit.cli.calls import one_line, podium
from tests.unit.conftest import SIZE
from tests.unit.registry.promotions import NAME, gathered, register

MODEL = "tiny_resnet"
SIDE = 64
NETWORKS = {
    "cnn with attention in its blocks": {"architecture": "cnn", "attention": "self", "attention_at": "blocks"},
    "gates of channels and places": {"architecture": "resnet10t", "attention": "cbam"},
    "pooling to a larger map": {"architecture": "torchvision/alexnet"},
    "convnext": {"architecture": "convnext_atto"},
    "a transformer": {"architecture": "vit_tiny_patch16_224"},
    "nearest neighbours": {"architecture": "resnet10t", "classifier": "nearest_neighbours"},
}


def classifier_of(settings):
    config = Network.model_validate(settings)
    module = zoo.create(config, 3, 0, SIDE)
    if config.classifier == "nearest_neighbours":
        features = torch.randn(30, 512, generator=torch.Generator().manual_seed(0))
        module.get_submodule(zoo.classifier_name(module)).fit(features, torch.arange(30) % 3, 5)
    preprocessing = Preprocessing(image_size=SIDE, pad_value=0, max_pixels=10**6)
    return Classifier(a_card(preprocessing=preprocessing), module.eval(), Compute.of(Runtime(threads=1)))


@pytest.mark.parametrize("kind", NETWORKS)
def test_every_kind_of_network_gives_its_own_logits_in_both_formats(kind, tmp_path):
    classifier = classifier_of(NETWORKS[kind])
    inputs = np.random.default_rng(0).normal(size=(34, 3, SIDE, SIDE)).astype(np.float32)
    program = exports.export_program(classifier)
    exports.save_program(program, tmp_path / "model.pt2")
    exports.save_onnx(program, tmp_path / "model.onnx", "m")
    for run in (exports.open_program(tmp_path / "model.pt2"), open_onnx(tmp_path / "model.onnx", 1)):
        found = exports.measure_parity(run, inputs, exports.own_logits(classifier, inputs))
        assert [each.batch_size for each in found] == [1, 2, 33]
        assert max(each.difference for each in found) <= exports.TOLERANCE


@pytest.fixture(scope="module")
def exported(finished_project, tmp_path_factory):
    """The files of a model in all formats, and what was measured of them."""
    root = tmp_path_factory.mktemp("exported") / "project"
    shutil.copytree(finished_project, root)
    layout = package.Layout(root)
    folder = tmp_path_factory.mktemp("exported") / "artifacts"
    runtime = load(layout.params).runtime
    package.gather_evidence(layout, MODEL, runtime, folder)
    found = write_exports(folder, layout.prepared, ("onnx", "torch_export", "onnx_int8"), runtime)
    return SimpleNamespace(layout=layout, folder=folder, found=found, runtime=runtime)


def test_what_was_measured_is_told_of_each_file(exported):
    assert Exports.read(exported.folder / "exports.json") == exported.found
    onnx, program, rounded = exported.found.exports
    for export in (onnx, program):
        assert (export.images, export.tolerance, export.rounded) == (256, 1e-4, None)
        assert 0 < export.validation_images < 256  # there are fewer
    assert onnx.said.startswith("onnx: logits within ")
    assert rounded.tolerance is None
    assert max(each.difference for each in rounded.parity) > max(each.difference for each in onnx.parity)
    validation = exports.open_for_fitting(exported.layout.prepared, "val")
    measured = rounded.rounded
    assert measured.images == len(validation)
    own = load_classifier(exported.folder, exported.runtime)
    images = validation.images(np.arange(len(validation)))
    assert measured.accuracy_before == (own.logits(images, 16).argmax(axis=1) == validation.labels).mean()
    assert measured.difference.low <= measured.difference.value <= measured.difference.high
    assert measured.difference.value == pytest.approx(measured.accuracy - measured.accuracy_before)
    assert (exported.folder / rounded.file).stat().st_size < 0.5 * (exported.folder / onnx.file).stat().st_size


def test_the_sealed_test_split_stays_closed(exported, tmp_path):
    prepared = tmp_path / "prepared"
    shutil.copytree(exported.layout.prepared, prepared)
    shutil.rmtree(prepared / "test")
    folder = tmp_path / "artifacts"
    shutil.copytree(exported.folder, folder)
    write_exports(folder, prepared, ("torch_export",), exported.runtime)


def test_nothing_in_the_program_is_pickled(exported):
    with zipfile.ZipFile(exported.folder / "model.pt2") as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    assert not [name for name, data in held.items() if data[:2] == b"\x80\x02" or b"data.pkl" in data]
    assert any(data == b"" for name, data in held.items() if "sample_inputs" in name)


def test_onnx_runtime_answers_as_torch_does(exported):
    images = np.random.default_rng(1).integers(0, 256, (5, SIZE, SIZE, 3), dtype=np.uint8)
    runtime = serving_runtime(exported.folder)
    onnx, own = load_onnx(exported.folder, runtime), load_classifier(exported.folder, runtime)
    np.testing.assert_allclose(onnx.probabilities(images, 2), own.probabilities(images, 2), atol=1e-5)


def test_an_export_with_other_logits_is_refused_with_what_to_do(exported, tmp_path, monkeypatch):
    folder = tmp_path / "artifacts"
    shutil.copytree(exported.folder, folder)
    own = exports.open_onnx
    monkeypatch.setattr(exports, "open_onnx", lambda *given: lambda images: own(*given)(images) + np.float32(2e-4))
    with pytest.raises(ModelError, match=r"as onnx differs by 0\.0002 in a logit at batch size 1 \(at most 0\.0001\)"):
        write_exports(folder, exported.layout.prepared, ("onnx",), exported.runtime)


def test_a_network_that_cannot_be_exported_is_told_in_a_sentence():
    class Counts(torch.nn.Module):
        def forward(self, x):
            return x.flatten(1)[:, :3] * (2 if float(x.sum()) > 0 else 1)

    classifier = Classifier(classifier_of({"architecture": "cnn"}).card, Counts(), Compute.of(Runtime(threads=1)))
    with pytest.raises(ModelError, match=r"m cannot be exported as torch.export \(.*: take its formats out of publish"):
        exports.export_program(classifier)


def test_formats_asked_for_later_make_the_package_whole_again(experiment):
    model = SimpleNamespace(evidence=None, name=MODEL)
    folder = experiment.layout.root / "package"
    (folder / "artifacts").mkdir(parents=True)
    for name in package.FILES.values():
        (folder / "artifacts" / name).write_text("x")
    (folder / "MLmodel").write_text("x")
    digest = package.digest_package(folder)
    assert package.is_whole(str(folder), model, digest)
    assert not package.is_whole(str(folder), model, digest, wanted=("onnx",))


@pytest.fixture(scope="module")
def versions(exported, empty_store, tmp_path_factory):
    """Version 1 with an ONNX file, version 2 without."""
    root = exported.layout.root
    shutil.copyfile(empty_store, root / "mlflow.db")
    (root / "dvc.yaml").write_text("stages: {}\n")
    params = load(exported.layout.params)
    evidence = gathered(exported.layout, params, tmp_path_factory.mktemp("evidence") / "1")
    for name in ("model.onnx", "exports.json"):
        shutil.copyfile(exported.folder / name, evidence.folder / name)
    register(exported.layout, evidence)
    register(exported.layout, gathered(exported.layout, params, tmp_path_factory.mktemp("evidence") / "2"))
    return exported.layout


def test_predict_gives_the_same_table_with_either_runtime(versions, tmp_path, monkeypatch):
    from PIL import Image

    monkeypatch.chdir(versions.root)
    for n in range(3):
        pixels = np.random.default_rng(n).integers(0, 256, (40, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{n}.png")
    tables = []
    for runtime in ("torch", "onnx"):
        out = tmp_path / f"{runtime}.csv"
        result = podium("predict", str(tmp_path / "*.png"), "--model", "1", "--runtime", runtime, "--out", str(out))
        assert result.exit_code == 0, result.stderr
        tables.append(pd.read_csv(out))
    pd.testing.assert_frame_equal(*tables, atol=1e-5)
    result = podium("predict", str(tmp_path), "--model", "2", "--runtime", "onnx")
    assert (result.exit_code, one_line(result.stderr)) == (1, True)
    assert f"version 2 of {NAME} was registered without an ONNX file: put onnx into publish.export" in result.stderr
    result = podium("predict", str(tmp_path), "--model", MODEL, "--runtime", "onnx")
    assert (result.exit_code, "versions alone are in ONNX" in result.stderr) == (2, True)


def test_the_golden_batch_holds_the_onnx_file_to_its_answers(versions):
    registered = find_registered(versions, NAME)
    version = registered.versions[0]
    loaded = load_version(versions, registered, version, "1", ask_golden=True, runtime="onnx")
    assert (loaded.runtime, loaded.version) == ("onnx", "1")
    with pytest.raises(DataError, match="was registered without an ONNX file"):
        load_version(versions, registered, registered.versions[1], "2", runtime="onnx")


def test_a_file_that_is_no_onnx_is_refused(exported, tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"nothing")
    with pytest.raises(ModelError, match=r"model\.onnx is no ONNX file that can be used"):
        open_onnx(tmp_path / "model.onnx", 1)
    assert json.loads((exported.folder / "exports.json").read_text())["versions"]["torch"]
