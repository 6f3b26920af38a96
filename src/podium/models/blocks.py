"""A network as an ordered sequence of blocks, and its cut in two: a front that can be frozen, a back trained alone.

Blocks are a network's children, with plain Sequentials (and timm's heads, which are sequences too) opened. That one
follows the other is not taken on trust: wherever a network is cut, the halves and the whole are run on an example, and
a cut where the logits differ by a bit is refused. So one mechanism serves timm, torchvision and our own networks.

Transformers and the like have no feature maps and are more than their children one after the other: they add position
embeddings, say. timm computes them in two methods, `forward_features` and `forward_head`, and so the head is what the
second one calls. Before it, every block of a repeated sequence is a stage of its own: blocks have the same resolution,
so there is no other place to part them, and rates that fall from layer to layer are published block by block (BEiT,
Bao et al. 2022). The embedding is the first stage; a norm behind the last block goes with that block. They are cut
within the two methods: before the head, or between the blocks where `_pos_embed` does all that is done before them.
Others, whose blocks are also given a table of positions for example, are refused between their blocks.
"""

import copy
import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from podium.config.models import Network
from podium.core.errors import ModelError, one_line
from podium.core.vision import timm
from podium.models.zoo.build import Composed
from podium.models.zoo.families import image_size

BACKBONE = "backbone."
"""How the names of a composed network's blocks start, but for those of its attention and its head."""

