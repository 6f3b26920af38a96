"""A network built, filled and counted: an architecture as its authors built it, or with attention and another head.

Initial weights are a function of the seed, never of global state. What belongs to the classes stays fresh. What a
network costs is the same on every machine; architectures are counted on the meta device, where there are shapes only:
even the largest takes a moment.
"""

import sys
import warnings
from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from podium.config.models import Head, Network
from podium.core.errors import ModelError, first_few, one_line
from podium.data.randomness import number
from podium.models.zoo.families import Family, classifiers, family, image_size
from podium.models.zoo.layers import NearestNeighbours, block, build_head


def create(network: Network, classes: int, seed: int, side: int | None = None) -> nn.Module:
    """Builds a network with fresh weights; in a probe by nearest neighbours these stand in place of its last layer.

    With no attention and the architecture's own pooling it is the architecture as its authors built it, with
    `head.dropout` in its own head. Otherwise it is a `Composed`, where `own` pooling is the average. In both the layer
    that gives the logits is drawn as torch draws its linear layers, so that training starts near a loss of ln(C).

    Args:
        network: architecture, attention and where it is, head.
        classes: outputs of the head.
        seed: of the experiment; decides the weights.
        side: pixels a side of the images, for networks that are built for one size (ViT, Swin); None = the size that
            the architecture is usually given.

    Returns:
        A float32 module on the default device (the CPU), in training mode. Images float32 (N, 3, H, W) give logits
        (N, C); GoogLeNet's own form gives a tuple with its auxiliary logits while it trains.

    Raises:
        ModelError: there is no such architecture (the nearest names are given), it has no feature map to put
            attention or another head on, or for a probe no single last layer.
    """
    module = _assemble(network, classes, seed, side)
    if network.classifier != "network":
        name = classifier_name(module)
        if network.classifier == "nearest_neighbours":
            module.set_submodule(name, NearestNeighbours(classes))
    return module


def _assemble(network: Network, classes: int, seed: int, side: int | None) -> nn.Module:
    """The network of `create` with the head that could be trained."""
    builder, name = family(network.architecture)
    side = builder.image_size(name) if side is None else side
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(number(seed, "weights", 0))
        if network.attention == "none" and network.head == Head(dropout=network.head.dropout):
            whole = builder.whole(name, classes, network.head.dropout, side)
            _draw_classifiers(whole)
            return whole
        channels = _channels(builder, network.architecture, name, side)
        with torch.device("meta"):
            complete = builder.whole(name, 1, 0.0, side).state_dict().keys()
        if network.attention_at == "blocks":
            backbone, attention = builder.blocks_with(name, partial(block, network.attention)), block("none", channels)
        else:
            backbone, attention = builder.features(name, side), block(network.attention, channels)
        head = build_head(channels, network.head, classes)
        return Composed(backbone, attention, head, frozenset(complete - backbone.state_dict().keys()))


def _draw_classifiers(whole: nn.Module) -> None:
    """Draws the layers that give the logits within 1 / sqrt(features), in place.

    Authors' rules were made for 1000 classes and long training: timm's for EfficientNets reaches 1 / sqrt(classes),
    0.45 for five, and starts at a loss of several nats (`docs/results.md`).
    """
    for part in classifiers(whole):
        layers = [layer for layer in part.modules() if isinstance(layer, nn.Linear | nn.modules.conv._ConvNd)]
        layers[-1].reset_parameters()


