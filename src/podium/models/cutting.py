"""Cuts a network in two between units of its chain, and proves that the halves one after the other are the whole.

Both halves and the whole network are run on an example; a cut where the logits differ by a bit is refused. Weights that
are zero (fresh classifiers, the last norm of a residual block) would make a wrong cut look right, so they have other
values during the proof.

A network that computes more than its units one after the other, as transformers do, is cut within the two methods by
which timm computes it: before the head, or between the blocks where `_pos_embed` does all that is done before them.
Others, whose blocks are also given a table of positions for example, are refused between their blocks.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from podium.core.errors import ModelError
from podium.models.units import WRONG_INPUT, Chain, copied, evaluating, has_parameters, has_two_methods, same


def split(module: nn.Module, found: Chain, first: str, example: torch.Tensor) -> tuple[nn.Sequential, nn.Module]:
    """Cuts a network in two: what comes before a unit, and the rest.

    Args:
        module: a network; left as it was.
        found: its chain.
        first: the first unit of the second half.
        example: float32, shape (N, 3, H, W), where the network is; a size that it takes.

    Returns:
        Both halves share all parameters and buffers with `module`. The second is the same network with the units of
        the first replaced by Identity, so its tensors have the same names. Units aside with parameters are missing in
        it: GoogLeNet's auxiliary classifiers teach what is before them, and that does not learn. So are a
        transformer's parameters that are in no unit, such as its position embeddings.

    Raises:
        ModelError: there is no such unit, or the halves one after the other do not give the network's very logits.
    """
    if first not in found.names:
        raise ModelError(f"the network has no unit {first!r}: its units are {', '.join(found.names)}")
    for prefix, tail in _halves(module, found, first):
        if _equal(prefix, tail, module, example):
            return prefix, tail
    head = "" if first in found.stages[-1] else "`trainable: head` or "
    raise ModelError(
        f"the network is not a chain at {first!r}: its two halves give other logits than the whole: "
        f"name another unit in `trainable: {{from: ...}}`, or use {head}`trainable: all`"
    )


def _halves(module: nn.Module, found: Chain, first: str) -> Iterator[tuple[nn.Sequential, nn.Module]]:
    """The ways in which a network may be cut: between units, and within timm's two methods."""
    place, method = found.names.index(first), "_pos_embed"
    if not found.by_methods:
        before = found.names[:place]
        units = (module.get_submodule(name) for name in before)
        yield nn.Sequential(*units), _without(module, before, found.aside)
    if first in found.stages[-1]:
        passed, method = found.stages[-1][: found.stages[-1].index(first)], "forward_features"
        place -= 0 if has_parameters(module, passed) else len(passed)  # the second half pools for itself
    if has_two_methods(module):
        prefix = _without(module, found.names[place:], ())
        tail = _without(module, found.names[:place], found.aside)
        vars(prefix)["forward_head"] = vars(tail)[method] = same
        tail._parameters = dict.fromkeys(tail._parameters)  # what is in no unit acts on the input
        yield nn.Sequential(prefix), tail


def _equal(prefix: nn.Module, tail: nn.Module, module: nn.Module, example: torch.Tensor) -> bool:
    """Whether the halves give the very logits of the whole."""
    with evaluating(module), evaluating(tail), evaluating(prefix), torch.no_grad(), _no_zeros(module):
        try:
            return torch.equal(tail(prefix(example)), module(example))
        except WRONG_INPUT:  # a half got what it was not made for
            return False


@contextmanager
def _no_zeros(module: nn.Module) -> Iterator[None]:
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


def _without(module: nn.Module, units: Sequence[str], aside: Sequence[str]) -> nn.Module:
    """The network with some units as Identity and those aside gone; the containers on the way to them are copies."""
    tail = copied(module)
    copies = {id(tail)}

    def owner_of(name: str) -> tuple[nn.Module, str]:
        *path, leaf = name.split(".")
        owner = tail
        for step in path:
            inner = owner.get_submodule(step)
            if id(inner) not in copies:
                inner = copied(inner)
                copies.add(id(inner))
                owner._modules[step] = inner
            owner = inner
        return owner, leaf

    for name in units:
        owner, leaf = owner_of(name)
        owner._modules[leaf] = nn.Identity()
    for name in aside if units else ():
        owner, leaf = owner_of(name)
        if has_parameters(owner, [leaf]):
            owner._modules[leaf] = None
            if hasattr(owner, "aux_logits"):  # torchvision's networks then return plain logits in training as well
                owner.aux_logits = False  # type: ignore[assignment]  # a plain attribute of theirs
    return tail
