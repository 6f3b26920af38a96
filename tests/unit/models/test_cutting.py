import copy

import pytest
import torch
from torch import nn

from podium.config.contender import Head, Network
from podium.core.errors import ModelError
from podium.models import zoo
from podium.models.cutting import split
from podium.models.units import chain, unit_names


def network(architecture: str, **more: object) -> Network:
    return Network(architecture=architecture, **more)


def drawn(side: int) -> torch.Tensor:
    return torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize(
    "what",
    [
        network("test_resnet"),
        network("test_convnext"),
        network("test_efficientnet"),
        network("torchvision/resnet18"),
        network("torchvision/googlenet"),
        network("cnn"),
        network("test_resnet", attention="self", head=Head(hidden=(8,))),
        network("torchvision/googlenet", attention="se"),
    ],
    ids=lambda what: f"{what.architecture}+{what.attention}",
)
def test_both_halves_give_the_very_logits_of_the_whole_at_every_stage(what):
    module = zoo.create(what, 3, 0)
    found = chain(module, what)
    names = [name for name, _ in module.named_parameters()]
    for stage in found.stages:
        prefix, tail = split(module, found, stage[0], drawn(64))
        own = dict(module.named_parameters())
        assert all(parameter is own[name] for name, parameter in tail.named_parameters())
        assert len([*prefix.parameters(), *tail.parameters()]) <= len(names)
    assert [name for name, _ in module.named_parameters()] == names


def test_training_the_second_half_equals_training_the_whole_with_its_first_half_in_evaluation_mode():
    whole, halved = (zoo.create(network("test_resnet", head=Head(dropout=0.3)), 3, 0) for _ in range(2))
    x, labels = drawn(64), torch.tensor([0, 2])
    prefix, tail = split(halved, chain(halved, network("test_resnet")), "layer3.0", drawn(64))
    tail.train()
    prefix.eval()
    whole.train()
    for name in unit_names(whole)[: unit_names(whole).index("layer3.0")]:
        whole.get_submodule(name).eval()
    logits = []
    for run in (lambda: whole(x), lambda: tail(prefix(x))):
        torch.manual_seed(1)
        logits.append(run())
        nn.functional.cross_entropy(logits[-1], labels).backward()
    assert torch.equal(*logits)
    expected = dict(whole.named_parameters())
    for name, parameter in tail.named_parameters():
        assert torch.equal(parameter.grad, expected[name].grad), name


def test_auxiliary_classifiers_go_with_a_frozen_part():
    what = network("torchvision/googlenet")
    module = zoo.create(what, 3, 0)
    found = chain(module, what)
    assert found.aside == ("aux1", "aux2")
    _, tail = split(module, found, "inception5a", drawn(64))
    out = tail.train()(torch.rand(2, 832, 2, 2))
    assert isinstance(out, torch.Tensor)
    assert not any(name.startswith("aux") for name in tail.state_dict())
    whole = module.train()(drawn(64))  # the network itself still has them
    assert len([out for out in whole if out is not None]) == 3


