import math
from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from timm.optim import Lamb
from torch import nn
from torch.optim import lr_scheduler

from podium.config.train import EarlyStopping, Train
from podium.core.errors import ParamsError
from podium.models import optimisers
from podium.models.optimisers import PLATEAU_PATIENCE, Average, Schedule, count_cuts, create_optimizer, should_stop

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
    learn(ours, create_optimizer(ours, recipe(optimizer=name, weight_decay=0.3, momentum=0.8), everywhere(ours)), 3)
    learn(theirs, peer(name, groups), 3)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_lamb_does_not_clip_behind_the_recipe_s_back():
    ours, clipped = network(), network()
    learn(ours, create_optimizer(ours, recipe(optimizer="lamb", weight_decay=0.0), everywhere(ours)), 3)
    learn(clipped, Lamb(clipped.parameters(), lr=0.1, weight_decay=0.0, max_grad_norm=1e-3), 3)
    assert not torch.allclose(ours[3].bias, clipped[3].bias)


def test_what_the_network_exempts_is_not_decayed():
    module = network()
    module.no_weight_decay = lambda: {"3.weight"}
    groups = create_optimizer(module, recipe(), everywhere(module)).param_groups
    assert [group["weight_decay"] for group in groups] == [0.05, 0.0]
    assert [len(group["params"]) for group in groups] == [1, 4]


@pytest.mark.parametrize("name", NAMES)
def test_decay_on_everything_is_the_library_s_own_without_groups(name):
    ours, theirs = network(), network()
    settings = recipe(optimizer=name, weight_decay=0.3, momentum=0.8, decay_norms_and_biases=True)
    learn(ours, create_optimizer(ours, settings, everywhere(ours)), 3)
    learn(theirs, peer(name, [{"params": list(theirs.parameters()), "weight_decay": 0.3}]), 3)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_stages_further_from_the_head_learn_at_a_smaller_rate():
    module = network()
    depth = {"0.weight": 2, "1.weight": 1, "1.bias": 1, "3.weight": 0, "3.bias": 0}
    optimizer = create_optimizer(module, recipe(layer_decay=0.5), depth)
    scale = {id(p): group["scale"] for group in optimizer.param_groups for p in group["params"]}
    assert {name: scale[id(p)] for name, p in module.named_parameters()} == {n: 0.5**d for n, d in depth.items()}
    assert {group["lr"] for group in optimizer.param_groups} == {0.1, 0.05, 0.025}
    decayed = {id(p) for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]}
    assert decayed == {id(module[0].weight), id(module[3].weight)}


def test_without_layer_decay_depth_makes_no_further_groups():
    module = network()
    depth = {name: number for number, name in enumerate(everywhere(module))}
    assert [group["scale"] for group in create_optimizer(module, recipe(), depth).param_groups] == [1.0, 1.0]


@pytest.mark.parametrize("name", NAMES)
def test_only_what_has_a_depth_learns(name):
    module = network()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    learn(module, create_optimizer(module, recipe(optimizer=name), {"3.weight": 0, "3.bias": 0}), 2)
    changed = {key for key, _ in module.named_parameters() if not torch.equal(before[key], module.state_dict()[key])}
    assert changed == {"3.weight", "3.bias"}


def test_a_parameter_that_starts_to_learn_later_is_in_it_from_the_start():
    module = network()
    module[0].requires_grad_(False)
    optimizer = create_optimizer(module, recipe(), everywhere(module))
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
    run(whole, create_optimizer(whole, settings, depth), 0, 6)

    halted = network()
    optimizer = create_optimizer(halted, settings, depth)
    run(halted, optimizer, 0, 3)
    saved = {
        key: tensor.clone(memory_format=torch.contiguous_format) for key, tensor in optimisers.state(optimizer).items()
    }
    weights = {key: tensor.clone() for key, tensor in halted.state_dict().items()}

    resumed = network()
    resumed.load_state_dict(weights)
    again = create_optimizer(resumed, settings, depth)
    optimisers.restore(again, saved)
    run(resumed, again, 3, 6)
    for key, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[key]), key


STEPS = 7  # per epoch


def sgd() -> torch.optim.SGD:
    return torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)


def rates_of(scheduler, optimizer, count: int) -> list[float]:
    rates = []
    for _ in range(count):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def rates(schedule: Schedule, val_losses=()) -> list[float]:
    return [schedule.rate(step, val_losses) for step in range(schedule.recipe.epochs * schedule.steps_per_epoch)]


def test_cosine_is_torch_s():
    o = sgd()
    expected = rates_of(lr_scheduler.CosineAnnealingLR(o, T_max=6 * STEPS), o, 6 * STEPS)
    assert rates(Schedule(recipe(schedule="cosine"), STEPS)) == pytest.approx(expected, abs=1e-12)


