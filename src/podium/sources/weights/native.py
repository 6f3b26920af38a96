"""Published tensors under the names of the network they belong to, as the library itself would fill it.

Most files on the hub hold exactly these. Some carry old names, buffers that are no longer stored or a classifier with a
class too many: for those the library's own loader is run, offline, on the verified tensors. Imports torch, timm.
"""

from collections.abc import Mapping

import torch

from podium.core.errors import DataError
from podium.core.vision import timm, torchvision
from podium.sources.weights.published import TORCHVISION, Published

_AUXILIARY = ("googlenet", "inception_v3")  # they warn unless told how to begin, and begin slowly


def is_native(weights: Published, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether a file is known to hold the tensors of its network, no more and no less.

    Args:
        weights: what was published.
        shapes: of the file's tensors, by name.

    Returns:
        Never True for torchvision's: some of its networks cannot be built without computing.
    """
    if weights.architecture.startswith(TORCHVISION):
        return False
    with torch.device("meta"):  # nothing is computed and no memory is taken
        module = timm.create_model(weights.name, pretrained=False)
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()} == dict(shapes)


def native(weights: Published, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The state of the network after its library has loaded the tensors.

    Args:
        weights: what was published.
        tensors: those of the file.

    Returns:
        By name; of the network's dtype, float32.

    Raises:
        DataError: the library cannot load them.
    """
    try:
        if weights.architecture.startswith(TORCHVISION):
            name = weights.architecture.removeprefix(TORCHVISION)
            begin = {"init_weights": False} if name in _AUXILIARY else {}
            module = torchvision.models.get_model(name, weights=None, **begin)
            module.load_state_dict(dict(tensors))
        else:
            given = {"state_dict": dict(tensors)}
            module = timm.create_model(weights.name, pretrained=True, pretrained_cfg_overlay=given)
    except (RuntimeError, KeyError, ValueError, TypeError, AttributeError) as error:  # what strangers' tensors lead to
        said = " ".join(str(error).split())[:200]
        raise DataError(
            f"{weights.name} does not fit {weights.architecture} of the installed library ({said}): use other weights "
            "or another version of it"
        ) from error
    return dict(module.state_dict())
