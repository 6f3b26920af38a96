import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from podium.config.models import From, Head, ModelConfig, Network
from podium.config.train import Train
from podium.core.errors import ModelError
from podium.models import zoo
from podium.models.blocks import block_names, find_blocks, split_network
from podium.models.freezing import Plan
from podium.models.optimisers import create_optimizer
from tests.small_networks import Tokens
from tests.small_splits import RECIPE

SIZE = 32
SIDES = {"test_vit": 160, "mixer_s32_224": 224, "test_vit_relpos": 160}  # these take no other


def a_config(architecture: str = "test_resnet", trainable: object = "all", attention: str = "none", **recipe: object):
    train = Train.model_validate({**RECIPE.model_dump(), **recipe})
    head = Head(dropout=0.2, hidden=(8,)) if attention != "none" else Head()
    return ModelConfig(architecture=architecture, attention=attention, head=head, trainable=trainable, train=train)


def planned(what: ModelConfig) -> tuple[nn.Module, Plan]:
    module = zoo.create(what, 3, 0)
    return module, Plan.of(module, what, SIDES.get(what.architecture, SIZE))


def steps(module: nn.Module, plan: Plan, what: ModelConfig, epochs: int = 1) -> None:
    """Trains two batches an epoch, as the engine does."""
    optimizer = create_optimizer(plan.trainable, what.train, plan.depth)
    for epoch in range(epochs):
        plan.learn(epoch)
        for step in range(2):
            generator = torch.Generator().manual_seed(10 * epoch + step)
            side = SIDES.get(what.architecture, SIZE)
            x = torch.rand(4, 3, side, side, generator=generator)
            with torch.no_grad():
                x = x if plan.frozen is None else plan.frozen(x)
            out = plan.trainable(x)
            out = out[0] if isinstance(out, tuple) else out
            optimizer.zero_grad()
            nn.functional.cross_entropy(out, torch.tensor([0, 1, 2, 0])).backward()
            optimizer.step()


def changed(module: nn.Module, before: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, tensor in module.state_dict().items() if not torch.equal(tensor, before[name])}


def state(module: nn.Module) -> dict[str, torch.Tensor]:
    return copy.deepcopy(module.state_dict())


# what learns: starts of the names of all tensors that may move
LEARNS = [
    ("test_resnet", "head", ("fc.",)),
    ("test_resnet", "last_stage", ("layer4.", "fc.")),
    ("test_resnet", From(**{"from": "layer3"}), ("layer3.", "layer4.", "fc.")),
    ("test_convnext", "head", ("head.",)),
    ("test_convnext", "last_stage", ("stages.3.", "head.")),
    ("torchvision/googlenet", "last_stage", ("inception5", "fc.")),
    ("torchvision/resnet18", From(**{"from": "layer4.1"}), ("layer4.1.", "fc.")),
    ("cnn", "last_stage", ("features.block4.", "fc.")),
    ("test_vit", "head", ("head.",)),
    ("test_vit", "last_stage", ("blocks.5.", "norm.", "head.")),
    ("test_vit", From(**{"from": "blocks.4"}), ("blocks.4.", "blocks.5.", "norm.", "head.")),
    ("test_vit_relpos", "head", ("fc_norm.", "head.")),
]


@pytest.mark.parametrize(("architecture", "trainable", "learns"), LEARNS, ids=str)
def test_only_what_may_learn_moves_and_nothing_of_the_rest_not_even_running_statistics(architecture, trainable, learns):
    what = a_config(architecture, trainable)
    module, plan = planned(what)
    before = state(module)
    steps(module, plan, what)
    moved = changed(module, before)
    assert moved
    assert all(name.startswith(learns) for name in moved)
    assert all(name in moved for name, _ in module.named_parameters() if name.startswith(learns) and "bias" not in name)
    assert {name for name, p in module.named_parameters() if p.requires_grad} == set(plan.depth)
    again = zoo.create(what, 3, 1)
    again.load_state_dict(module.state_dict())
    side = SIDES.get(architecture, SIZE)
    x = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(again.eval()(x), plan.trainable.eval()(plan.frozen.eval()(x)))


