"""Makes `import torchvision` work where a CPU build of torch meets a torchvision built for another one.

There, two operator schemas are missing and ``import torchvision`` (which timm does) fails with ``operator
torchvision::nms does not exist``. They are defined the moment somebody imports torchvision; nothing is paid before.
"""

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)

_kept_alive: list[object] = []  # a torch library's definitions live as long as the object does


class _SchemasBeforeTorchvision(importlib.abc.MetaPathFinder):
    """Finds nothing: it only runs once, just before torchvision is looked up."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Always None, which tells importlib to ask the next finder."""
        if fullname != "torchvision":
            return None
        sys.meta_path.remove(self)
        _define_missing_schemas()
        return None


def _define_missing_schemas() -> None:
    """Declares the operators without an implementation, which is enough to import torchvision."""
    import torch

    spec = importlib.machinery.PathFinder.find_spec("torchvision")
    if spec is None or torch.version.cuda is not None or torch.version.hip is not None:
        return  # a matching build brings its own operators
    make: Callable[[str, str], Any] = torch.library.Library
    library = make("torchvision", "FRAGMENT")
    for schema in _SCHEMAS:
        library.define(schema)
    _kept_alive.append(library)


def install() -> None:
    """Registers the definition; safe to call twice."""
    known = any(isinstance(finder, _SchemasBeforeTorchvision) for finder in sys.meta_path)
    if "torchvision" not in sys.modules and not known:
        sys.meta_path.insert(0, _SchemasBeforeTorchvision())