class Skipping(nn.Module):
    """Adds the input of its second unit to the output of its third: no chain there."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.three = (nn.Conv2d(3, 3, 3, padding=1) for _ in range(3))
        self.fc = nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.one(x)
        return self.fc((self.three(self.two(y)) + y).mean((2, 3)))


def test_a_boundary_at_which_the_halves_are_not_the_whole_is_refused():
    module = Skipping()
    found = chain(module, network("cnn"))
    split(module, found, "two", drawn(16))
    with pytest.raises(ModelError, match="not a chain at 'three'.*trainable: all"):
        split(module, found, "three", drawn(16))
    with pytest.raises(ModelError, match="no unit 'four'.*one, two, three, fc"):
        split(module, found, "four", drawn(16))


# transformers and the like, with a side they take: whether they can be cut between blocks
BLOCKS = [
    ("test_vit", 160, True),
    ("test_vit2", 160, True),
    ("test_vit3", 160, True),  # pools with attention that learns
    ("deit_tiny_distilled_patch16_224", 224, True),
    ("mixer_s32_224", 224, True),
    ("test_vit_relpos", 160, False),
    ("eva02_tiny_patch14_224", 224, False),
]


@pytest.mark.parametrize(("architecture", "side", "between"), BLOCKS, ids=[row[0] for row in BLOCKS])
def test_transformers_are_cut_before_the_head_and_between_blocks_that_take_nothing_else(architecture, side, between):
    module = zoo.create(network(architecture), 3, 0)
    before = copy.deepcopy(module.state_dict())
    found = chain(module, network(architecture))
    own = dict(module.named_parameters())
    for stage in (found.stages[1], *found.stages[-2:]):
        if stage != found.stages[-1] and not between:
            with pytest.raises(ModelError, match=r"not a chain at 'blocks.*`trainable: head` or `trainable: all`"):
                split(module, found, stage[0], drawn(side))
            continue
        prefix, tail = split(module, found, stage[0], drawn(side))
        learning, frozen = dict(tail.named_parameters()), {id(tensor) for tensor in prefix.parameters()}
        assert all(tensor is own[name] for name, tensor in learning.items())
        assert frozen.isdisjoint(map(id, learning.values()))
        assert len(frozen) + len(learning) == len(own)
        assert not any(name.startswith(("pos_embed", "cls_token", "patch_embed")) for name in learning)
        with torch.no_grad():
            assert torch.equal(tail.eval()(prefix.eval()(drawn(side))), module.eval()(drawn(side)))
        copied = copy.deepcopy(tail)
        with torch.no_grad():
            for tensor in tail.parameters():
                tensor.add_(1)
            assert not torch.equal(copied(prefix(drawn(side))), tail(prefix(drawn(side))))
            for name, tensor in tail.named_parameters():
                tensor.copy_(before[name])
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())


def test_training_behind_frozen_blocks_equals_training_the_whole_with_their_weights_fixed():
    whole, halved = (zoo.create(network("test_vit", head=Head(dropout=0.3)), 3, 0) for _ in range(2))
    prefix, tail = split(halved, chain(halved, network("test_vit")), "blocks.3", drawn(160))
    logits = []
    for run in (lambda: whole.train()(drawn(160)), lambda: tail.train()(prefix.eval()(drawn(160)))):
        torch.manual_seed(1)
        logits.append(run())
        nn.functional.cross_entropy(logits[-1], torch.tensor([0, 2])).backward()
    assert torch.equal(*logits)
    expected = dict(whole.named_parameters())
    for name, parameter in tail.named_parameters():
        assert torch.equal(parameter.grad, expected[name].grad), name


def test_a_network_with_maps_that_adds_to_its_units_is_cut_before_its_head():
    """Visformer adds position embeddings between its stages."""
    module = zoo.create(network("visformer_tiny"), 3, 0)
    found = chain(module, network("visformer_tiny"))
    prefix, tail = split(module, found, "head", drawn(224))
    assert {name for name, _ in tail.named_parameters()} == {"head.weight", "head.bias"}
    assert prefix.eval()(drawn(224)).dim() == 4
    with pytest.raises(ModelError, match="not a chain"):
        split(module, found, found.stages[-2][0], drawn(224))


class Doubling(nn.Module):
    """Its units one after the other are not what it computes, but zeros would hide that."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.fc = nn.Conv2d(3, 3, 3, padding=1), nn.Linear(3, 2)
        nn.init.zeros_(self.fc.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc((self.one(x) + x).mean((2, 3)))


def test_a_fresh_classifier_of_zeros_does_not_hide_a_wrong_cut():
    module = Doubling()
    with pytest.raises(ModelError, match="not a chain at 'fc'"):
        split(module, chain(module, network("cnn")), "fc", drawn(16))
    assert not module.fc.weight.any()
