"""How weights move: optimisers of torch and timm, learning rates, the moving average of the weights, early stopping.

A rate is a pure function of the recipe, the step and the validation losses so far: there is no schedule state to save,
and a resumed run cannot differ from an uninterrupted one.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn, optim
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from podium.config.train import Train
from podium.core.errors import ParamsError
from podium.core.vision import timm
from podium.data.tensors import Tensors

_COUNT = "step"
"""What Lamb keeps in a group and not with a parameter: the number of steps."""

_Groups = list[dict[str, Any]]

OPTIMIZERS: dict[str, Callable[[_Groups, Train], optim.Optimizer]] = {
    # fused kernels have 2 to 8 times the speed on a CPU
    "adamw": lambda groups, recipe: optim.AdamW(groups, lr=recipe.learning_rate, fused=True),
    "adam": lambda groups, recipe: optim.Adam(groups, lr=recipe.learning_rate, fused=True),
    "sgd": lambda groups, recipe: optim.SGD(groups, lr=recipe.learning_rate, momentum=recipe.momentum, fused=True),
    "rmsprop": lambda groups, recipe: optim.RMSprop(groups, lr=recipe.learning_rate, momentum=recipe.momentum),
    "lamb": lambda groups, recipe: timm.optim.Lamb(groups, lr=recipe.learning_rate, max_grad_norm=None),
}
"""By `train.optimizer`, each from parameter groups and the recipe.

`adamw` decays weights apart from the gradient (Loshchilov and Hutter 2019), `lamb` (You et al. 2020) as a part of its
update; `adam` (Kingma and Ba 2015), `sgd` (with momentum, not Nesterov's) and `rmsprop` (Tieleman and Hinton 2012, with
momentum) add the decay to the gradient, as their papers and the recipes of their time did. Nothing clips gradients
here, not even Lamb, whose own limit is taken off: that is `clip_norm`'s business.
"""


def create_optimizer(module: nn.Module, recipe: Train, depth: Mapping[str, int]) -> optim.Optimizer:
    """The optimiser of a recipe.

    Biases, the scales of normalisation layers (all tensors with fewer than two axes) and what the network itself
    exempts (position embeddings) are not decayed, as is usual since He et al. 2019, unless the recipe has
    `decay_norms_and_biases`: then all parameters are, as by torch's optimisers when they are given no groups.

    A parameter d stages below the head learns at `layer_decay ** d` times the rate: discriminative fine-tuning (Howard
    and Ruder 2018), in the form of Clark et al. 2020.

    Args:
        module: on its device.
        recipe: optimizer, learning_rate, layer_decay, weight_decay, decay_norms_and_biases, momentum.
        depth: stages below the head (0 = head) of every parameter that is to learn, now or in a later epoch, by name.

    Returns:
        An optimiser of these parameters. Every group has `scale`, what a rate has to be multiplied with, beside the
        usual keys; it holds the parameters of one scale that are decayed, or those that are not, and of one stage where
        stages begin to learn one after the other.
    """
    exempt: set[str] = set(getattr(module, "no_weight_decay", set)())
    # one group a stage also where stages begin one after the other: torch's fused SGD takes no group in which some
    # parameters have moved and others have not
    by_stage = recipe.layer_decay < 1 or recipe.unfreeze_every is not None
    parameters: dict[tuple[int, bool], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if name in depth:
            plain = not recipe.decay_norms_and_biases and (parameter.ndim <= 1 or name in exempt)
            parameters.setdefault((depth[name] if by_stage else 0, plain), []).append(parameter)
    groups: _Groups = [
        {
            "params": members,
            "weight_decay": 0.0 if plain else recipe.weight_decay,
            "scale": recipe.layer_decay**below,
            "lr": recipe.layer_decay**below * recipe.learning_rate,
        }
        for (below, plain), members in sorted(parameters.items(), key=lambda item: item[0])
    ]
    return OPTIMIZERS[recipe.optimizer](groups, recipe)


def state(optimizer: optim.Optimizer) -> dict[str, torch.Tensor]:
    """All that an optimiser has remembered; its settings come from the recipe.

    Returns:
        Tensors by `<parameter's number>/<name>`, and `group <number>/step` where groups count steps.
    """
    document = optimizer.state_dict()
    moments = {f"{index}/{name}": tensor for index, kept in document["state"].items() for name, tensor in kept.items()}
    counts = {
        f"group {number}/{_COUNT}": torch.as_tensor(group[_COUNT])
        for number, group in enumerate(document["param_groups"])
        if _COUNT in group
    }
    return {**moments, **counts}


def restore(optimizer: optim.Optimizer, saved: Tensors) -> None:
    """Brings a fresh optimiser of the same module, recipe and depths to what `state` gave."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    groups = optimizer.state_dict()["param_groups"]
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in saved.items():
        owner, name = key.split("/", 1)
        if owner.startswith("group "):
            groups[int(owner.removeprefix("group "))][name] = tensor.clone()
            continue
        parameter = parameters[int(owner)]
        if tensor.shape == parameter.shape:
            # fused kernels walk raw memory: a moment must lie in memory as its parameter does
            tensor = torch.empty_like(parameter, requires_grad=False).copy_(tensor)  # noqa: PLW2901
        moments.setdefault(int(owner), {})[name] = tensor
    optimizer.load_state_dict({"state": moments, "param_groups": groups})


PLATEAU_PATIENCE = 1
"""Epochs without a better validation loss that schedule `plateau` forgives before it cuts the rate."""