def test_warm_up_then_cosine_is_torch_s():
    o = sgd()
    warmup = 10  # 1.5 epochs of 7 steps, rounded to even
    parts = [
        lr_scheduler.LinearLR(o, start_factor=1 / (warmup + 1), total_iters=warmup),
        lr_scheduler.CosineAnnealingLR(o, T_max=6 * STEPS - warmup),
    ]
    expected = rates_of(lr_scheduler.SequentialLR(o, parts, milestones=[warmup]), o, 6 * STEPS)
    schedule = Schedule(recipe(schedule="cosine", warmup_epochs=1.5), STEPS)
    assert schedule.warmup_steps == warmup
    assert rates(schedule) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("cycle_epochs", [2, 3, 4.5])
def test_a_cosine_with_a_cycle_falls_and_rises_as_torch_s_does_past_its_t_max(cycle_epochs):
    o = sgd()
    expected = rates_of(lr_scheduler.CosineAnnealingLR(o, T_max=round(cycle_epochs * STEPS)), o, 6 * STEPS)
    found = rates(Schedule(recipe(schedule="cosine", cycle_epochs=cycle_epochs), STEPS))
    assert found == pytest.approx(expected, abs=1e-12)
    if cycle_epochs == 3:  # half of the run, as in the study of surveillance: up again to the rate it began with
        assert found[3 * STEPS] == 0
        assert found[-1] == pytest.approx(found[1])


@pytest.mark.parametrize("warmup_epochs", [0.0, 1.5])
@pytest.mark.parametrize("cycle_epochs", [1, 2.5])
def test_a_cosine_with_restarts_is_torch_s(warmup_epochs, cycle_epochs):
    o = sgd()
    warmup = round(warmup_epochs * STEPS)
    whole = lr_scheduler.CosineAnnealingWarmRestarts(o, T_0=round(cycle_epochs * STEPS))
    expected = [0.1 * (n + 1) / (warmup + 1) for n in range(warmup)] + rates_of(whole, o, 6 * STEPS - warmup)
    settings = recipe(schedule="cosine_restarts", cycle_epochs=cycle_epochs, warmup_epochs=warmup_epochs)
    assert rates(Schedule(settings, STEPS)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("warmup_epochs", [0.0, 1.5])
def test_linear_is_torch_s(warmup_epochs):
    o = sgd()
    warmup = round(warmup_epochs * STEPS)
    down = lr_scheduler.LinearLR(o, start_factor=1.0, end_factor=0.0, total_iters=6 * STEPS - warmup)
    whole = down
    if warmup:
        up = lr_scheduler.LinearLR(o, start_factor=1 / (warmup + 1), total_iters=warmup)
        whole = lr_scheduler.SequentialLR(o, [up, down], milestones=[warmup])
    expected = rates_of(whole, o, 6 * STEPS)
    assert rates(Schedule(recipe(schedule="linear", warmup_epochs=warmup_epochs), STEPS)) == pytest.approx(
        expected, abs=1e-12
    )


@pytest.mark.parametrize("schedule", ["cosine", "linear", "step", "plateau", "constant"])
def test_no_step_of_a_run_has_a_rate_of_0_or_above_the_base(schedule):
    found = rates(Schedule(recipe(schedule=schedule, warmup_epochs=1.5, step_epochs=2), STEPS))
    assert min(found) > 0 and max(found) <= 0.1


def test_step_is_torch_s():
    o = sgd()
    expected = rates_of(lr_scheduler.StepLR(o, step_size=2 * STEPS, gamma=0.3), o, 6 * STEPS)
    schedule = Schedule(recipe(schedule="step", step_epochs=2, step_factor=0.3), STEPS)
    assert rates(schedule) == pytest.approx(expected, abs=1e-12)


def test_constant_stays():
    assert set(rates(Schedule(recipe(schedule="constant"), STEPS))) == {0.1}


@given(st.lists(st.sampled_from([0.5, 0.6, 0.7, 0.8, 0.9]), max_size=20))
def test_plateau_is_torch_s(val_losses):
    o = sgd()
    scheduler = lr_scheduler.ReduceLROnPlateau(o, factor=0.5, patience=PLATEAU_PATIENCE, threshold=0.0, eps=0.0)
    for loss in val_losses:
        scheduler.step(loss)
    schedule = Schedule(recipe(schedule="plateau", step_factor=0.5, epochs=30), STEPS)
    assert schedule.rate(len(val_losses) * STEPS, val_losses) == pytest.approx(o.param_groups[0]["lr"])
    assert 0.1 * 0.5 ** count_cuts(val_losses) == pytest.approx(o.param_groups[0]["lr"])


def test_plateau_forgives_one_epoch():
    plateau = Schedule(recipe(schedule="plateau", step_factor=0.5), STEPS)
    rates_by_epoch = [plateau.rate(epoch * STEPS, [1.0] * epoch) for epoch in range(6)]
    assert rates_by_epoch == pytest.approx([0.1, 0.1, 0.1, 0.05, 0.05, 0.025])


def test_the_first_step_after_the_warm_up_already_has_its_cuts():
    step = Schedule(recipe(schedule="step", warmup_epochs=2.0, step_epochs=1, step_factor=0.5), STEPS)
    plateau = Schedule(recipe(schedule="plateau", warmup_epochs=3.0, step_factor=0.5), STEPS)
    assert step.rate(2 * STEPS, [1.0, 1.0]) == pytest.approx(0.1 * 0.5**2)  # the epochs of the warm-up are counted
    assert plateau.rate(3 * STEPS, [1.0, 1.0, 1.0]) == pytest.approx(0.1 * 0.5)


def test_a_warm_up_longer_than_the_run_is_refused():
    with pytest.raises(ParamsError, match=r"warmup_epochs \(6\) must be below"):
        Schedule(recipe(warmup_epochs=6.0), STEPS)


@pytest.mark.parametrize(
    ("val_losses", "stops"),
    [
        ([], False),
        ([1.0, 0.9, 0.8, 0.7], False),
        ([1.0, 0.9, 0.95, 0.96], True),
        ([1.0, 0.9, 0.95, 0.8, 0.82], False),
        ([1.0, 0.98, 0.96], True),  # better, but by less than min_delta
        ([1.0, 0.98, 0.94], False),  # the two together are more than min_delta
        ([math.inf], False),
    ],
)
def test_early_stopping_waits_for_patience_epochs_without_min_delta(val_losses, stops):
    rule = recipe(early_stopping=EarlyStopping(patience=2, min_delta=0.05))
    assert should_stop(val_losses, rule) is stops
    assert should_stop(val_losses, recipe()) is False


@given(st.lists(st.sampled_from([0.5, 0.6, 0.7, 0.8]), max_size=12), st.integers(0, 12), st.integers(1, 4))
def test_epochs_before_all_stages_learn_are_not_counted_as_bad(val_losses, all_learn_from, patience):
    rule = recipe(early_stopping=EarlyStopping(patience=patience))
    stops = should_stop(val_losses, rule, all_learn_from)
    late = val_losses[max(all_learn_from, len(val_losses) - patience) :]
    assert stops == (len(late) == patience and min(late) >= min(val_losses[: -len(late)], default=math.inf))


def biased_network() -> nn.Module:
    torch.manual_seed(0)
    made = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 2))
    return made.to(memory_format=torch.channels_last)


