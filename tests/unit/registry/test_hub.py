"""`podium export hub`: a folder that timm loads by itself, with a card as the hub reads it."""

import html
import json
import shutil

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard as HubCard

from podium.config.models import Network
from podium.config.params import load
from podium.config.preprocess import Preprocessing
from podium.config.runtime import Runtime
from podium.core.errors import ModelError
from podium.core.files import sha256_file
from podium.core.layout import Layout
from podium.core.vision import timm
from podium.data.augment.batch import normalise
from podium.models import zoo
from podium.models.compute import Compute
from podium.models.inference import Classifier, load_classifier
from podium.registry.hub import require_timm
from tests.cards import a_card
from tests.unit.cli.calls import one_line, podium
from tests.unit.conftest import CLASSES, SIZE
from tests.unit.registry.forgeries import flip_byte
from tests.unit.registry.promotions import NAME, gathered, register

MODELS = ("tiny_resnet", "tiny_convnext")


@pytest.fixture(scope="module")
def project(finished_project, empty_store, tmp_path_factory):
    """A project with two versions on record, one of each model."""
    root = tmp_path_factory.mktemp("hub") / "project"
    shutil.copytree(finished_project, root)
    shutil.copyfile(empty_store, root / "mlflow.db")
    (root / "dvc.yaml").write_text("stages: {}\n")
    layout = Layout(root)
    for model in MODELS:
        register(layout, gathered(layout, load(layout.params), tmp_path_factory.mktemp("gathered") / model, model))
    return layout


@pytest.mark.parametrize(("number", "model"), [("1", MODELS[0]), ("2", MODELS[1])])
def test_timm_loads_the_folder_to_the_logits_of_the_version(project, tmp_path, monkeypatch, number, model):
    monkeypatch.chdir(project.root)
    folder = tmp_path / "hub"
    result = podium("export", "hub", str(folder), "--model", number)
    assert result.exit_code == 0, result.stderr
    names = {path.name for path in folder.iterdir()}
    assert names == {"config.json", "model.safetensors", "README.md", "model.json", "licences.json", "licences.txt"}
    own = load_classifier(project.model(model), Runtime(threads=1))
    images = np.random.default_rng(0).integers(0, 256, (4, SIZE, SIZE, 3), dtype=np.uint8)
    loaded = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    with torch.inference_mode():
        logits = loaded(normalise(images, own.card.mean, own.card.std)).numpy()
    np.testing.assert_allclose(logits, own.logits(images, 4), atol=1e-5)
    config = json.loads((folder / "config.json").read_text())
    assert (config["num_classes"], config["label_names"]) == (len(CLASSES), list(CLASSES))
    assert config["pretrained_cfg"]["input_size"] == [3, SIZE, SIZE]
    assert config["pretrained_cfg"]["mean"] == list(own.card.mean)
    assert "license" not in config["pretrained_cfg"]  # of the weights that timm knows
    assert sha256_file(folder / "model.safetensors") == own.card.weights_sha256


def test_the_card_tells_the_hub_and_people_what_was_measured(project, tmp_path, monkeypatch):
    monkeypatch.chdir(project.root)
    podium("export", "hub", str(tmp_path / "hub"), "--model", "candidate")
    card = HubCard.load(tmp_path / "hub" / "README.md")
    metrics = json.loads((project.evaluation(MODELS[1]) / "metrics.json").read_text())
    assert (card.data.license, card.data.library_name) == ("cc0-1.0", "timm")
    assert {one.metric_type: one.metric_value for one in card.data.eval_results} == {
        "accuracy": metrics["accuracy"]["value"],
        "f1": metrics["macro_f1"]["value"],
    }
    for word in (f"# {NAME} version 2", "## Intended use and limits", "## Licences", f"**{metrics['architecture']}**"):
        assert word in card.text
    for name in CLASSES:
        assert f"| {html.escape(name)} | {metrics['per_class'][name]['recall']:.1%} |" in card.text


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"architecture": "cnn"}, "m is cnn, which timm cannot build"),
        ({"architecture": "torchvision/resnet18"}, "m is torchvision/resnet18, which timm cannot build"),
        ({"architecture": "resnet10t", "attention": "se"}, "resnet10t with attention or a head of Podium's"),
        ({"architecture": "resnet10t", "classifier": "nearest_neighbours"}, "a probe that holds training images"),
    ],
)
def test_networks_that_are_not_timms_are_refused_in_a_sentence(settings, said):
    network = Network.model_validate(settings)
    told = {key: getattr(network, key) for key in Network.model_fields}
    card = a_card(preprocessing=Preprocessing(image_size=64, pad_value=0, max_pixels=10**6), **told)
    classifier = Classifier(card, zoo.create(network, 3, 0, 64), Compute.of(Runtime(threads=1)))
    with pytest.raises(ModelError, match=said):
        require_timm(classifier)


def test_what_is_there_stays_and_what_is_not_as_recorded_is_not_written(project, tmp_path, monkeypatch):
    monkeypatch.chdir(project.root)
    (tmp_path / "there").mkdir()
    result = podium("export", "hub", str(tmp_path / "there"), "--model", "1")
    assert (result.exit_code, one_line(result.stderr), "is there already" in result.stderr) == (2, True, True)
    flip_byte(project.root / "packages" / "1" / "artifacts" / "weights.safetensors")
    result = podium("export", "hub", str(tmp_path / "hub"), "--model", "1")
    assert (result.exit_code, one_line(result.stderr)) == (1, True)
    assert "the package of version 1 changed" in result.stderr
    assert not (tmp_path / "hub").exists()