@dataclass(frozen=True)
class Schedule:
    """The learning rate over a run: linear warm-up, then one of `SCHEDULES`."""

    recipe: Train
    steps_per_epoch: int

    def __post_init__(self) -> None:
        if self.recipe.warmup_epochs >= self.recipe.epochs:
            raise ParamsError(
                f"train.warmup_epochs ({self.recipe.warmup_epochs:g}) must be below train.epochs "
                f"({self.recipe.epochs}): shorten the warm-up"
            )

    @property
    def warmup_steps(self) -> int:
        """W, the steps of the warm-up."""
        return round(self.recipe.warmup_epochs * self.steps_per_epoch)

    @property
    def decay_steps(self) -> int:
        """T, the steps after the warm-up."""
        return self.recipe.epochs * self.steps_per_epoch - self.warmup_steps

    @property
    def cycle_steps(self) -> int:
        """Steps in which a cosine falls from 1 to 0: all after the warm-up, or those of `cycle_epochs`."""
        cycle = self.recipe.cycle_epochs
        return self.decay_steps if cycle is None else max(1, round(cycle * self.steps_per_epoch))

    def rate(self, step: int, val_losses: Sequence[float]) -> float:
        """The rate of one optimiser step, at least 0.

        In the warm-up of W steps it is base * (step + 1) / (W + 1) (Goyal et al. 2017), then base times the factor of
        the schedule.

        Args:
            step: from 0 over the whole run.
            val_losses: of the epochs finished before this step.
        """
        base = self.recipe.learning_rate
        if step < self.warmup_steps:
            return base * (step + 1) / (self.warmup_steps + 1)
        return base * SCHEDULES[self.recipe.schedule](self, step, val_losses)


SCHEDULES: dict[str, Callable[[Schedule, int, Sequence[float]], float]] = {
    # Loshchilov and Hutter 2017; without restarts it rises again as it fell (torch's CosineAnnealingLR)
    "cosine": lambda run, step, _: _cosine(step - run.warmup_steps, run.cycle_steps),
    "cosine_restarts": lambda run, step, _: _cosine((step - run.warmup_steps) % run.cycle_steps, run.cycle_steps),
    "linear": lambda run, step, _: 1 - (step - run.warmup_steps) / run.decay_steps,
    # the epochs of the warm-up are counted
    "step": lambda run, step, _: run.recipe.step_factor ** (step // run.steps_per_epoch // run.recipe.step_epochs),
    "plateau": lambda run, _, val_losses: run.recipe.step_factor ** count_cuts(val_losses),
    "constant": lambda _run, _step, _val_losses: 1.0,
}
"""By `train.schedule`: the factor of the base rate at a step after the warm-up, given the validation losses so far."""


def _cosine(step: int, steps: int) -> float:
    """Half a wave from 1 at step 0 to 0 after so many steps, and on."""
    return (1 + math.cos(math.pi * step / steps)) / 2


def count_cuts(val_losses: Sequence[float]) -> int:
    """How often schedule `plateau` has cut the rate, given the validation loss of each finished epoch.

    It does whenever the loss failed to improve for more than `PLATEAU_PATIENCE` epochs in a row.
    """
    best, bad, count = math.inf, 0, 0
    for loss in val_losses:
        best, bad = (loss, 0) if loss < best else (best, bad + 1)
        if bad > PLATEAU_PATIENCE:
            bad, count = 0, count + 1
    return count


def should_stop(monitored: Sequence[float], recipe: Train, all_learn_from: int = 0) -> bool:
    """Whether early stopping ends the run.

    Args:
        monitored: one validation loss per finished epoch, the one that `early_stopping.monitor` names.
        recipe: its `early_stopping`; never stops where that is null.
        all_learn_from: the first epoch, from 0, in which no stage waits to be unfrozen; those before it are not counted
            as bad, because what was to make them better had not begun to learn.

    Returns:
        True when the last `patience` epochs, all of them from `all_learn_from` on, were not better than the best before
        them by more than `min_delta`.
    """
    rule = recipe.early_stopping
    if rule is None:
        return False
    best, bad = math.inf, 0
    for epoch, loss in enumerate(monitored):
        if loss < best - rule.min_delta:
            best, bad = loss, 0
        elif epoch >= all_learn_from:
            bad += 1
    return bad >= rule.patience


class Average(AveragedModel):
    """An averaged copy of a network: what is validated and kept where a recipe has `ema_decay`.

    The first update copies the weights; update n makes each value m * average + (1 - m) * present with
    m = min(decay, n / (9 + n)), so that the first guess is forgotten and a short run is averaged over fewer steps.
    Running means and variances of batch normalisation are averaged like weights, which they have to fit; counters are
    copied.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        """Starts at the present weights of a copy; about 1 / (1 - decay) steps are averaged over."""
        super().__init__(module, multi_avg_fn=self._average, use_buffers=True)
        self._decay = decay

    def _average(
        self,
        averaged: tuple[torch.Tensor, ...] | list[torch.Tensor],
        present: tuple[torch.Tensor, ...] | list[torch.Tensor],
        updates: torch.Tensor | int,
    ) -> None:
        if not averaged[0].is_floating_point():  # batch normalisation counts its batches
            for mine, other in zip(averaged, present, strict=True):
                mine.copy_(other)
            return
        update = int(self.n_averaged) + 1  # `updates` says the same, but may lie on an accelerator: waiting
        move = get_ema_multi_avg_fn(min(self._decay, update / (9 + update)))  # type: ignore[no-untyped-call]
        move(averaged, present, updates)
