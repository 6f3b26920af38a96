"""Tensors of a weights file, read without running anything in it, and under the names their network has.

torch, timm and safetensors are imported where a function needs them.
"""

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from podium.core.errors import DataError, one_line
from podium.weights.published import TORCHVISION, Published

if TYPE_CHECKING:
    import torch

_TORCH: Final = (".pth", ".pt")
_PICKLE_OR_ZIP: Final = (b"\x80", b"PK\x03\x04")
_NESTED: Final = ("state_dict", "model")
_ASKED_FOR: Final = re.compile(r"GLOBAL ([\w.]+)")
_WHY: Final = "opening a pickle can run any code"
_PARALLEL: Final = "module."
_AUXILIARY: Final = ("googlenet", "inception_v3")  # they warn unless told how to begin, and begin slowly


def is_pickled(path: Path, name: str, shown: str) -> bool:
    """Whether a file is torch's own kind, to be read with `read_state_dict`.

    Args:
        path: the file.
        name: what it was called where it came from.
        shown: what messages call it.

    Returns:
        True for a pickle (also inside a zip, as torch writes them) named `.pth` or `.pt`; False for what is to be read
        as safetensors.

    Raises:
        DataError: it is a pickle under another name.
    """
    with path.open("rb") as stream:
        start = stream.read(9)
    torch_made = PurePosixPath(name).suffix.lower() in _TORCH
    if start.startswith(_PICKLE_OR_ZIP) and start[8:] != b"{" and not torch_made:  # a header of 128 bytes begins alike
        raise DataError(
            f"{shown} is not a readable safetensors file but a pickle or an archive, which is refused since {_WHY}: "
            "give the weights as .safetensors, or as the .pth file of a state dict under that name"
        )
    return torch_made


def read_metadata(path: Path, shown: str) -> dict[str, str]:
    """Metadata of a safetensors file, sorted by key.

    Raises:
        DataError: it is not such a file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as tensors:
            return dict(sorted((tensors.metadata() or {}).items()))
    except SafetensorError as error:
        raise DataError(f"{shown} is not a readable safetensors file ({one_line(error)}): make it again") from error


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors in a safetensors file that `read_metadata` has read."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as tensors:
        return {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118


def read_state_dict(path: Path, shown: str) -> "dict[str, torch.Tensor]":
    """Tensors of a `.pth` or `.pt` file, read as data: nothing in it is run.

    Args:
        path: the file.
        shown: what messages call it.

    Returns:
        By name, on the CPU; a dict under `state_dict` or `model` is taken out, the `module.` of a parallel wrapper is
        taken off.

    Raises:
        DataError: torch refuses it with `weights_only=True`, or it holds no state dict.
    """
    import torch

    try:
        # Hostile bytes make the unpickler, the zip reader and torch raise errors of any kind, so whatever this one
        # call raises is its verdict on the file.
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        asked = _ASKED_FOR.search(str(error))
        said = f"it asks for {asked[1]}" if asked else one_line(error).partition(". ")[0]
        raise DataError(
            f"{shown} is refused ({said}): only tensors are read, since {_WHY}; save its state dict as .safetensors "
            "where you trust the file"
        ) from error
    for key in _NESTED:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
            break
    if not isinstance(loaded, Mapping) or not loaded:
        raise DataError(
            f"{shown} holds a {type(loaded).__name__} and no state dict: give a dict of tensors by name, at its top or "
            f"under {' or '.join(_NESTED)}"
        )
    for name, value in loaded.items():
        if not isinstance(name, str) or not _is_plain(value):
            raise DataError(
                f"{shown} holds {name!r}, which is no dense tensor of real numbers: save a state dict without it"
            )
    wrapped = all(name.startswith(_PARALLEL) for name in loaded)
    return {name.removeprefix(_PARALLEL) if wrapped else name: tensor for name, tensor in loaded.items()}


def _is_plain(value: object) -> bool:
    """Whether it is a dense tensor of real numbers that has all of its bytes."""
    import torch

    return (
        isinstance(value, torch.Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and value.untyped_storage().nbytes() >= value.numel() * value.element_size()  # not one number a billion times
        and not value.is_quantized
        and not value.is_complex()
    )


def fits_network(weights: Published, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether a file is known to hold the tensors of its network, no more and no less.

    Args:
        weights: what was published.
        shapes: of the file's tensors, by name.

    Returns:
        Never True for torchvision's: some of its networks cannot be built without computing.
    """
    if weights.architecture.startswith(TORCHVISION):
        return False
    import torch

    from podium.core.vision import timm

    with torch.device("meta"):  # nothing is computed and no memory is taken
        module = timm.create_model(weights.name, pretrained=False)
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()} == dict(shapes)


def convert_tensors(weights: Published, tensors: "Mapping[str, torch.Tensor]") -> "dict[str, torch.Tensor]":
    """The state of the network after its library has loaded the tensors.

    Most files on the hub hold exactly that. Some carry old names, buffers no longer stored or a classifier with a class
    too many: for those the library's own loader is run, offline, on the verified tensors.

    Args:
        weights: what was published.
        tensors: those of the file.

    Returns:
        By name; of the network's dtype, float32.

    Raises:
        DataError: the library cannot load them.
    """
    from podium.core.vision import timm, torchvision

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
