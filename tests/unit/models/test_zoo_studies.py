"""Every architecture of the five studies learns in one step, and is the same network when it is read back."""

import math

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from podium.config.models import Head, Network
from podium.data.tensors import save_weights
from podium.models import zoo

CLASSES = 3
SIZES = {"torchvision/vgg16": 32, "torchvision/vgg19": 32, "cnn": 32}  # 64 px for all others: a last map of 2 x 2
FRUITS = [("cnn", "se"), ("cnn", "cbam"), ("cnn", "self"), ("torchvision/vgg16", "cbam"), ("resnet50", "se")]


def one_step(module: nn.Module, images: torch.Tensor) -> float:
    """The loss before one step of SGD; of GoogLeNet's three classifiers the mean counts."""
    out = module(images)
    logits = out if isinstance(out, torch.Tensor) else sum(out) / len(out)
    loss = nn.functional.cross_entropy(logits, torch.tensor([0, 2, 1]))
    loss.backward()
    torch.optim.SGD(module.parameters(), lr=0.01).step()
    return loss.item()


def learns_and_reads_back(network: Network, folder) -> None:
    torch.set_num_threads(1)
    side = SIZES.get(network.architecture, 64)
    images = torch.randn(3, 3, side, side, generator=torch.Generator().manual_seed(0))
    module = zoo.create(network, CLASSES, 0)
    ends = (parameters := list(module.parameters()))[0], parameters[-1]
    before = [end.detach().clone() for end in ends]
    assert one_step(module, images) == pytest.approx(math.log(CLASSES), abs=0.4)
    assert all(parameter.grad is not None for parameter in parameters)
    assert not any(torch.equal(end, was) for end, was in zip(ends, before, strict=True))
    module.zero_grad()  # VGG's gradients are half a gigabyte
    save_weights(folder / "weights.safetensors", module.state_dict(), {})
    again = zoo.create(network, CLASSES, 1)
    again.load_state_dict(load_file(folder / "weights.safetensors"))
    (folder / "weights.safetensors").unlink()
    with torch.no_grad():
        logits = module.eval()(images)
        assert torch.equal(again.eval()(images), logits)
    assert logits.shape == (3, CLASSES)


@pytest.mark.parametrize("architecture", zoo.STUDIES)
def test_it_trains_one_step_and_reloads_to_equal_logits(architecture, tmp_path):
    learns_and_reads_back(Network(architecture=architecture), tmp_path)


@pytest.mark.parametrize(("architecture", "attention"), FRUITS)
def test_so_it_does_with_attention_and_a_head_of_its_own(architecture, attention, tmp_path):
    head = Head(dropout=0.2, hidden=(16,), pooling="avgmax")
    learns_and_reads_back(Network(architecture=architecture, attention=attention, head=head), tmp_path)
