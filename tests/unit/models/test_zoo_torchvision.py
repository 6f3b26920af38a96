"""torchvision's AlexNet, VGG, GoogLeNet and ResNet."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision import models

from podium.config.models import Head, Network
from podium.core.errors import ModelError
from podium.models import zoo

IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def build_on_meta(architecture: str, **head) -> nn.Module:
    with torch.device("meta"):
        return zoo.create(Network(architecture=architecture, head=Head(**head)), 3, 0)


def scaled(images: torch.Tensor, architecture: str) -> torch.Tensor:
    mean, std = (torch.tensor(values)[:, None, None] for values in zoo.normalisation(architecture))
    return (images - mean) / std


@pytest.fixture(scope="module")
def googlenet():
    """Weights as torchvision publishes them: 1000 classes, with auxiliary classifiers."""
    torch.manual_seed(3)
    module = models.googlenet(weights=None, aux_logits=True, init_weights=False, transform_input=True)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.1)
    return module


def test_googlenet_has_auxiliary_classifiers_of_its_classes_while_it_trains():
    module = zoo.create(Network(architecture="torchvision/googlenet", head=Head(dropout=0.25)), 5, 0)
    out = module.train()(IMAGES)
    assert isinstance(out, tuple)
    assert [tuple(one.shape) for one in out] == [(2, 5)] * 3
    sum(one.sum() for one in out).backward()
    assert all(parameter.grad is not None for parameter in module.parameters())
    assert module.eval()(IMAGES).shape == (2, 5)
    assert (module.dropout.p, module.aux1.dropout.p) == (0.25, 0.7)


def test_googlenet_sees_what_the_published_weights_expect(googlenet, tmp_path):
    save_file(googlenet.state_dict(), tmp_path / "w.safetensors")
    module = zoo.create(Network(architecture="torchvision/googlenet"), 1000, 0)
    zoo.load_pretrained(module, tmp_path / "w.safetensors")
    module.fc.load_state_dict(googlenet.fc.state_dict())
    with torch.no_grad():
        expected = googlenet.eval()(scaled(IMAGES, "torchvision/resnet18"))  # it rescales from ImageNet's statistics
        found = module.eval()(scaled(IMAGES, "torchvision/googlenet"))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("attention", ["none", "se"])
@pytest.mark.parametrize("auxiliary", [True, False])
def test_googlenet_takes_a_file_with_or_without_auxiliary_classifiers(googlenet, tmp_path, attention, auxiliary):
    given = {k: v for k, v in googlenet.state_dict().items() if auxiliary or not k.startswith("aux")}
    save_file(given, tmp_path / "w.safetensors")
    module = zoo.create(Network(architecture="torchvision/googlenet", attention=attention), 3, 0)
    zoo.load_pretrained(module, tmp_path / "w.safetensors")
    prefix = "" if attention == "none" else "backbone."
    state = module.state_dict()
    assert torch.equal(state[f"{prefix}inception5b.branch4.1.conv.weight"], given["inception5b.branch4.1.conv.weight"])
    assert isinstance(module.train()(IMAGES), torch.Tensor) == (attention != "none")


def test_files_older_than_batch_norm_s_counter_are_taken(tmp_path):
    network = Network(architecture="torchvision/resnet18")
    given = zoo.create(network, 7, 9).state_dict()
    old = {name: tensor for name, tensor in given.items() if not name.endswith("num_batches_tracked")}
    save_file(old, tmp_path / "w.safetensors")
    module = zoo.create(network, 3, 0)
    zoo.load_pretrained(module, tmp_path / "w.safetensors")
    assert torch.equal(module.layer4[1].bn2.weight, given["layer4.1.bn2.weight"])
    assert not torch.equal(module.fc.weight[:3], given["fc.weight"][:3])


@pytest.mark.parametrize("architecture", ["torchvision/alexnet", "torchvision/vgg16", "torchvision/vgg19"])
def test_dropout_of_their_own_heads_is_the_one_asked_for(architecture):
    for dropout in (0.0, 0.5):
        module = build_on_meta(architecture, dropout=dropout)
        assert [part.p for part in module.modules() if isinstance(part, nn.Dropout)] == [dropout, dropout]
    assert zoo.classifier_names(module) == {"classifier.6.weight", "classifier.6.bias"}


def test_a_residual_network_gets_dropout_without_another_tensor_name():
    plain, dropped = (
        zoo.create(Network(architecture="torchvision/resnet18", head=Head(dropout=p)), 3, 0) for p in (0, 0.9)
    )
    assert [*plain.state_dict()] == [*dropped.state_dict()]
    with torch.no_grad():
        assert torch.equal(plain.eval()(IMAGES), dropped.eval()(IMAGES))
        assert not torch.equal(plain.train()(IMAGES), dropped.train()(IMAGES))


@pytest.mark.parametrize(
    ("architecture", "parameters"),
    [
        ("torchvision/alexnet", 61_100_840),
        ("torchvision/vgg16", 138_357_544),
        ("torchvision/vgg19", 143_667_240),
        ("torchvision/resnet34", 21_797_672),
        ("torchvision/resnet152", 60_192_808),
    ],
)
def test_they_have_as_many_parameters_as_torchvision_says(architecture, parameters):
    assert zoo.figures(architecture).parameters == parameters


def test_alexnet_refuses_images_that_are_too_small_for_it():
    module = build_on_meta("torchvision/alexnet")
    assert zoo.flops(module, 64) > 0
    with pytest.raises(ModelError, match=r"does not take images of 32 px.*preprocess\.image_size"):
        zoo.flops(module, 32)
