"""timm and torchvision: the one module that imports them, so that they also import beside a CPU build of torch.

Where a CPU build of torch meets a torchvision built for another one, two operator schemas are missing and
``import torchvision`` (which timm does) fails with ``operator torchvision::nms does not exist``. They are declared
here, without an implementation, before the first import; every other module takes both libraries from this one.
"""

import importlib.util
from collections.abc import Callable
from typing import Any

import torch

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


def _declare_missing_operators() -> object:
    """Declares what no build of torchvision for this torch can bring; lives as long as what is returned."""
    if importlib.util.find_spec("torchvision") is None or torch.version.cuda or torch.version.hip:
        return None
    make: Callable[[str, str], Any] = torch.library.Library
    library = make("torchvision", "FRAGMENT")
    for schema in _SCHEMAS:
        library.define(schema)
    return library


_KEPT = _declare_missing_operators()

import timm  # noqa: E402 - after the declarations
import timm.layers  # noqa: E402
import timm.optim  # noqa: E402
import torchvision  # noqa: E402

__all__ = ["timm", "torchvision"]
