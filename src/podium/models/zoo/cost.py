"""What a network costs: parameters and floating-point operations, the same on every machine."""

from itertools import chain

import torch
from torch import nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from podium.core.errors import ModelError, one_line


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
