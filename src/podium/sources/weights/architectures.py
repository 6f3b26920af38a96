"""Which architectures can be built, told before anything is downloaded and without importing timm or torchvision.

These take seconds to import, and of a network from random weights or from a file `fetch` needs no more than its name.
So the names are read from the libraries' sources as installed, within 0.1 s; a name that is not found there is put to
the library itself. Stands on `core`.
"""

import difflib
import re
from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Final

from podium.core.errors import ParamsError
from podium.sources.weights.published import TORCHVISION

_OWN: Final = ("cnn",)
_OF_TORCHVISION: Final = ("alexnet", "googlenet", "resnet", "vgg")  # its modules; the others are not built
_REGISTERED: Final = re.compile(r"^@register_model\b.*\n(?:@.*\n)*def (\w+)\(", re.MULTILINE)


def check_architecture(key: str, architecture: str) -> None:
    """Refuses an architecture that no later stage could build.

    Args:
        key: whose value it is, such as `models.resnet18.architecture`.
        architecture: a timm name without tag, `torchvision/<name>`, or one of Podium's own.

    Raises:
        ParamsError: there is none of that name (the nearest are given), or it has the tag of weights.
    """
    if architecture in names():
        return
    bare = architecture.partition(".")[0]
    if not _is_built(architecture):
        raise ParamsError(
            f"{key} {architecture!r} is not known{_nearest(architecture)}: `podium models` lists the usual ones, "
            "`podium models 'resnet*'` those that match a pattern"
        )
    if bare != architecture:
        raise ParamsError(
            f"{key} {architecture!r} names weights too: write {bare!r} there, and the tag in full under weights"
        )


@cache
def names() -> tuple[str, ...]:
    """Every architecture that the installed sources name, without the older names that timm also answers to."""
    torchvisions = sorted(TORCHVISION + name for name in _registered("torchvision", _OF_TORCHVISION))
    return (*_OWN, *torchvisions, *sorted(_registered("timm", ("*",))))


def _registered(library: str, modules: tuple[str, ...]) -> set[str]:
    """What modules of a library's folder `models` register; nothing where it is installed without its sources."""
    found = PathFinder.find_spec(library)  # the usual `find_spec` would import torch: see `podium/__init__.py`
    folders = [Path(each) / "models" for each in (found and found.submodule_search_locations) or ()]
    files = [file for folder in folders for module in modules for file in folder.glob(f"{module}.py")]
    return {name for file in files for name in _REGISTERED.findall(file.read_text(encoding="utf-8"))}


def _is_built(architecture: str) -> bool:
    """What the library itself says."""
    if architecture.startswith(TORCHVISION):
        from podium.core.vision import torchvision

        models = torchvision.models
        name = architecture.removeprefix(TORCHVISION)
        if name not in models.list_models(module=models):
            return False
        return models.get_model_builder(name).__module__.rpartition(".")[2] in _OF_TORCHVISION
    from podium.core.vision import timm

    return "/" not in architecture and bool(timm.is_model(architecture))


def _nearest(architecture: str) -> str:
    """The same name in another library first, then similar ones."""
    bare = architecture.rpartition("/")[2].partition(".")[0]
    same = [name for name in names() if name.rpartition("/")[2] == bare]
    near = difflib.get_close_matches(architecture, names(), n=3, cutoff=0.4)
    found = list(dict.fromkeys([*same, *near]))[:3]
    return f"; did you mean {', '.join(found)}?" if found else ""
