"""Filling a network from a file of published weights; what belongs to the classes stays fresh."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from podium.core.errors import ModelError, one_line
from podium.models.zoo import torchvision_family
from podium.models.zoo.composed import Composed

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
    given = {name: tensor for name, tensor in given.items() if name not in fresh}
    problems = _problems(own, given)
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise ModelError(
            f"{path.name} does not fit the architecture: {', '.join(problems[:3])}{more}: "
            "check models.<name>.architecture and models.<name>.weights"
        )
    body.load_state_dict({name: tensor.to(own[name].dtype) for name, tensor in given.items()}, strict=False)


def classifier_names(module: nn.Module) -> frozenset[str]:
    """Tensors that no file fills, by their names in `state_dict`: those of the classes, and attention with its head.

    Args:
        module: as `create` made it.
    """
    fresh = _fresh(module)
    return frozenset(
        f"{name}.{tensor}"
        for name, part in module.named_modules()
        if any(part is one for one in fresh)
        for tensor in part.state_dict()
    )


def _fresh(module: nn.Module) -> tuple[nn.Module, ...]:
    """The submodules whose weights no file fills; distilled transformers have two classifiers."""
    if isinstance(module, Composed):
        return (module.get_submodule("attention"), module.get_submodule("head"))
    if type(module).__module__.startswith("torchvision."):
        return torchvision_family.classifiers(module)
    found = module.get_classifier()  # type: ignore[operator]  # timm's networks and Cnn have it, nn.Module does not say
    return found if isinstance(found, tuple) else (found,)


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
