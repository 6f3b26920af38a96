"""What of a network learns, and when.

The frozen blocks are a module of their own, without gradients and always in evaluation mode, so that batch norm keeps
the statistics it was trained with. All that learns is in the trainable part; nothing else needs to be optimised,
averaged or saved.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from podium.config.models import From, ModelConfig
from podium.config.problems import nearest
from podium.core.errors import ModelError
from podium.models.blocks import BACKBONE, BlockSequence, find_blocks, has_parameters, skip_fixed, split_network


@dataclass(frozen=True)
class Plan:
    """What of a network learns.

    Attributes:
        frozen: the frozen blocks, in evaluation mode; None where all of the network learns.
        trainable: the rest, with the network's own parameters, buffers and tensor names; without frozen blocks the
            network itself.
        depth: of every trainable parameter: 0 in the head, 1 in the last stage, and so on. Rates fall with it.
        stage_of: the same number for every block of the trainable part.
        unfreeze_every: epochs after which one more stage learns, beginning with the head; None = all at once.
    """

    frozen: nn.Sequential | None
    trainable: nn.Module
    depth: Mapping[str, int]
    stage_of: Mapping[str, int]
    unfreeze_every: int | None

    @classmethod
    def of(cls, module: nn.Module, config: ModelConfig, image_size: int) -> "Plan":
        """Finds what learns, and proves that the network can be split there.

        Args:
            module: as `zoo.create` made it, on its device. Afterwards the parameters of the trainable part require
                gradients, and no others.
            config: whose `trainable`, `layer_decay` and `unfreeze_every` are followed.
            image_size: pixels a side.

        Raises:
            ModelError: there is no block of that name, or the network cannot be split there.
        """
        recipe = config.train
        module.requires_grad_(True)
        if config.trainable == "all" and recipe.layer_decay == 1 and recipe.unfreeze_every is None:
            flat = {name: 0 for name, _ in module.named_parameters()}  # all at the same rate: no sequence is needed
            return cls(None, module, flat, {}, None)
        found = find_blocks(module, config, image_size)
        if not found.stages:
            raise ModelError(
                f"{config.architecture} has no sequence of feature maps here, so no part of it can be frozen, unfrozen "
                "by stage or given a rate of its own: use `trainable: all`, layer_decay 1 and no unfreeze_every"
            )
        first = _find_split_point(module, found, config)
        before = found.names[: found.names.index(first)]
        frozen: nn.Sequential | None = None
        trainable, unused = module, found.unused
        if has_parameters(module, before):
            noise = torch.rand(1, 3, image_size, image_size, generator=torch.Generator().manual_seed(0))
            example = noise.to(next(module.parameters()).device)
            (frozen, trainable), unused = split_network(module, found, first, example), ()
            module.requires_grad_(False)
            trainable.requires_grad_(True)
            frozen.eval()
        else:
            before = ()
        # stages from the head; what evaluation does not use is with the head, where it is still there
        depths = {name: depth for depth, stage in enumerate(reversed(found.stages)) for name in stage}
        stage_of = {name: depths[name] for name in found.names[len(before) :]} | dict.fromkeys(unused, 0)
        return cls(frozen, trainable, _of_parameters(trainable, stage_of), stage_of, recipe.unfreeze_every)

    def learn(self, epoch: int) -> bool:
        """Readies the trainable part for an epoch, from 0; returns whether other parameters learn than before.

        What learns is put in training mode and gets gradients; stages whose turn has not come are in evaluation mode,
        without gradients, so no optimiser moves them, not even by weight decay.
        """
        reach = self._reach(epoch)
        self.trainable.train()
        for name, depth in self.stage_of.items():
            self.trainable.get_submodule(name).train(depth <= reach)
        for name, parameter in self.trainable.named_parameters():
            parameter.requires_grad_(self.depth[name] <= reach)
            if not parameter.requires_grad:
                parameter.grad = None
        return epoch == 0 or reach != self._reach(epoch - 1)

    def _reach(self, epoch: int) -> int:
        """The depth of the deepest stage that learns."""
        deepest = max(self.depth.values(), default=0)
        return deepest if self.unfreeze_every is None else min(deepest, epoch // self.unfreeze_every)


def _find_split_point(module: nn.Module, found: BlockSequence, config: ModelConfig) -> str:
    """The first block that learns, of a sequence with stages.

    For `head` and `last_stage`, pooling and activations that a stage begins with count as what is before it: they
    have nothing to learn, and their output is smaller than their input.
    """
    match config.trainable:
        case From(from_=wanted):
            return _find_block(found.names, wanted)
        case "head":
            return skip_fixed(module, found.stages[-1])
        case "last_stage":
            return skip_fixed(module, found.stages[-2] + found.stages[-1])
        case _:
            return found.names[0]


def _find_block(names: Sequence[str], wanted: str) -> str:
    """The first block of that name, or below it; a composed network's backbone need not be named."""
    for start in (wanted, f"{BACKBONE}{wanted}"):
        for name in names:
            if name == start or name.startswith(f"{start}."):
                return name
    whole = {name.rpartition(".")[0] for name in names} - {""}
    known = [name.removeprefix(BACKBONE) for name in (*names, *sorted(whole))]
    raise ModelError(
        f"trainable.from: the network has no block {wanted!r}{nearest(wanted, known)}: `podium models NAME` lists its "
        f"blocks, from {names[0]} to {names[-1]}"
    )


def _of_parameters(trainable: nn.Module, stage_of: Mapping[str, int]) -> dict[str, int]:
    """The depth of each parameter; one that is in no block acts on the input, so it is as deep as can be."""
    deepest = max(stage_of.values(), default=0)
    depths = {}
    for name, _ in trainable.named_parameters():
        path = name.split(".")
        holders = (".".join(path[:length]) for length in range(1, len(path)))
        depths[name] = next((stage_of[holder] for holder in holders if holder in stage_of), deepest)
    return depths
