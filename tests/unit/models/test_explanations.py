"""Maps of what speaks for a class: against oracles, on networks that are known, and refused where there is no map."""

from pathlib import Path

import numpy as np
import pytest
import torch
from captum.attr import LayerGradCam
from torch import nn

from podium.config.models import Head, Network
from podium.config.preprocess import Preprocessing
from podium.config.runtime import Runtime
from podium.core.errors import ModelError
from podium.data.augment.batch import normalise
from podium.models import zoo
from podium.models.compute import Compute
from podium.models.explanations import METHODS, explain, feature_layer, method
from podium.models.inference import Classifier
from tests.cards import a_card

SIDE = 32
IMAGES = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3), dtype=np.uint8)
TARGETS = np.array([0, 2, 1])
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)


def a_classifier(architecture="test_resnet", side=SIDE, seed=4, module=None, **network):
    made = module or zoo.create(Network(architecture=architecture, **network), 3, seed, side)
    card = a_card(
        architecture=architecture,
        classes=["a", "b", "c"],
        preprocessing=Preprocessing(image_size=side, pad_value=114, max_pixels=10**6),
        mean=MEAN,
        std=STD,
        **network,
    )
    return Classifier(card, made.eval(), Compute.of(Runtime(threads=1)))


@pytest.fixture(scope="module")
def classifier():
    return a_classifier()


