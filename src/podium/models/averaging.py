"""The moving average of a network's weights over its steps (Tarvainen and Valpola 2017): `train.ema_decay`."""

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from podium.data.tensors import Tensors


class Average:
    """An averaged copy of a network: what is validated and kept where a recipe has `ema_decay`.

    The first update copies the weights; update n makes each value m * average + (1 - m) * present with
    m = min(decay, n / (9 + n)), so that the first guess is forgotten and a short run is averaged over fewer steps.
    Running means and variances of batch normalisation are averaged like weights, which they have to fit; counters are
    copied.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        """Starts at the present weights.

        Args:
            module: placed on its device; it is copied.
            decay: in (0, 1); about 1 / (1 - decay) steps are averaged over.
        """
        self._decay = decay
        self._averaged = AveragedModel(module, multi_avg_fn=self._average, use_buffers=True)

    @property
    def module(self) -> nn.Module:
        """The averaged network: the same object all the time."""
        inner: nn.Module = self._averaged.module
        return inner

    def update(self, module: nn.Module) -> None:
        """Takes in the weights after a step.

        Args:
            module: the network that learns; unchanged.
        """
        self._averaged.update_parameters(module)

    def state(self) -> dict[str, torch.Tensor]:
        """Everything needed to go on, by name; the tensors are the average's own, not copies."""
        return dict(self._averaged.state_dict())

    def load(self, state: Tensors) -> None:
        """Goes on from a saved state.

        Args:
            state: what `state` gave for the same network.
        """
        self._averaged.load_state_dict(state)

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
        update = int(self._averaged.n_averaged) + 1  # `updates` says the same, but may lie on an accelerator: waiting
        move = get_ema_multi_avg_fn(min(self._decay, update / (9 + update)))  # type: ignore[no-untyped-call]
        move(averaged, present, updates)
