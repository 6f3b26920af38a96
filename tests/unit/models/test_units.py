import pytest
import timm
import torch
from torch import nn

from podium.core.config.contender import Head, Network
from podium.core.errors import ModelError
from podium.models import units, zoo
from podium.models.units import chain, split, unit_names

# what is written: first and last unit of the last stage, and of the head; every family and shape of head once
STAGES = [
    ("resnet18", ("layer4.0", "layer4.1"), ("global_pool", "fc")),
    ("convnext_tiny", ("stages.3", "norm_pre"), ("head.global_pool", "head.fc")),
    ("vgg16", ("features.23", "features.30"), ("pre_logits", "head.flatten")),  # 1 x 1 after pre_logits: no map
    ("efficientnet_b0", ("blocks.5.0", "bn2"), ("global_pool", "classifier")),  # blocks of blocks are opened
    ("torchvision/resnet18", ("layer4.0", "layer4.1"), ("avgpool", "fc")),
    ("torchvision/alexnet", ("features.5", "avgpool"), ("classifier.0", "classifier.6")),  # its pool gives 6 x 6
    ("torchvision/vgg16", ("features.23", "avgpool"), ("classifier.0", "classifier.6")),
    ("torchvision/googlenet", ("maxpool4", "inception5b"), ("avgpool", "fc")),
    ("densenet121", ("features.transition3", "features.norm5"), ("global_pool", "classifier")),
    ("cnn", ("features.block3.pool", "features.block4.pool"), ("pool", "fc")),
]


def network(architecture: str, **more: object) -> Network:
    return Network(architecture=architecture, **more)


def empty(what: Network) -> nn.Module:
    """Without memory for its weights."""
    with torch.device("meta"):
        return zoo.create(what, 5, 0)


def drawn(side: int) -> torch.Tensor:
    return torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize(("architecture", "last", "head"), STAGES)
def test_the_last_stage_begins_where_the_feature_map_is_smallest_and_the_head_follows_it(architecture, last, head):
    found = chain(empty(network(architecture)), network(architecture)).stages
    assert (found[-2][0], found[-2][-1]) == last
    assert (found[-1][0], found[-1][-1]) == head
    assert len(found) >= 4


@pytest.mark.parametrize("architecture", [row[0] for row in STAGES])
def test_every_unit_is_in_one_stage_or_aside(architecture):
    module = empty(network(architecture))
    found = chain(module, network(architecture))
    assert sorted([*found.names, *found.aside]) == sorted(unit_names(module))
    in_units = {
        f"{unit}.{name}" for unit in unit_names(module) for name, _ in module.get_submodule(unit).named_parameters()
    }
    assert in_units == {name for name, _ in module.named_parameters()}


def test_stages_do_not_depend_on_the_size_of_the_images_at_hand_and_finding_them_changes_nothing():
    module = zoo.create(network("test_resnet"), 3, 0)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    assert [stage[0] for stage in chain(module, network("test_resnet")).stages] == [
        "conv1.0", "maxpool", "layer2.0", "layer3.0", "layer4.0", "global_pool",
    ]  # fmt: skip
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())
    assert module.training
    assert all(part.training for part in module.modules())


def test_attention_and_a_head_of_our_own_are_the_head():
    what = network("test_resnet", attention="cbam", head=Head(pooling="max", hidden=(16,)))
    found = chain(zoo.create(what, 3, 0), what).stages
    assert found[-2][0] == "backbone.layer4.0"
    assert {name.partition(".")[0] for name in found[-1]} >= {"attention", "head"}
    assert all(name.startswith("backbone.") for stage in found[:-1] for name in stage)


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


def test_a_transformer_has_no_chain_of_feature_maps():
    what = network("test_vit")
    module = timm.create_model("test_vit", num_classes=3)
    assert chain(module, what).stages == ()


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


def test_pooling_in_front_counts_as_what_is_before_it_and_dropout_does_not():
    module = empty(network("torchvision/alexnet"))
    assert units.after_fixed(module, ["features.5", "features.6"]) == "features.6"
    assert units.after_fixed(module, ["avgpool", "classifier.0", "classifier.1"]) == "classifier.0"