def initialise(module: nn.Module, scheme: Literal["xavier", "kaiming"], seed: int) -> None:
    """Draws the weights of all convolutions and linear layers anew, in place, and sets their biases to 0.

    Args:
        module: as `create` made it.
        scheme: `xavier` = uniform, fan in and fan out (Glorot and Bengio 2010); `kaiming` = normal, for ReLU, fan out
            (He et al. 2015), as torchvision's ResNets are made.
        seed: of the experiment; decides the weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(number(seed, "weights", 0))
        for layer in module.modules():
            if isinstance(layer, nn.Linear | nn.modules.conv._ConvNd):  # the base of all its kinds
                if scheme == "xavier":
                    nn.init.xavier_uniform_(layer.weight)
                else:
                    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)


def _channels(builder: Family, architecture: str, name: str, side: int) -> int:
    """Channels of the feature map, found on the meta device, where shapes are computed and no numbers.

    A square image has a square map, so a map whose last two sides differ has its channels elsewhere.
    """
    with torch.device("meta"), torch.no_grad():
        shape = tuple(builder.features(name, side).eval()(torch.empty(1, 3, side, side)).shape)
    if len(shape) != 4 or shape[2] != shape[3]:
        raise ModelError(
            f"the features of {architecture} have the shape {shape} and are no map (N, C, H, W) to put attention or "
            "another head on: leave attention, head.pooling and head.hidden out, or choose a convolutional architecture"
        )
    return int(shape[1])


class Composed(nn.Sequential):
    """Children `backbone`, `attention`, `head`, in the order they are computed; the backbone keeps its own names.

    `replaced` names the tensors of the whole architecture that the backbone does without.
    """

    def __init__(self, backbone: nn.Module, attention: nn.Module, head: nn.Module, replaced: frozenset[str]) -> None:
        super().__init__(OrderedDict(backbone=backbone, attention=attention, head=head))
        self.replaced = replaced


_COUNTER = "num_batches_tracked"


def load_pretrained(module: nn.Module, path: Path) -> None:
    """Fills a network, except its head, from a file.

    The head belongs to the classes of the file, so it is never taken over: its tensors may be missing. Where attention
    or another head was put on a backbone, neither are the layers they replace.

    Args:
        module: as `create` made it; changed in place.
        path: a safetensors file with the names of the whole architecture (timm's or torchvision's own); float16 is
            widened to float32.

    Raises:
        ModelError: the file cannot be read, or a tensor besides the head's is missing, unknown or of another shape.
    """
    try:
        given = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"{path} cannot be read as safetensors ({one_line(error)}): run `dvc repro -f fetch`"
        ) from error
    body = module.get_submodule("backbone") if isinstance(module, Composed) else module
    fresh = module.replaced if isinstance(module, Composed) else classifier_names(module)
    own = {name: tensor for name, tensor in body.state_dict().items() if name not in fresh}
    of_a_probe = tuple(f"{name}." for name, part in body.named_modules() if isinstance(part, NearestNeighbours))
    kept = {name: tensor for name, tensor in given.items() if name not in fresh and not name.startswith(of_a_probe)}
    given = _fitted(body, kept)
    problems = _problems(own, given)
    if problems:
        raise ModelError(
            f"{path.name} does not fit the architecture: {first_few(problems, 3)}: "
            "check models.<name>.architecture and models.<name>.weights"
        )
    body.load_state_dict({name: tensor.to(own[name].dtype) for name, tensor in given.items()}, strict=False)


def _fitted(body: nn.Module, given: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights of one image size for a network of another, where timm knows how: positions are interpolated."""
    own = body.state_dict()
    fit = getattr(sys.modules[type(body).__module__], "checkpoint_filter_fn", None)
    if fit is None or all(given[name].shape == own[name].shape for name in own.keys() & given.keys()):
        return given
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=UserWarning, module="timm")  # how timm interpolates
            fitted: dict[str, torch.Tensor] = fit(given, body)
    except (KeyError, RuntimeError, ValueError):  # these are no weights of this architecture: told tensor by tensor
        return given
    return {name: fitted[name] for name in fitted if name in given}


def classifier_names(module: nn.Module) -> frozenset[str]:
    """Tensors that no file fills, by their names in `state_dict`: those of the classes, and attention with its head.

    Args:
        module: as `create` made it.
    """
    if isinstance(module, Composed):
        return frozenset(name for name in module.state_dict() if not name.startswith("backbone."))
    fresh = classifiers(module)
    return frozenset(
        f"{name}.{tensor}"
        for name, part in module.named_modules()
        if any(part is one for one in fresh)
        for tensor in part.state_dict()
    )


def classifier_parts(module: nn.Module) -> tuple[nn.Module, ...]:
    """The layers that give the logits, the main one first; `module` is as `create` made it."""
    return (module.get_submodule("head.fc"),) if isinstance(module, Composed) else classifiers(module)


def classifier_name(module: nn.Module) -> str:
    """The dotted name of the layer that gives the logits.

    Args:
        module: as `create` made it.

    Raises:
        ModelError: it is no single linear layer with a bias.
    """
    fresh = classifier_parts(module)
    layer = fresh[0]
    computed = isinstance(layer, NearestNeighbours) or (isinstance(layer, nn.Linear) and layer.bias is not None)
    if len(fresh) > 1 or not computed:
        raise ModelError(
            f"the logits of this architecture do not come from one linear layer ({len(fresh)} x "
            f"{type(layer).__name__}), so no probe can be fitted: choose another, or classifier: network"
        )
    names: list[str] = [name for name, part in module.named_modules() if part is layer]
    return names[0]


