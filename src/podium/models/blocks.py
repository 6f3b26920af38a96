"""A network as an ordered sequence of blocks, so that its front can be frozen and its back trained alone.

Blocks are a network's children, with plain Sequentials (and timm's heads, which are sequences too) opened. That one
follows the other is not taken on trust: `freezing.split_network` proves it wherever a network is split. So one
mechanism serves timm, torchvision and our own networks.

Transformers and the like have no feature maps and are more than their children one after the other: they add position
embeddings, say. timm computes them in two methods, `forward_features` and `forward_head`, and so the head is what the
second one calls. Before it, every block of a repeated sequence is a stage of its own: blocks have the same resolution,
so there is no other place to part them, and rates that fall from layer to layer are published block by block (BEiT,
Bao et al. 2022). The embedding is the first stage; a norm behind the last block goes with that block.
"""

import copy
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from podium.config.network import Network
from podium.core.errors import ModelError, one_line
from podium.core.vision import timm
from podium.models.zoo.build import Composed
from podium.models.zoo.families import image_size

BACKBONE = "backbone."
"""How the names of a composed network's blocks start, but for those of its attention and its head."""

WRONG_INPUT = (AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What networks raise for an input that does not fit."""

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


def block_names(module: nn.Module) -> list[str]:
    """Dotted names of a network's blocks in the order in which they were made; no block holds another.

    A composed network (backbone, attention, head) has the blocks of its backbone under `backbone.`.
    """
    return _names(module, _CONTAINERS)


def find_blocks(module: nn.Module, network: Network) -> BlockSequence:
    """Finds a network's blocks and stages without computing a number.

    A stage begins where the resolution of the feature map falls, at the architecture's usual image size: at a toy
    size the last maps could all be one pixel. A stage without parameters joins the one before. The last stage is the
    head: all that follows the last feature map of more than one pixel, with attention that was added to a backbone.
    Without feature maps, stages are the embedding, each block, and the head, as this module's first lines say.

    Raises:
        ModelError: the network does not take images of its usual size.
    """
    side = image_size(network.architecture)
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
    """The first of one or more blocks that does not merely transform, such as pooling, the same way in training.

    The last block where all merely transform. What is stored after a pooling layer is smaller than what is before it.
    """
    return next((name for name in names if not _is_fixed(module.get_submodule(name))), names[-1])


def has_parameters(module: nn.Module, names: Sequence[str]) -> bool:
    """Whether any of some blocks has something to learn."""
    return any(True for name in names for _ in module.get_submodule(name).parameters())


def not_freezable(network: Network) -> str:
    """The message for a network that cannot be frozen in part."""
    return (
        f"{network.architecture} has no sequence of feature maps here, so no part of it can be frozen, unfrozen by "
        "stage or given a rate of its own: use `trainable: all`, layer_decay 1 and no unfreeze_every"
    )


def has_two_methods(module: nn.Module) -> bool:
    """Whether a network is computed in two steps, as timm's are: `forward_features`, then `forward_head`."""
    return all(callable(getattr(module, method, None)) for method in ("forward_features", "forward_head"))


def return_input(x: torch.Tensor, **_ignored: object) -> torch.Tensor:
    """Instead of a method of a network that is not to do anything."""
    return x


def shallow_copy(module: nn.Module) -> nn.Module:
    """A module of its own that shares parameters, buffers and children."""
    shallow = copy.copy(module)
    shallow._modules = dict(module._modules)
    return shallow


@contextmanager
def eval_mode(module: nn.Module) -> Iterator[None]:
    """Evaluation mode within the block; every part then has the mode it had."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def _names(module: nn.Module, containers: Sequence[type[nn.Module]]) -> list[str]:
    composed = isinstance(module, Composed)
    return [
        name
        for child, part in module.named_children()
        for name in _open_containers(part, child, containers, whole=composed and f"{child}." == BACKBONE)
    ]


def _open_containers(
    part: nn.Module, name: str, containers: Sequence[type[nn.Module]], whole: bool = False
) -> Iterator[str]:
    children = list(part.named_children())
    if children and (whole or type(part) in containers):
        for child, inner in children:
            yield from _open_containers(inner, f"{name}.{child}", containers)
    else:
        yield name


def _by_methods(module: nn.Module, side: int) -> BlockSequence:
    """The sequence of a network without feature maps; no stages where timm's two methods do not compute it.

    What learns but is never called itself (a table of positions, say) is used by methods on the way to the blocks, so
    it belongs to the first stage.
    """
    if not has_two_methods(module):
        return BlockSequence((), tuple(block_names(module)))
    names = _names(module, (*_CONTAINERS, nn.ModuleList))
    headless = shallow_copy(module)
    vars(headless)["forward_head"] = return_input
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

    def noting(name: str) -> Callable[[nn.Module, object, object], None]:
        def note(_unit: nn.Module, _given: object, out: object) -> None:
            shapes.setdefault(name, out.shape if isinstance(out, torch.Tensor) else torch.Size())

        return note

    handles = [module.get_submodule(name).register_forward_hook(noting(name)) for name in names]
    tensors = {
        name: tensor.detach().to("meta")
        for name, tensor in itertools.chain(module.named_parameters(), module.named_buffers())
    }
    try:
        with eval_mode(module), torch.no_grad():
            torch.func.functional_call(module, tensors, (torch.zeros(1, 3, side, side, device="meta"),))
    except WRONG_INPUT as error:
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