# what networks raise for an input that does not fit
_WRONG_INPUT = (AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
_CONTAINERS: tuple[type[nn.Module], ...] = (
    nn.Sequential,
    timm.layers.ClassifierHead,
    timm.layers.NormMlpClassifierHead,
)
_SAME_IN_TRAINING = (
    *(nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveMaxPool2d, nn.AdaptiveAvgPool2d, timm.layers.SelectAdaptivePool2d),
    *(nn.ReLU, nn.ReLU6, nn.GELU, nn.SiLU, nn.Hardswish, nn.Flatten, nn.Identity),
)


@dataclass(frozen=True)
class BlockSequence:
    """The blocks of a network in the order in which they are called.

    Attributes:
        stages: blocks by stage, at least one each; the last stage is the head. Empty where there is no such order.
        unused: blocks that evaluation never calls, such as the auxiliary classifiers of GoogLeNet.
        by_methods: whether the network has no feature maps and its head is what its method `forward_head` calls.
    """

    stages: tuple[tuple[str, ...], ...]
    unused: tuple[str, ...]
    by_methods: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """All blocks but the unused ones."""
        return tuple(itertools.chain.from_iterable(self.stages))


def find_blocks(module: nn.Module, network: Network, built_for: int | None = None) -> BlockSequence:
    """Finds a network's blocks and stages without computing a number.

    A stage begins where the resolution of the feature map falls, at the architecture's usual image size: at a toy
    size the last maps could all be one pixel. A stage without parameters joins the one before. The last stage is the
    head: all that follows the last feature map of more than one pixel, with attention that was added to a backbone.
    Without feature maps, stages are the embedding, each block, and the head. `built_for`: as in `image_size`.

    Raises:
        ModelError: the network does not take images of its usual size.
    """
    side = image_size(network.architecture, built_for)
    names = block_names(module)
    shapes = _output_shapes(module, names, side)
    sides = {name: _side(shape) for name, shape in shapes.items()}
    maps = {name for name, pixels in sides.items() if pixels > 1}
    if isinstance(module, Composed):  # its attention gives a feature map, but is as new as its head
        maps = {name for name in maps if name.startswith(BACKBONE)}
    called = list(shapes)
    end = max((i + 1 for i, name in enumerate(called) if name in maps), default=0)
    if any(len(shapes[name]) == 3 for name in called[end:]):  # a transformer's sequence (N, tokens, C)
        end = 0
    body = _merge_fixed(module, _by_resolution(called[:end], sides))
    unused = tuple(name for name in names if name not in shapes)
    lists = [name for name in unused if isinstance(module.get_submodule(name), nn.ModuleList)]
    if not body or has_parameters(module, lists):  # a list is never called itself, but what is in it may be
        return _by_methods(module, side)
    return BlockSequence((*body, tuple(called[end:])), unused)


def skip_fixed(module: nn.Module, names: Sequence[str]) -> str:
    """The first of some blocks that does more than transform (pooling, say) the same way in training; else the last."""
    return next((name for name in names if not _is_fixed(module.get_submodule(name))), names[-1])


def has_parameters(module: nn.Module, names: Sequence[str]) -> bool:
    """Whether any of some blocks has something to learn."""
    return any(True for name in names for _ in module.get_submodule(name).parameters())


def _has_two_methods(module: nn.Module) -> bool:
    """Whether a network is computed as timm's are."""
    return all(callable(getattr(module, method, None)) for method in ("forward_features", "forward_head"))


def _return_input(x: torch.Tensor, **_ignored: object) -> torch.Tensor:
    """Instead of a method of a network that is not to do anything."""
    return x


def _shallow_copy(module: nn.Module) -> nn.Module:
    """A module of its own that shares parameters, buffers and children."""
    shallow = copy.copy(module)
    shallow._modules = dict(module._modules)
    return shallow


@contextmanager
def _eval_mode(module: nn.Module) -> Iterator[None]:
    """Evaluation mode; every part then has the mode it had."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def block_names(module: nn.Module, containers: Sequence[type[nn.Module]] = _CONTAINERS) -> list[str]:
    """Dotted names of a network's blocks in the order in which they were made; no block holds another.

    A composed network (backbone, attention, head) has the blocks of its backbone under `backbone.`.
    """

    def opened(part: nn.Module, name: str) -> Iterator[str]:
        children = list(part.named_children())
        whole = isinstance(module, Composed) and f"{name}." == BACKBONE
        if children and (whole or type(part) in containers):
            for child, inner in children:
                yield from opened(inner, f"{name}.{child}")
        else:
            yield name

    return [name for child, part in module.named_children() for name in opened(part, child)]


def _by_methods(module: nn.Module, side: int) -> BlockSequence:
    """The sequence of a network without feature maps; no stages where timm's two methods do not compute it.

    What learns but is never called itself (a table of positions, say) is used by methods on the way to the blocks, so
    it belongs to the first stage.
    """
    if not _has_two_methods(module):
        return BlockSequence((), tuple(block_names(module)))
    names = block_names(module, (*_CONTAINERS, nn.ModuleList))
    headless = _shallow_copy(module)
    vars(headless)["forward_head"] = _return_input
    before = list(_output_shapes(headless, names, side))
    called = _output_shapes(module, names, side)
    head = [name for name in called if name not in before]
    never = [name for name in names if name not in called]
    learning = [name for name in never if has_parameters(module, [name])]
    body = _merge_fixed(module, _by_block([*learning, *before]))
    if not body or not has_parameters(module, head):
        return BlockSequence((), tuple(names))
    return BlockSequence((*body, tuple(head)), tuple(name for name in never if name not in learning), by_methods=True)


def _by_block(names: Sequence[str]) -> list[list[str]]:
    """Groups of blocks; a group begins at every block that is one of several of a name, such as `blocks.3`."""
    groups: list[list[str]] = []
    for name in names:
        if not groups or name.rpartition(".")[2].isdigit():
            groups.append([])
        groups[-1].append(name)
    return groups


def _by_resolution(names: Sequence[str], sides: Mapping[str, int]) -> list[list[str]]:
    """Groups of blocks; a group begins where the feature map has fewer pixels than any before it."""
    groups: list[list[str]] = []
    least = 0
    for name in names:
        if not groups or 0 < sides[name] < least:
            groups.append([])
        groups[-1].append(name)
        least = sides[name] or least
    return groups


def _merge_fixed(module: nn.Module, groups: list[list[str]]) -> list[tuple[str, ...]]:
    """Groups that can learn: one without parameters joins the one before, and so does the one after such a first."""
    merged: list[tuple[str, ...]] = []
    for group in groups:
        if merged and not (has_parameters(module, group) and has_parameters(module, merged[-1])):
            merged[-1] += tuple(group)
        else:
            merged.append(tuple(group))
    return merged


def _is_fixed(block: nn.Module) -> bool:
    """Whether a block has nothing to learn and no chance in it; what is not known to be so counts as not."""
    parts = [part for part in block.modules() if not list(part.children())] or [block]
    return all(type(part) in _SAME_IN_TRAINING for part in parts)


def _output_shapes(module: nn.Module, names: Sequence[str], side: int) -> dict[str, torch.Size]:
    """What each called block gives, in the order of the calls; on the meta device, so nothing is computed."""
    shapes: dict[str, torch.Size] = {}

    def note(name: str, _block: nn.Module, _given: object, out: object) -> None:
        shapes.setdefault(name, out.shape if isinstance(out, torch.Tensor) else torch.Size())

    handles = [module.get_submodule(name).register_forward_hook(partial(note, name)) for name in names]
    tensors = {
        name: tensor.detach().to("meta")
        for name, tensor in itertools.chain(module.named_parameters(), module.named_buffers())
    }
    try:
        with _eval_mode(module), torch.no_grad():
            torch.func.functional_call(module, tensors, (torch.zeros(1, 3, side, side, device="meta"),))
    except _WRONG_INPUT as error:
        raise ModelError(
            f"the network does not take images of {side} px, for which its architecture was made "
            f"({one_line(error)}): choose another architecture"
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    return shapes


def _side(shape: torch.Size) -> int:
    """Pixels a side of a square feature map, (N, C, H, W) or (N, H, W, C); 0 for what is none."""
    if len(shape) != 4:
        return 0
    if shape[2] == shape[3]:
        return shape[2]
    return shape[1] if shape[1] == shape[2] else 0


def split_network(
    module: nn.Module, found: BlockSequence, first: str, example: torch.Tensor
) -> tuple[nn.Sequential, nn.Module]:
    """Splits a network in two: what comes before a block, and the rest.

    Args:
        module: a network; left as it was.
        found: its sequence.
        first: one of its blocks, the first of the second half.
        example: float32, shape (N, 3, H, W), where the network is; a size that it takes.

    Returns:
        Both halves share all parameters and buffers with `module`. The second is the same network with the blocks of
        the first replaced by Identity, so its tensors have the same names. Unused blocks with parameters are missing in
        it: GoogLeNet's auxiliary classifiers teach what is before them, and that does not learn. So are a
        transformer's parameters that are in no block, such as its position embeddings.

    Raises:
        ModelError: the halves one after the other do not give the network's very logits.
    """
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
    if _has_two_methods(module):
        frozen = _replace_blocks(module, found.names[place:], ())
        trainable = _replace_blocks(module, found.names[:place], found.unused)
        vars(frozen)["forward_head"] = vars(trainable)[method] = _return_input
        trainable._parameters = dict.fromkeys(trainable._parameters)  # what is in no block acts on the input
        yield nn.Sequential(frozen), trainable


def _equal(frozen: nn.Module, trainable: nn.Module, module: nn.Module, example: torch.Tensor) -> bool:
    """Whether the halves give the very logits of the whole."""
    with _eval_mode(module), _eval_mode(trainable), _eval_mode(frozen), torch.no_grad(), _fill_zeros(module):
        try:
            return torch.equal(trainable(frozen(example)), module(example))
        except _WRONG_INPUT:  # a half got what it was not made for
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
    copy = _shallow_copy(module)
    copies = {id(copy)}

    def owner_of(name: str) -> tuple[nn.Module, str]:
        *path, leaf = name.split(".")
        owner = copy
        for step in path:
            inner = owner.get_submodule(step)
            if id(inner) not in copies:
                inner = _shallow_copy(inner)
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
