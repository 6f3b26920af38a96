"""The weights that the kept experiments name: published for their architecture, of a licence they may be used under."""

from pathlib import Path

import pytest

from podium.config.models import ModelSection, is_file
from podium.config.params import load
from podium.core.errors import DataError, ParamsError
from podium.weights.published import choose_weights
from tests.toy_experiments import make_weights

ROOT = Path(__file__).parents[3]
EXPERIMENTS = sorted((ROOT / "experiments").glob("*.yaml"))


@pytest.mark.parametrize("path", [ROOT / "params.yaml", *EXPERIMENTS], ids=lambda path: path.stem)
def test_an_experiment_names_published_weights_that_it_allows(path: Path) -> None:
    params = load(path)
    for name, model in params.models.items():
        weights = choose_weights(name, model, params.fetch.licences_allowed)
        assert (weights is None) == (model.weights == "none" or is_file(model.weights))
        if weights is not None:
            assert (weights.name, weights.architecture) == (model.weights, model.architecture)


def test_what_an_experiment_may_not_name_is_refused() -> None:
    params = load(ROOT / "experiments" / "surveillance.yaml")
    model = ModelSection(architecture="resnet18", weights="resnet18.a1_in1k")
    for changes, error, said in [
        ({"weights": "resnet18.a1_in1kk"}, ParamsError, "'resnet18.a1_in1kk' are no published weights"),
        ({"weights": "resnet50.a1_in1k"}, ParamsError, "are no published weights of architecture 'resnet18'"),
        ({"architecture": "resnet81"}, ParamsError, "'resnet81' is not known"),
        ({"weights": "resnet18.fb_swsl_ig1b_ft_in1k"}, DataError, "have licence cc-by-nc-4.0"),
    ]:
        with pytest.raises(error, match=said):
            choose_weights("resnet18", model.model_copy(update=changes), params.fetch.licences_allowed)


@pytest.mark.parametrize(
    ("architecture", "weights"),
    [
        ("resnet18", "resnet18.a1_in1kk"),
        ("resnet18", "resnet50.a1_in1k"),
        ("torchvision/resnet18", "ResNet18_Weights.IMAGENET1K_V9"),
    ],
)
def test_a_toy_has_no_weights_for_a_name_that_is_not_published(architecture: str, weights: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=f"models.a: {weights} is not published for {architecture} "):
        make_weights(tmp_path, {"a": {"architecture": architecture, "weights": weights}})
    assert list(tmp_path.iterdir()) == []


def test_a_toy_keeps_licence_and_pretraining_of_what_is_published(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    models = {
        "tag": {"architecture": "test_resnet", "weights": "test_resnet.r160_in1k"},
        "file": {"architecture": "test_resnet", "weights": "data:w", "weights_sha256": "0" * 64},
    }
    make_weights(tmp_path / "data", models)
    told = [(model["weights_licence"], model.get("weights_pretraining")) for model in models.values()]
    assert told == [("apache-2.0", "in1k"), ("cc0-1.0", None)]
    assert {model["weights"] for model in models.values()} == {
        f"data:{file.name}" for file in (tmp_path / "data").iterdir()
    }