def test_attention_and_head_learn_with_the_head_and_the_backbone_need_not_be_named():
    what = a_config(attention="cbam", trainable="head")
    module, plan = planned(what)
    before = state(module)
    steps(module, plan, what)
    assert {name.partition(".")[0] for name in changed(module, before)} == {"attention", "head"}
    _, plan = planned(a_config(attention="cbam", trainable=From(**{"from": "layer4"})))
    assert next(iter(plan.stage_of)) == "backbone.layer4.0"


def test_all_of_a_network_learns_and_is_left_whole():
    module, plan = planned(a_config())
    assert plan.trainable is module
    assert plan.frozen is None
    assert set(plan.depth.values()) == {0}
    module, plan = planned(a_config(trainable=From(**{"from": "conv1"})))
    assert plan.trainable is module


def test_a_frozen_prefix_stays_in_evaluation_mode_and_the_tail_shares_the_network_s_tensors():
    module, plan = planned(a_config(trainable="last_stage"))
    plan.learn(0)
    assert plan.frozen is not None
    assert not any(part.training for part in plan.frozen.modules())
    assert plan.trainable.get_submodule("layer4").training
    names = set(plan.trainable.state_dict())
    assert names < set(module.state_dict())
    assert all(plan.trainable.state_dict()[name].data_ptr() == module.state_dict()[name].data_ptr() for name in names)
    assert list(plan.frozen)[-1] is module.get_submodule("layer3.0")


def test_stages_are_unfrozen_from_the_head_backwards_and_never_beyond_what_may_learn():
    what = a_config(trainable=From(**{"from": "layer3"}), unfreeze_every=2, weight_decay=0.5, learning_rate=0.1)
    module, plan = planned(what)
    optimizer = create_optimizer(plan.trainable, what.train, plan.depth)
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(plan.depth)
    expected = [{"fc"}, {"fc"}, {"fc", "layer4"}, {"fc", "layer4"}, *[{"fc", "layer4", "layer3"}] * 3]
    grew = []
    for epoch, learning in enumerate(expected):
        before = state(module)
        grew.append(plan.learn(epoch))
        x = torch.rand(4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(epoch))
        optimizer.zero_grad()
        nn.functional.cross_entropy(plan.trainable(plan.frozen(x)), torch.tensor([0, 1, 2, 0])).backward()
        optimizer.step()
        assert {name.partition(".")[0] for name in changed(module, before)} == learning
    assert grew == [True, False, True, False, True, False, False]


def test_a_whole_network_can_be_unfrozen_by_stage():
    what = a_config("torchvision/googlenet", unfreeze_every=1)
    module, plan = planned(what)
    before = state(module)
    steps(module, plan, what, epochs=2)
    moved = {name.partition(".")[0] for name in changed(module, before)}
    assert moved == {"inception5a", "inception5b", "fc", "aux1", "aux2"}  # auxiliary heads are heads


def test_depth_counts_stages_from_the_head():
    _, plan = planned(a_config(layer_decay=0.5))
    depth = {name.partition(".")[0]: number for name, number in plan.depth.items()}
    assert depth == {"fc": 0, "layer4": 1, "layer3": 2, "layer2": 3, "layer1": 4, "conv1": 5, "bn1": 5}
    _, plan = planned(a_config("torchvision/googlenet", layer_decay=0.5))
    assert plan.depth["aux1.fc2.weight"] == 0


