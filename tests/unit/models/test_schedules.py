import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.optim import lr_scheduler

from podium.config.recipe import EarlyStopping, Train
from podium.core.errors import ParamsError
from podium.models.schedules import PLATEAU_PATIENCE, Schedule, cuts, should_stop

STEPS = 7  # per epoch


def recipe(**changes) -> Train:
    return Train(**{"epochs": 6, "batch_size": 8, "learning_rate": 0.1, "warmup_epochs": 0.0, **changes})


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
    assert 0.1 * 0.5 ** cuts(val_losses) == pytest.approx(o.param_groups[0]["lr"])


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
