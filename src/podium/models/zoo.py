"""Architectures: timm's, by timm's names. Initial weights are a function of the seed, never of global state.

Importing this costs seconds (torch, timm, torchvision): do it at the point of use.
"""

import difflib
from pathlib import Path

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from podium.core.config.contender import Network
from podium.core.errors import ModelError, one_line
from podium.data.randomness import number


def create(network: Network, classes: int, seed: int) -> nn.Module:
    """Builds a network with fresh weights.

    Args:
        network: architecture, attention, head.
        classes: outputs of the head.
        seed: of the experiment; decides the weights.

    Returns:
        A float32 module on the CPU, in training mode.

    Raises:
        ModelError: timm knows no such architecture; the nearest names are given.
    """
    _check_known(network.architecture)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(number(seed, "weights", 0))
        module: nn.Module = timm.create_model(
            network.architecture, pretrained=False, num_classes=classes, drop_rate=network.head.dropout
        )
    return module


def load_pretrained(module: nn.Module, path: Path) -> None:
    """Fills a network, except its head, from a file.

    The head belongs to the classes of the file, so it is never taken over: its tensors may be missing.

    Args:
        module: as `create` made it; changed in place.
        path: a safetensors file with timm's tensor names; float16 is widened to float32.

    Raises:
        ModelError: the file cannot be read, or a tensor besides the head's is missing, unknown or of another shape.
    """
    try:
        given = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"{path} cannot be read as safetensors ({one_line(error)}): run `dvc repro -f fetch`"
        ) from error
    head = _head_names(module)
    own = {name: tensor for name, tensor in module.state_dict().items() if name not in head}
    given = {name: tensor for name, tensor in given.items() if name not in head}
    problems = [
        *(f"{name} is missing" for name in sorted(own.keys() - given.keys())),
        *(f"{name} is unknown" for name in sorted(given.keys() - own.keys())),
        *(
            f"{name} is {tuple(given[name].shape)} instead of {tuple(own[name].shape)}"
            for name in sorted(own.keys() & given.keys())
            if own[name].shape != given[name].shape
        ),
    ]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise ModelError(
            f"{path.name} does not fit the architecture: {', '.join(problems[:3])}{more}: "
            "check models.<name>.architecture and models.<name>.weights"
        )
    module.load_state_dict({name: tensor.to(own[name].dtype) for name, tensor in given.items()}, strict=False)


def normalisation(architecture: str) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and standard deviation per channel that timm lists for an architecture, of values in [0, 1].

    Raises:
        ModelError: the architecture is unknown, or does not take three channels.
    """
    _check_known(architecture)
    known = timm.get_pretrained_cfg(architecture)
    if known is None:
        return timm.data.IMAGENET_DEFAULT_MEAN, timm.data.IMAGENET_DEFAULT_STD  # what timm itself falls back on
    if len(known.mean) != 3 or len(known.std) != 3:
        raise ModelError(f"{architecture} takes {len(known.mean)} channels, images have 3: choose another architecture")
    return tuple(known.mean), tuple(known.std)


def count_parameters(module: nn.Module) -> int:
    """All parameters, trainable or not; buffers such as running means are not counted."""
    return sum(parameter.numel() for parameter in module.parameters())


def flops(module: nn.Module, image_size: int) -> int:
    """Floating-point operations of one image, forward: 2 per multiply-add of convolutions and matrix products.

    Counted by torch's `FlopCounterMode`, which leaves out activations, norms and pooling. A pure function of
    architecture and size: the same on every machine.

    Args:
        module: a network.
        image_size: pixels a side.

    Raises:
        ModelError: the network does not take images of that size.
    """
    parameter = next(module.parameters())
    was_training = module.training
    module.eval()
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            module(torch.zeros(1, 3, image_size, image_size, device=parameter.device))
    except (AssertionError, RuntimeError, ValueError) as error:  # what timm's networks and torch raise for a wrong size
        raise ModelError(
            f"this architecture does not take images of {image_size} px ({one_line(error)}): "
            "change preprocess.image_size or the architecture"
        ) from error
    finally:
        module.train(was_training)
    return int(counter.get_total_flops())


def _check_known(architecture: str) -> None:
    if timm.is_model(architecture):
        tags = [name.partition(".")[2] for name in timm.list_pretrained(architecture.partition(".")[0] + ".*")]
        tag = architecture.partition(".")[2]
        if not tag or tag in tags:
            return
        raise ModelError(
            f"architecture {architecture!r} has no tag {tag!r} in timm: leave it out, or use one of {tags}"
        )
    near = difflib.get_close_matches(architecture, timm.list_models(), n=3, cutoff=0.4)
    hint = f"; did you mean {', '.join(near)}?" if near else ""
    raise ModelError(f"architecture {architecture!r} is not known to timm{hint}: choose one of timm.list_models()")


def _head_names(module: nn.Module) -> set[str]:
    """Names of the classifier's tensors; distilled transformers have two classifiers."""
    found = module.get_classifier()  # type: ignore[operator]  # every timm network has it, nn.Module does not say so
    heads = found if isinstance(found, tuple) else (found,)
    return {
        f"{name}.{tensor}"
        for name, part in module.named_modules()
        if any(part is head for head in heads)
        for tensor in part.state_dict()
    }