@settings(max_examples=8)
@given(st.sampled_from(["conv1.0", "layer1", "layer2.0", "layer3", "layer4.0", "fc"]), st.integers(1, 3))
def test_wherever_it_is_cut_every_tensor_is_in_one_half_and_depth_never_falls_towards_the_input(start, every):
    module, plan = planned(a_config(trainable=From(**{"from": start}), unfreeze_every=every))
    frozen = {name for name, p in module.named_parameters() if not p.requires_grad}
    assert frozen.isdisjoint(plan.depth)
    assert frozen | set(plan.depth) == {name for name, _ in module.named_parameters()}
    order = [plan.depth[name] for name, _ in module.named_parameters() if name in plan.depth]
    assert order == sorted(order, reverse=True)
    for epoch in range(8):
        plan.learn(epoch)
        learning = {name for name, p in plan.trainable.named_parameters() if p.requires_grad}
        assert learning == {name for name, depth in plan.depth.items() if depth <= epoch // every}


def test_a_name_that_is_no_unit_is_refused_with_the_nearest():
    with pytest.raises(ModelError, match=r"no block 'layer5'; did you mean 'layer\d"):
        planned(a_config(trainable=From(**{"from": "layer5"})))
    with pytest.raises(ModelError, match=r"no block 'lay'.*from conv1\.0 to fc"):
        planned(a_config(trainable=From(**{"from": "lay"})))


def test_blocks_are_unfrozen_one_by_one_and_position_embeddings_are_as_deep_as_the_patches():
    what = a_config("test_vit", layer_decay=0.5, unfreeze_every=1)
    module, plan = planned(what)
    assert plan.trainable is module
    assert {plan.depth[name] for name in ("pos_embed", "cls_token", "patch_embed.proj.weight")} == {7}
    assert [plan.depth[f"blocks.{number}.mlp.fc1.weight"] for number in range(6)] == [6, 5, 4, 3, 2, 1]
    assert (plan.depth["norm.weight"], plan.depth["head.weight"]) == (1, 0)
    before = state(module)
    steps(module, plan, what, epochs=2)
    assert {".".join(name.split(".")[:2]) for name in changed(module, before) if "bias" not in name} == {
        "head.weight", "norm.weight", "blocks.5",
    }  # fmt: skip


@pytest.mark.parametrize("recipe", [{"trainable": "head"}, {"layer_decay": 0.5}, {"unfreeze_every": 1}], ids=str)
def test_a_network_without_a_chain_learns_whole_or_is_refused(recipe):
    module = Tokens()
    assert Plan.of(module, a_config("test_vit"), 160).trainable is module
    with pytest.raises(ModelError, match="test_vit has no sequence.*trainable: all"):
        Plan.of(module, a_config("test_vit", **recipe), 160)


def test_a_cut_inside_a_head_that_flattens_on_the_way_is_refused():
    with pytest.raises(ModelError, match=r"not a sequence of blocks at 'classifier\.4'"):
        Plan.of(
            zoo.create(a_config("torchvision/alexnet"), 3, 0),
            a_config("torchvision/alexnet", trainable=From(**{"from": "classifier.4"})),
            64,
        )


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
    found = find_blocks(module, what)
    names = [name for name, _ in module.named_parameters()]
    for stage in found.stages:
        frozen, trainable = split_network(module, found, stage[0], drawn(64))
        own = dict(module.named_parameters())
        assert all(parameter is own[name] for name, parameter in trainable.named_parameters())
        assert len([*frozen.parameters(), *trainable.parameters()]) <= len(names)
    assert [name for name, _ in module.named_parameters()] == names


def test_training_the_second_half_equals_training_the_whole_with_its_first_half_in_evaluation_mode():
    whole, halved = (zoo.create(network("test_resnet", head=Head(dropout=0.3)), 3, 0) for _ in range(2))
    x, labels = drawn(64), torch.tensor([0, 2])
    frozen, trainable = split_network(halved, find_blocks(halved, network("test_resnet")), "layer3.0", drawn(64))
    trainable.train()
    frozen.eval()
    whole.train()
    for name in block_names(whole)[: block_names(whole).index("layer3.0")]:
        whole.get_submodule(name).eval()
    logits = []
    for run in (lambda: whole(x), lambda: trainable(frozen(x))):
        torch.manual_seed(1)
        logits.append(run())
        nn.functional.cross_entropy(logits[-1], labels).backward()
    assert torch.equal(*logits)
    expected = dict(whole.named_parameters())
    for name, parameter in trainable.named_parameters():
        assert torch.equal(parameter.grad, expected[name].grad), name


def test_auxiliary_classifiers_go_with_a_frozen_part():
    what = network("torchvision/googlenet")
    module = zoo.create(what, 3, 0)
    found = find_blocks(module, what)
    assert found.unused == ("aux1", "aux2")
    _, trainable = split_network(module, found, "inception5a", drawn(64))
    out = trainable.train()(torch.rand(2, 832, 2, 2))
    assert isinstance(out, torch.Tensor)
    assert not any(name.startswith("aux") for name in trainable.state_dict())
    whole = module.train()(drawn(64))  # the network itself still has them
    assert len([out for out in whole if out is not None]) == 3


class Skipping(nn.Module):
    """Adds the input of its second block to the output of its third: no sequence there."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.three = (nn.Conv2d(3, 3, 3, padding=1) for _ in range(3))
        self.fc = nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.one(x)
        return self.fc((self.three(self.two(y)) + y).mean((2, 3)))


def test_a_boundary_at_which_the_halves_are_not_the_whole_is_refused():
    module = Skipping()
    found = find_blocks(module, network("cnn"))
    split_network(module, found, "two", drawn(16))
    with pytest.raises(ModelError, match="not a sequence of blocks at 'three'.*trainable: all"):
        split_network(module, found, "three", drawn(16))


# transformers and the like, with a side they take: whether they can be split between blocks
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
    found = find_blocks(module, network(architecture))
    own = dict(module.named_parameters())
    for stage in (found.stages[1], *found.stages[-2:]):
        if stage != found.stages[-1] and not between:
            with pytest.raises(
                ModelError, match=r"not a sequence of blocks at 'blocks.*`trainable: head` or `trainable: all`"
            ):
                split_network(module, found, stage[0], drawn(side))
            continue
        frozen, trainable = split_network(module, found, stage[0], drawn(side))
        learning = dict(trainable.named_parameters())
        kept = {id(tensor) for tensor in frozen.parameters()}
        assert all(tensor is own[name] for name, tensor in learning.items())
        assert kept.isdisjoint(map(id, learning.values()))
        assert len(kept) + len(learning) == len(own)
        assert not any(name.startswith(("pos_embed", "cls_token", "patch_embed")) for name in learning)
        with torch.no_grad():
            assert torch.equal(trainable.eval()(frozen.eval()(drawn(side))), module.eval()(drawn(side)))
        shallow_copy = copy.deepcopy(trainable)
        with torch.no_grad():
            for tensor in trainable.parameters():
                tensor.add_(1)
            assert not torch.equal(shallow_copy(frozen(drawn(side))), trainable(frozen(drawn(side))))
            for name, tensor in trainable.named_parameters():
                tensor.copy_(before[name])
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())


def test_training_behind_frozen_blocks_equals_training_the_whole_with_their_weights_fixed():
    whole, halved = (zoo.create(network("test_vit", head=Head(dropout=0.3)), 3, 0) for _ in range(2))
    frozen, trainable = split_network(halved, find_blocks(halved, network("test_vit")), "blocks.3", drawn(160))
    logits = []
    for run in (lambda: whole.train()(drawn(160)), lambda: trainable.train()(frozen.eval()(drawn(160)))):
        torch.manual_seed(1)
        logits.append(run())
        nn.functional.cross_entropy(logits[-1], torch.tensor([0, 2])).backward()
    assert torch.equal(*logits)
    expected = dict(whole.named_parameters())
    for name, parameter in trainable.named_parameters():
        assert torch.equal(parameter.grad, expected[name].grad), name


def test_a_network_with_maps_that_adds_to_its_units_is_cut_before_its_head():
    """Visformer adds position embeddings between its stages."""
    module = zoo.create(network("visformer_tiny"), 3, 0)
    found = find_blocks(module, network("visformer_tiny"))
    frozen, trainable = split_network(module, found, "head", drawn(224))
    assert {name for name, _ in trainable.named_parameters()} == {"head.weight", "head.bias"}
    assert frozen.eval()(drawn(224)).dim() == 4
    with pytest.raises(ModelError, match="not a sequence"):
        split_network(module, found, found.stages[-2][0], drawn(224))


class Doubling(nn.Module):
    """Its blocks one after the other are not what it computes, but zeros would hide that."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.fc = nn.Conv2d(3, 3, 3, padding=1), nn.Linear(3, 2)
        nn.init.zeros_(self.fc.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc((self.one(x) + x).mean((2, 3)))


def test_a_fresh_classifier_of_zeros_does_not_hide_a_wrong_cut():
    module = Doubling()
    with pytest.raises(ModelError, match="not a sequence of blocks at 'fc'"):
        split_network(module, find_blocks(module, network("cnn")), "fc", drawn(16))
    assert not module.fc.weight.any()