class Bright(nn.Module):
    """Class 0 is how bright the top left quarter is, class 1 how bright the bottom right one is; class 2 nothing."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        half = x.shape[-1] // 2
        corners = [x[:, :, :half, :half], x[:, :, half:, half:], 0 * x]
        return torch.stack([corner.mean(dim=(1, 2, 3)) for corner in corners], dim=1)


SEES = [name for name in METHODS if name not in ("cam", "gradcam")]


@pytest.mark.parametrize("name", SEES)
def test_a_map_is_highest_where_the_network_looks(name):
    bright = a_classifier("resnet18", module=Bright())
    white = np.full((2, SIDE, SIDE, 3), 255, np.uint8)
    maps = explain(bright, white, name, np.array([0, 1]))
    half = SIDE // 2
    for found, where in zip(maps, (np.s_[:half, :half], np.s_[half:, half:]), strict=True):
        inside = found[where].sum() / np.abs(found).sum()
        assert inside > (0.7 if name == "occlusion" else 0.95)  # its squares hang over the edge of the quarter


@pytest.mark.parametrize("name", METHODS)
def test_maps_have_the_images_shape_and_do_not_depend_on_neighbours(classifier, name):
    maps = explain(classifier, IMAGES, name, TARGETS, seed=3)
    assert (maps.shape, maps.dtype) == ((3, SIDE, SIDE), np.float32)
    varied = maps.std() if name == "cam" else maps.std(axis=(1, 2)).min()  # its map has one cell at this size
    assert np.isfinite(maps).all() and varied > 0
    alone = explain(classifier, IMAGES[1:2], name, TARGETS[1:2], seed=3, batch_size=8)
    np.testing.assert_allclose(alone[0], maps[1], rtol=1e-3, atol=1e-4 * np.abs(maps).max())
    assert np.array_equal(explain(classifier, IMAGES[1:2], name, TARGETS[1:2], seed=3, batch_size=8), alone)
    other = explain(classifier, IMAGES[1:2], name, TARGETS[1:2], seed=4, batch_size=8)
    assert np.array_equal(other, alone) == (name not in ("lime", "kernel_shap", "gradient_shap"))


def test_without_classes_those_that_the_model_names_are_explained(classifier):
    named = classifier.logits(IMAGES, 4).argmax(axis=1)
    assert np.array_equal(explain(classifier, IMAGES, "gradcam"), explain(classifier, IMAGES, "gradcam", named))
    assert explain(classifier, IMAGES[:0], "gradcam").shape == (0, SIDE, SIDE)


def test_cam_is_gradcam_of_the_last_map_up_to_a_positive_factor(classifier, monkeypatch):
    """For average pooling and one linear layer (Selvaraju et al. 2017, section 3.1)."""
    monkeypatch.setattr("podium.models.explanations.LEAST_SIDE", 2)
    wide = a_classifier("test_resnet", side=64)
    images = np.random.default_rng(1).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    one, other = (explain(wide, images, name, TARGETS) for name in ("cam", "gradcam"))
    ratios = [np.vdot(a, b) / np.vdot(b, b) for a, b in zip(one, other, strict=True)]
    assert min(ratios) > 0 and np.ptp(ratios) < 1e-3 * max(ratios)
    np.testing.assert_allclose(one, ratios[0] * other, rtol=1e-3, atol=1e-4 * np.abs(one).max())


def test_gradcam_is_captum_s(classifier):
    x = normalise(IMAGES, MEAN, STD)
    layer = classifier.module.get_submodule(feature_layer(classifier))
    expected = LayerGradCam(classifier.module, layer).attribute(x, torch.as_tensor(TARGETS))
    expected = nn.functional.interpolate(expected, (SIDE, SIDE), mode="bilinear")[:, 0].detach().numpy()
    np.testing.assert_allclose(explain(classifier, IMAGES, "gradcam", TARGETS), expected, rtol=1e-4, atol=1e-6)


def test_integrated_gradients_sum_to_the_difference_of_the_outputs(classifier):
    grey = torch.zeros(1, 3, SIDE, SIDE)  # the mean colour, normalised
    with torch.no_grad():
        start = classifier.module(grey).numpy()[0]
    wanted = (classifier.logits(IMAGES, 4) - start)[np.arange(3), TARGETS]
    found = explain(classifier, IMAGES, "integrated_gradients", TARGETS).sum(axis=(1, 2))
    np.testing.assert_allclose(found, wanted, atol=0.02 * np.abs(wanted).max())


@pytest.mark.parametrize(
    ("architecture", "side", "network"),
    [
        ("cnn", 32, {}),
        ("cnn", 32, {"attention": "cbam"}),
        ("test_convnext", 32, {}),
        ("test_efficientnet", 32, {}),
        ("test_vit", 160, {}),  # 10 x 10 tokens and one of the class
        ("test_resnet", 32, {"head": Head(hidden=(8,))}),
    ],
)
def test_gradcam_finds_a_map_in_networks_of_every_family(architecture, side, network):
    images = np.random.default_rng(2).integers(0, 256, (2, side, side, 3), dtype=np.uint8)
    maps = explain(a_classifier(architecture, side, **network), images, "gradcam")
    assert maps.shape == (2, side, side) and maps.std(axis=(1, 2)).min() > 0


def test_what_cannot_be_explained_is_said_in_one_line(classifier):
    with pytest.raises(ModelError, match=r"^there is no method 'gradcan' to explain with: use one of cam, gradcam"):
        explain(classifier, IMAGES, "gradcan")
    with pytest.raises(
        ModelError, match=r"^cam needs a head of average pooling and one linear layer, .*: use gradcam$"
    ):
        explain(a_classifier("test_convnext"), IMAGES, "cam")
    with pytest.raises(ModelError, match=r"no feature map and no grid of tokens that gradcam could read"):
        explain(a_classifier("resnet18", module=Bright()), IMAGES, "gradcam")
    with pytest.raises(ModelError, match="takes uint8 images of shape"):
        explain(classifier, IMAGES[:, :16], "gradcam", TARGETS)


def test_votes_of_nearest_neighbours_have_no_gradient_but_are_explained_by_hiding(classifier):
    voting = zoo.create(Network(architecture="test_resnet"), 3, 4)
    votes = zoo.NearestNeighbours(3)
    votes.fit(
        torch.randn(30, voting.fc.in_features, generator=torch.Generator().manual_seed(0)), torch.arange(30) % 3, 9
    )
    voting.fc = votes
    made = a_classifier(module=voting)
    for name in ("gradcam", "integrated_gradients", "gradient_shap"):
        with pytest.raises(
            ModelError, match=r"^the answers of m have no gradient, .*: use occlusion, lime or kernel_shap$"
        ):
            explain(made, IMAGES, name)
    with pytest.raises(ModelError, match="use gradcam"):
        explain(made, IMAGES, "cam")
    assert np.isfinite(explain(made, IMAGES, "occlusion")).all()


def test_a_method_is_one_decorated_function_and_every_one_has_its_row(classifier, monkeypatch):
    document = (Path(__file__).parents[3] / "docs/metrics.md").read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in document for name in METHODS)
    monkeypatch.setattr("podium.models.explanations.METHODS", dict(METHODS))

    @method("how bright a place is")
    def brightness(question):
        return question.x.mean(dim=1)

    assert explain(classifier, IMAGES, "brightness").shape == (3, SIDE, SIDE)
