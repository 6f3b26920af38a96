"""What a network costs: parameters and floating-point operations, the same on every machine.

Architectures are built on the meta device, where there are shapes only: even the largest takes a moment.
"""

from dataclasses import dataclass
from itertools import chain

import torch
from torch import nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from podium.config.network import Network
from podium.core.errors import ModelError, one_line
from podium.models.zoo.build import create
from podium.models.zoo.families import image_size


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


CLASSES = 1000
"""ImageNet's, with which architectures are usually quoted."""


@dataclass(frozen=True)
class ArchitectureCost:
    """What an architecture costs with its own head and 1000 classes.

    `parameters` includes auxiliary classifiers. `flops` are those of one image of `image_size` pixels a side, forward,
    2 per multiply-add.
    """

    architecture: str
    image_size: int
    parameters: int
    flops: int


def figures(architecture: str) -> ArchitectureCost:
    """Builds an architecture without its weights' values and counts.

    Raises:
        ModelError: there is no such architecture.
    """
    side = image_size(architecture)
    module = build_on_meta(architecture)
    return ArchitectureCost(architecture, side, count_parameters(module), flops(module, side))


def build_on_meta(architecture: str) -> nn.Module:
    """The network with its own head on the meta device, where tensors have shapes and no values.

    Raises:
        ModelError: there is no such architecture.
    """
    with torch.device("meta"):
        return create(Network(architecture=architecture), CLASSES, 0)
