"""Learning rates. A rate is a pure function of the recipe, the step and the validation losses so far:
there is no schedule state to save, and a resumed run cannot differ from an uninterrupted one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from podium.config.recipe import Train
from podium.core.errors import ParamsError

PLATEAU_PATIENCE = 1
"""Epochs without a better validation loss that schedule `plateau` forgives before it cuts the rate."""


@dataclass(frozen=True)
class Schedule:
    """The learning rate over a run: linear warm-up, then cosine, linear, step, plateau or constant."""

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
        return round(self.recipe.warmup_epochs * self.steps_per_epoch)

    def rate(self, step: int, val_losses: Sequence[float]) -> float:
        """The rate of one optimiser step.

        Warm-up of W steps: base * (step + 1) / (W + 1) (Goyal et al. 2017). Then, t steps after it, with T steps left
        in all: cosine base * (1 + cos(pi * t / T)) / 2 (Loshchilov and Hutter 2017, without restarts); linear
        base * (1 - t / T); step base * step_factor ** floor(epoch / step_epochs), with the epochs of the warm-up
        counted; plateau base * step_factor ** cuts (see `cuts`).

        Args:
            step: from 0 over the whole run.
            val_losses: of the epochs finished before this step.

        Returns:
            The learning rate, at least 0.
        """
        recipe, warmup = self.recipe, self.warmup_steps
        base = recipe.learning_rate
        if step < warmup:
            return base * (step + 1) / (warmup + 1)
        match recipe.schedule:
            case "cosine":
                total = recipe.epochs * self.steps_per_epoch - warmup
                return base * (1 + math.cos(math.pi * (step - warmup) / total)) / 2
            case "linear":
                total = recipe.epochs * self.steps_per_epoch - warmup
                return base * (1 - (step - warmup) / total)
            case "step":
                return base * recipe.step_factor ** (step // self.steps_per_epoch // recipe.step_epochs)
            case "plateau":
                return base * recipe.step_factor ** cuts(val_losses)
            case "constant":
                return base


def cuts(val_losses: Sequence[float]) -> int:
    """How often schedule `plateau` has cut the rate.

    Args:
        val_losses: one per finished epoch.

    Returns:
        The number of times the loss failed to improve for more than `PLATEAU_PATIENCE` epochs in a row.
    """
    best, bad, count = math.inf, 0, 0
    for loss in val_losses:
        best, bad = (loss, 0) if loss < best else (best, bad + 1)
        if bad > PLATEAU_PATIENCE:
            bad, count = 0, count + 1
    return count


def should_stop(val_losses: Sequence[float], recipe: Train, all_learn_from: int = 0) -> bool:
    """Whether early stopping ends the run.

    Args:
        val_losses: one per finished epoch.
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
    for epoch, loss in enumerate(val_losses):
        if loss < best - rule.min_delta:
            best, bad = loss, 0
        elif epoch >= all_learn_from:
            bad += 1
    return bad >= rule.patience
