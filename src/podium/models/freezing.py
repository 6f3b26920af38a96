"""What of a network learns, and when: the frozen front, the stages that are let go one after the other, their depths.

The frozen blocks are a module of their own, without gradients and always in evaluation mode, so that batch norm keeps
the statistics it was trained with. All that learns is in the trainable part; nothing else needs to be optimised,
averaged or saved. Both parts and the whole network are run on an example; a split where the logits differ by a bit is
refused. A network that computes more than its blocks one after the other, as transformers do, is split within the two
methods by which timm computes it: before the head, or between the blocks where `_pos_embed` does all that is done
before them. Others, whose blocks are also given a table of positions for example, are refused between their blocks.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from podium.config.models import ModelConfig
from podium.config.network import From
from podium.config.problems import nearest
from podium.core.errors import ModelError
from podium.models import blocks
from podium.models.blocks import (
    WRONG_INPUT,
    BlockSequence,
    eval_mode,
    has_parameters,
    has_two_methods,
    return_input,
    shallow_copy,
)


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
        found = blocks.find_blocks(module, config)
        if not found.stages:
            raise ModelError(blocks.not_freezable(config))
        first = find_split_point(module, found, config.trainable)
        before = found.names[: found.names.index(first)]
        frozen: nn.Sequential | None = None
        trainable, unused = module, found.unused
        if has_parameters(module, before):
            example = _example(image_size, next(module.parameters()).device)
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


def find_split_point(
    module: nn.Module, found: BlockSequence, trainable: Literal["all", "head", "last_stage"] | From
) -> str:
    """The first block that learns, of a sequence with stages.

    For `head` and `last_stage`, pooling and activations that a stage begins with count as what is before it: they
    have nothing to learn, and their output is smaller than their input.

    Raises:
        ModelError: there is no block of the name in `trainable`; the nearest names are given.
    """
    match trainable:
        case From():
            return _find_block(found.names, trainable.from_)
        case "head":
            return blocks.skip_fixed(module, found.stages[-1])
        case "last_stage":
            return blocks.skip_fixed(module, found.stages[-2] + found.stages[-1])
        case _:
            return found.names[0]


def _find_block(names: Sequence[str], wanted: str) -> str:
    """The first block of that name, or below it; a composed network's backbone need not be named."""
    for start in (wanted, f"{blocks.BACKBONE}{wanted}"):
        for name in names:
            if name == start or name.startswith(f"{start}."):
                return name
    whole = {name.rpartition(".")[0] for name in names} - {""}
    known = [name.removeprefix(blocks.BACKBONE) for name in (*names, *sorted(whole))]
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


def _example(side: int, device: torch.device) -> torch.Tensor:
    """An image of noise, the same every time."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand(1, 3, side, side, generator=generator).to(device)


def split_network(
    module: nn.Module, found: BlockSequence, first: str, example: torch.Tensor
) -> tuple[nn.Sequential, nn.Module]:
    """Splits a network in two: what comes before a block, and the rest.

    Args:
        module: a network; left as it was.
        found: its sequence.
        first: the first block of the second half.
        example: float32, shape (N, 3, H, W), where the network is; a size that it takes.

    Returns:
        Both halves share all parameters and buffers with `module`. The second is the same network with the blocks of
        the first replaced by Identity, so its tensors have the same names. Unused blocks with parameters are missing in
        it: GoogLeNet's auxiliary classifiers teach what is before them, and that does not learn. So are a
        transformer's parameters that are in no block, such as its position embeddings.

    Raises:
        ModelError: there is no such block, or the halves one after the other do not give the network's very logits.
    """
    if first not in found.names:
        raise ModelError(f"the network has no block {first!r}: its blocks are {', '.join(found.names)}")
    for frozen, trainable in _candidate_splits(module, found, first):
        if _equal(frozen, trainable, module, example):
            return frozen, trainable
    head = "" if first in found.stages[-1] else "`trainable: head` or "
    raise ModelError(
        f"the network is not a sequence of blocks at {first!r}: its two halves give other logits than the whole: "
        f"name another block in `trainable: {{from: ...}}`, or use {head}`trainable: all`"
    )


def _candidate_splits(module: nn.Module, found: BlockSequence, first: str) -> Iterator[tuple[nn.Sequential, nn.Module]]:
    """The ways in which a network may be split: between blocks, and within timm's two methods."""
    place, method = found.names.index(first), "_pos_embed"
    if not found.by_methods:
        before = found.names[:place]
        parts = (module.get_submodule(name) for name in before)
        yield nn.Sequential(*parts), _replace_blocks(module, before, found.unused)
    if first in found.stages[-1]:
        passed, method = found.stages[-1][: found.stages[-1].index(first)], "forward_features"
        place -= 0 if has_parameters(module, passed) else len(passed)  # the second half pools for itself
    if has_two_methods(module):
        frozen = _replace_blocks(module, found.names[place:], ())
        trainable = _replace_blocks(module, found.names[:place], found.unused)
        vars(frozen)["forward_head"] = vars(trainable)[method] = return_input
        trainable._parameters = dict.fromkeys(trainable._parameters)  # what is in no block acts on the input
        yield nn.Sequential(frozen), trainable


def _equal(frozen: nn.Module, trainable: nn.Module, module: nn.Module, example: torch.Tensor) -> bool:
    """Whether the halves give the very logits of the whole."""
    with eval_mode(module), eval_mode(trainable), eval_mode(frozen), torch.no_grad(), _fill_zeros(module):
        try:
            return torch.equal(trainable(frozen(example)), module(example))
        except WRONG_INPUT:  # a half got what it was not made for
            return False


@contextmanager
def _fill_zeros(module: nn.Module) -> Iterator[None]:
    """Gives parameters that are zero throughout small values within the block; then they are as before."""
    zeros = [(parameter, parameter.clone()) for parameter in module.parameters() if not parameter.any()]
    generator = torch.Generator().manual_seed(0)
    try:
        for parameter, _ in zeros:
            parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
        yield
    finally:
        for parameter, before in zeros:
            parameter.copy_(before)


def _replace_blocks(module: nn.Module, names: Sequence[str], unused: Sequence[str]) -> nn.Module:
    """The network with some blocks as Identity and unused ones gone; the containers on the way to them are copies."""
    copy = shallow_copy(module)
    copies = {id(copy)}

    def owner_of(name: str) -> tuple[nn.Module, str]:
        *path, leaf = name.split(".")
        owner = copy
        for step in path:
            inner = owner.get_submodule(step)
            if id(inner) not in copies:
                inner = shallow_copy(inner)
                copies.add(id(inner))
                owner._modules[step] = inner
            owner = inner
        return owner, leaf

    for name in names:
        owner, leaf = owner_of(name)
        owner._modules[leaf] = nn.Identity()
    for name in unused if names else ():
        owner, leaf = owner_of(name)
        if has_parameters(owner, [leaf]):
            owner._modules[leaf] = None
            if hasattr(owner, "aux_logits"):  # torchvision's networks then return plain logits in training as well
                owner.aux_logits = False  # type: ignore[assignment]  # a plain attribute of theirs
    return copy
