import pytest
import torch
from timm.optim import Lamb
from torch import nn

from podium.config.recipe import Train
from podium.models import optimisers
from podium.models.optimisers import optimiser

NAMES = ("adamw", "adam", "sgd", "rmsprop", "lamb")


def recipe(**changes) -> Train:
    return Train(**{"epochs": 6, "batch_size": 8, "learning_rate": 0.1, "warmup_epochs": 0.0, **changes})


def network() -> nn.Sequential:
    torch.manual_seed(0)
    made = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 2))
    return made.to(memory_format=torch.channels_last)


def everywhere(module: nn.Module, depth: int = 0) -> dict[str, int]:
    return {name: depth for name, _ in module.named_parameters()}


def learn(module: nn.Module, optimizer: torch.optim.Optimizer, steps: int, first: int = 0) -> None:
    for step in range(first, first + steps):
        x = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        module(x).square().mean().backward()
        optimizer.step()


def peer(name: str, groups: list) -> torch.optim.Optimizer:
    match name:
        case "adamw":
            return torch.optim.AdamW(groups, lr=0.1)
        case "adam":
            return torch.optim.Adam(groups, lr=0.1)
        case "sgd":
            return torch.optim.SGD(groups, lr=0.1, momentum=0.8)
        case "rmsprop":
            return torch.optim.RMSprop(groups, lr=0.1, momentum=0.8)
        case _:
            return Lamb(groups, lr=0.1, max_grad_norm=None)


@pytest.mark.parametrize("name", NAMES)
def test_it_steps_like_the_library_s_own_without_decay_on_biases_and_norms(name):
    ours, theirs = network(), network()
    groups = [
        {"params": [p for p in theirs.parameters() if p.ndim > 1], "weight_decay": 0.3},
        {"params": [p for p in theirs.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    learn(ours, optimiser(ours, recipe(optimizer=name, weight_decay=0.3, momentum=0.8), everywhere(ours)), 3)
    learn(theirs, peer(name, groups), 3)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_lamb_does_not_clip_behind_the_recipe_s_back():
    ours, clipped = network(), network()
    learn(ours, optimiser(ours, recipe(optimizer="lamb", weight_decay=0.0), everywhere(ours)), 3)
    learn(clipped, Lamb(clipped.parameters(), lr=0.1, weight_decay=0.0, max_grad_norm=1e-3), 3)
    assert not torch.allclose(ours[3].bias, clipped[3].bias)


def test_what_the_network_exempts_is_not_decayed():
    module = network()
    module.no_weight_decay = lambda: {"3.weight"}
    groups = optimiser(module, recipe(), everywhere(module)).param_groups
    assert [group["weight_decay"] for group in groups] == [0.05, 0.0]
    assert [len(group["params"]) for group in groups] == [1, 4]


def test_stages_further_from_the_head_learn_at_a_smaller_rate():
    module = network()
    depth = {"0.weight": 2, "1.weight": 1, "1.bias": 1, "3.weight": 0, "3.bias": 0}
    optimizer = optimiser(module, recipe(layer_decay=0.5), depth)
    scale = {id(p): group["scale"] for group in optimizer.param_groups for p in group["params"]}
    assert {name: scale[id(p)] for name, p in module.named_parameters()} == {n: 0.5**d for n, d in depth.items()}
    assert {group["lr"] for group in optimizer.param_groups} == {0.1, 0.05, 0.025}
    decayed = {id(p) for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]}
    assert decayed == {id(module[0].weight), id(module[3].weight)}


def test_without_layer_decay_depth_makes_no_further_groups():
    module = network()
    depth = {name: number for number, name in enumerate(everywhere(module))}
    assert [group["scale"] for group in optimiser(module, recipe(), depth).param_groups] == [1.0, 1.0]


@pytest.mark.parametrize("name", NAMES)
def test_only_what_has_a_depth_learns(name):
    module = network()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    learn(module, optimiser(module, recipe(optimizer=name), {"3.weight": 0, "3.bias": 0}), 2)
    changed = {key for key, _ in module.named_parameters() if not torch.equal(before[key], module.state_dict()[key])}
    assert changed == {"3.weight", "3.bias"}


def test_a_parameter_that_starts_to_learn_later_is_in_it_from_the_start():
    module = network()
    module[0].requires_grad_(False)
    optimizer = optimiser(module, recipe(), everywhere(module))
    learn(module, optimizer, 2)
    before = module[0].weight.clone()
    module[0].requires_grad_(True)
    learn(module, optimizer, 1, first=2)
    assert not torch.equal(before, module[0].weight)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("unfrozen_at", [0, 2, 4])
@pytest.mark.parametrize("by_stage", [{"layer_decay": 0.7}, {"unfreeze_every": 1}])
def test_a_restored_optimiser_goes_on_with_the_same_bytes(name, unfrozen_at, by_stage):
    """Also where a part starts to learn only before (2) or after (4) the interruption, which comes after 3 steps."""

    def run(module: nn.Sequential, optimizer: torch.optim.Optimizer, first: int, last: int) -> None:
        for step in range(first, last):
            module[0].requires_grad_(step >= unfrozen_at)
            learn(module, optimizer, 1, first=step)

    settings = recipe(optimizer=name, **by_stage)
    whole = network()
    depth = {key: int(key[0] == "0") for key in everywhere(whole)}
    run(whole, optimiser(whole, settings, depth), 0, 6)

    halted = network()
    optimizer = optimiser(halted, settings, depth)
    run(halted, optimizer, 0, 3)
    saved = {
        key: tensor.clone(memory_format=torch.contiguous_format) for key, tensor in optimisers.state(optimizer).items()
    }
    weights = {key: tensor.clone() for key, tensor in halted.state_dict().items()}

    resumed = network()
    resumed.load_state_dict(weights)
    again = optimiser(resumed, settings, depth)
    optimisers.restore(again, saved)
    run(resumed, again, 3, 6)
    for key, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[key]), key