def change(module: nn.Module, step: int) -> None:
    """One step of something like learning: every tensor moves, also running means and counters."""
    random = torch.Generator().manual_seed(step)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += torch.randn(parameter.shape, generator=random)
    module.train()(torch.randn(5, 3, 8, 8, generator=random))


def test_it_is_the_recursion_written_out_with_few_steps_averaged_over_few():
    module = biased_network()
    average = Average(module, 0.6)
    expected = {}
    for n in range(1, 30):
        change(module, n)
        average.update_parameters(module)
        keep = 0 if n == 1 else min(0.6, n / (9 + n))
        for name, value in module.state_dict().items():
            before = expected.get(name, torch.zeros_like(value))
            expected[name] = value.clone() if "num_batches" in name else keep * before + (1 - keep) * value
    for name, value in average.module.state_dict().items():
        torch.testing.assert_close(value, expected[name], msg=name)


def test_the_module_that_learns_is_not_touched_and_shares_nothing():
    module = biased_network()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    average = Average(module, 0.9)
    average.update_parameters(module)
    change(average.module, 1)
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


def test_the_average_of_weights_that_stand_still_are_these_weights():
    module = biased_network()
    average = Average(module, 0.9)
    for _ in range(5):
        average.update_parameters(module)
    for name, value in average.module.state_dict().items():
        torch.testing.assert_close(value, module.state_dict()[name])
    assert average.module[0].weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("saved_after", [0, 1, 4])
def test_a_restored_average_goes_on_with_the_same_bytes(saved_after):
    module = biased_network()
    whole = Average(module, 0.9)
    again = None
    for n in range(1, 9):
        if n == saved_after + 1:
            saved = {name: value.clone() for name, value in whole.state_dict().items()}
            again = Average(biased_network(), 0.9)
            again.load_state_dict(saved)
        change(module, n)
        whole.update_parameters(module)
        if again is not None:
            again.update_parameters(module)
    assert again is not None
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in whole.state_dict().items())


def test_the_params_offer_every_optimiser_and_every_schedule():
    offered = {key: set(get_args(Train.model_fields[key].annotation)) for key in ("optimizer", "schedule")}
    assert offered == {"optimizer": set(optimisers.OPTIMIZERS), "schedule": set(optimisers.SCHEDULES)}


def test_an_optimiser_and_a_schedule_are_one_entry_each(monkeypatch):
    monkeypatch.setitem(optimisers.OPTIMIZERS, "nadam", lambda groups, recipe: torch.optim.NAdam(groups))
    monkeypatch.setitem(optimisers.SCHEDULES, "half", lambda schedule, step, val_losses: 0.5)
    followed = recipe().model_copy(update={"optimizer": "nadam", "schedule": "half"})
    module = network()
    made = optimisers.create_optimizer(module, followed, {name: 0 for name, _ in module.named_parameters()})
    assert isinstance(made, torch.optim.NAdam)
    assert optimisers.Schedule(followed, 4).rate(0, []) == 0.05
