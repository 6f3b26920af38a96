"""What of a network learns, and when: the frozen front, the stages that are let go one after the other, their depths.

The frozen units are a module of their own, the prefix: without gradients and always in evaluation mode, so that batch
norm keeps the statistics it was trained with. All that learns is in the tail; nothing else needs to be optimised,
averaged or saved.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from podium.config.contender import Contender, From
from podium.config.problems import nearest
from podium.core.errors import ModelError
from podium.models import units
from podium.models.cutting import split
from podium.models.units import Chain


@dataclass(frozen=True)
class Plan:
    """What of a network learns.

    Attributes:
        prefix: the frozen units, in evaluation mode; None where all of the network learns.
        tail: the rest, with the network's own parameters, buffers and tensor names; the network itself without prefix.
        first: the first unit of the tail; None without prefix.
        frozen: names of the prefix's units.
        depth: of every parameter of the tail: 0 in the head, 1 in the last stage, and so on. Rates fall with it.
        stage_of: the same number for every unit of the tail.
        unfreeze_every: epochs after which one more stage learns, beginning with the head; None = all at once.
    """

    prefix: nn.Sequential | None
    tail: nn.Module
    first: str | None
    frozen: tuple[str, ...]
    depth: Mapping[str, int]
    stage_of: Mapping[str, int]
    unfreeze_every: int | None

    @classmethod
    def of(cls, module: nn.Module, contender: Contender, image_size: int) -> "Plan":
        """Finds what learns, and proves that the network can be cut there.

        Args:
            module: as `zoo.create` made it for `contender`, on its device. Afterwards the parameters of the tail
                require gradients, and no others.
            contender: whose `trainable`, `layer_decay` and `unfreeze_every` are followed.
            image_size: pixels a side.

        Raises:
            ModelError: there is no unit of that name, or the network cannot be cut there.
        """
        recipe = contender.train
        module.requires_grad_(True)
        if contender.trainable == "all" and recipe.layer_decay == 1 and recipe.unfreeze_every is None:
            flat = {name: 0 for name, _ in module.named_parameters()}  # all at the same rate: no chain is needed
            return cls(None, module, None, (), flat, {}, None)
        found = units.chain(module, contender)
        if not found.stages:
            raise ModelError(units.no_chain(contender))
        first = first_unit(module, found, contender.trainable)
        before = found.names[: found.names.index(first)]
        if not units.has_parameters(module, before):
            stage_of = _depths(found, found.names[0], aside=True)
            return cls(None, module, None, (), _of_parameters(module, stage_of), stage_of, recipe.unfreeze_every)
        prefix, tail = split(module, found, first, _example(image_size, next(module.parameters()).device))
        module.requires_grad_(False)
        tail.requires_grad_(True)
        prefix.eval()
        stage_of = _depths(found, first, aside=False)
        return cls(prefix, tail, first, before, _of_parameters(tail, stage_of), stage_of, recipe.unfreeze_every)

    def learn(self, epoch: int) -> bool:
        """Readies the tail for an epoch of training.

        What learns is put in training mode and gets gradients; stages whose turn has not come are in evaluation mode,
        without gradients, so no optimiser moves them, not even by weight decay.

        Args:
            epoch: from 0.

        Returns:
            Whether other parameters learn than in the epoch before.
        """
        reach = self._reach(epoch)
        self.tail.train()
        for name, depth in self.stage_of.items():
            self.tail.get_submodule(name).train(depth <= reach)
        for name, parameter in self.tail.named_parameters():
            parameter.requires_grad_(self.depth[name] <= reach)
            if not parameter.requires_grad:
                parameter.grad = None
        return epoch == 0 or reach != self._reach(epoch - 1)

    def _reach(self, epoch: int) -> int:
        """The depth of the deepest stage that learns."""
        deepest = max(self.depth.values(), default=0)
        return deepest if self.unfreeze_every is None else min(deepest, epoch // self.unfreeze_every)


def first_unit(module: nn.Module, found: Chain, trainable: Literal["all", "head", "last_stage"] | From) -> str:
    """The first unit that learns.

    For `head` and `last_stage`, pooling and activations that a stage begins with count as what is before it: they
    have nothing to learn, and their output is smaller than their input.

    Args:
        module: the network.
        found: its chain, with stages.
        trainable: `all`, `head`, `last_stage`, or the name of a unit, or of something that holds units.

    Raises:
        ModelError: there is no such unit; the nearest names are given.
    """
    match trainable:
        case From():
            return _named(found.names, trainable.from_)
        case "head":
            return units.after_fixed(module, found.stages[-1])
        case "last_stage":
            return units.after_fixed(module, found.stages[-2] + found.stages[-1])
        case _:
            return found.names[0]


def _named(names: Sequence[str], wanted: str) -> str:
    """The first unit of that name, or below it; a composed network's backbone need not be named."""
    for start in (wanted, f"{units.BACKBONE}{wanted}"):
        for name in names:
            if name == start or name.startswith(f"{start}."):
                return name
    whole = {name.rpartition(".")[0] for name in names} - {""}
    known = [name.removeprefix(units.BACKBONE) for name in (*names, *sorted(whole))]
    raise ModelError(
        f"trainable.from: the network has no unit {wanted!r}{nearest(wanted, known)}: `podium models NAME` lists its "
        f"units, from {names[0]} to {names[-1]}"
    )


def _depths(found: Chain, first: str, aside: bool) -> dict[str, int]:
    """Stages from the head for each unit from `first` on; those that evaluation does not use are with the head."""
    of = {name: depth for depth, stage in enumerate(reversed(found.stages)) for name in stage}
    depths = {name: of[name] for name in found.names[found.names.index(first) :]}
    return depths | dict.fromkeys(found.aside if aside else (), 0)


def _of_parameters(tail: nn.Module, stage_of: Mapping[str, int]) -> dict[str, int]:
    """The depth of each parameter; one that is in no unit acts on the input, so it is as deep as can be."""
    deepest = max(stage_of.values(), default=0)
    depths = {}
    for name, _ in tail.named_parameters():
        path = name.split(".")
        holders = (".".join(path[:length]) for length in range(1, len(path)))
        depths[name] = next((stage_of[holder] for holder in holders if holder in stage_of), deepest)
    return depths


def _example(side: int, device: torch.device) -> torch.Tensor:
    """An image of noise, the same every time."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand(1, 3, side, side, generator=generator).to(device)