def _problems(own: dict[str, torch.Tensor], given: dict[str, torch.Tensor]) -> list[str]:
    """One sentence for every tensor that is missing, unknown or of another shape.

    Batch norm's counter may be missing: files from before torch 0.4.1 have none, and nothing here reads it.
    """
    return [
        *(f"{name} is missing" for name in sorted(own.keys() - given.keys()) if not name.endswith(_COUNTER)),
        *(f"{name} is unknown" for name in sorted(given.keys() - own.keys())),
        *(
            f"{name} is {tuple(given[name].shape)} instead of {tuple(own[name].shape)}"
            for name in sorted(own.keys() & given.keys())
            if own[name].shape != given[name].shape
        ),
    ]


def count_parameters(module: nn.Module) -> int:
    """All parameters, trainable or not; buffers such as running means are not counted."""
    return sum(parameter.numel() for parameter in module.parameters())


def flops(module: nn.Module, image_size: int) -> int:
    """Floating-point operations of one image, forward: 2 per multiply-add of convolutions and matrix products.

    Counted by torch's `FlopCounterMode`, which leaves out activations, norms and pooling. Attention is computed from
    plain matrix products, because the CPU's fused kernel would not be counted. A pure function of architecture and
    size.

    Args:
        module: a network, on any device; on the meta device nothing is computed.
        image_size: pixels a side.

    Raises:
        ModelError: the network does not take images of that size.
    """
    # Detached: the counter's hooks fail on views of parameters that require gradients, where there are none.
    tensors = {name: tensor.detach() for name, tensor in chain(module.named_parameters(), module.named_buffers())}
    images = torch.zeros(1, 3, image_size, image_size, device=next(module.parameters()).device)
    was_training = module.training
    module.eval()
    try:
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            functional_call(module, tensors, (images,))
    except (AssertionError, RuntimeError, ValueError) as error:  # what networks and torch raise for a wrong size
        raise ModelError(
            f"this architecture does not take images of {image_size} px ({one_line(error)}): "
            "change preprocess.image_size or the architecture"
        ) from error
    finally:
        module.train(was_training)
    return int(counter.get_total_flops())


_SIDES = (32, 48, 64, 96, 112, 128, 160, 192, 224, 240, 256, 288, 320, 384, 448, 512)


def check_size(network: Network, side: int) -> None:
    """Refuses a size of images that a network cannot take; it is built without numbers, which takes a moment.

    Raises:
        ModelError: it cannot; usual sizes next to it that it takes are named. Or there is no such architecture.
    """
    family(network.architecture)
    if error := _refusal(network, side):
        taken = [other for other in sorted(_SIDES, key=lambda s: abs(s - side)) if not _refusal(network, other)][:3]
        sizes = f"; it takes {', '.join(map(str, sorted(taken)))}" if taken else ""
        raise ModelError(f"{network.architecture}: {error}{sizes}")


def _refusal(network: Network, side: int) -> str:
    """Why a network does not take a size; empty where it does, or needs numbers to be built: then tune will say."""
    try:
        with torch.device("meta"):
            flops(create(network, 2, 0, side), side)
    except (ModelError, RuntimeError) as error:
        return "" if "meta" in str(error).casefold() else one_line(error)
    return ""


CLASSES = 1000
"""ImageNet's, with which architectures are usually quoted."""


@dataclass(frozen=True)
class ArchitectureCost:
    """What it costs with its own head and 1000 classes, auxiliary classifiers among the parameters.

    `flops` are those of one image of `image_size` pixels a side, forward, 2 per multiply-add.
    """

    architecture: str
    image_size: int
    parameters: int
    flops: int


def figures(architecture: str) -> ArchitectureCost:
    """Builds an architecture without its weights' values and counts; a `ModelError` where there is none."""
    side, module = image_size(architecture), build_on_meta(architecture)
    return ArchitectureCost(architecture, side, count_parameters(module), flops(module, side))


def build_on_meta(architecture: str) -> nn.Module:
    """The network with its own head on the meta device, where tensors have shapes and no values.

    Raises:
        ModelError: there is no such architecture.
    """
    with torch.device("meta"):
        return create(Network(architecture=architecture), CLASSES, 0)
