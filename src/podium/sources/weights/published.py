"""What timm and torchvision publish for an architecture: names, licences, pretraining, sizes, addresses.

Read from the installed libraries, never from the network. timm and torchvision are imported where they are asked.
Stands on `core`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from podium.core.errors import ModelError
from podium.records.base import Triple
from podium.sources.weights.pretraining import UNKNOWN, of_enum, of_tag

TORCHVISION: Final = "torchvision/"
_HUB_FILE: Final = "model.safetensors"
_HALF: Final = (0.5, 0.5, 0.5)
# With their weights torchvision turns on a transform from ImageNet's normalisation to this one; built without, as
# Podium does, they want it straight away.
_NORMALISED_BY_HALVES: Final = ("googlenet", "inception_v3")
_UNFIT: Final = "IMAGENET1K_FEATURES"  # vgg16 without a classifier: its place is filled with NaN


@dataclass(frozen=True)
class HubFile:
    """A file in a repository of the Hugging Face hub, at a branch, tag or commit."""

    repository: str
    file: str
    revision: str | None = None


@dataclass(frozen=True)
class Published:
    """One set of published weights.

    Attributes:
        name: as `models.<name>.weights` says it.
        architecture: as `models.<name>.architecture` says it.
        licence: as the library states it, `unknown` where it does not.
        pretraining: canonical (`pretraining.py`).
        image_size: pixels a side in training.
        mean, std: of every channel of images in [0, 1], as the weights expect them.
        place: where the file is: on the hub, or at an https address.
    """

    name: str
    architecture: str
    licence: str
    pretraining: str
    image_size: int
    mean: Triple
    std: Triple
    place: HubFile | str


@dataclass(frozen=True)
class Proposal:
    """Weights of several architectures that make a fair comparison.

    Attributes:
        pretraining: what all have seen.
        image_size: pixels a side they were trained at; None where no size is common to all.
        choices: for each architecture, in the order asked for, those to choose one from.
    """

    pretraining: str
    image_size: int | None
    choices: tuple[tuple[Published, ...], ...]


def published(architecture: str) -> tuple[Published, ...]:
    """All published weights of an architecture.

    Args:
        architecture: a timm name without tag, `torchvision/<name>`, or one of Podium's own.

    Returns:
        The library's default first; none where nothing is published.
    """
    if architecture.startswith(TORCHVISION):
        return _of_torchvision(architecture.removeprefix(TORCHVISION))
    return _of_timm(architecture)


def matched(architectures: Sequence[str]) -> tuple[Proposal, ...]:
    """Weights with equal pretraining, so that a comparison of architectures is one of architectures.

    Args:
        architectures: two or more.

    Returns:
        Those with equal image size first; the pretraining and sizes of the first architecture's default lead.

    Raises:
        ModelError: nothing is published for one of them.
    """
    all_of = [published(architecture) for architecture in architectures]
    for architecture, found in zip(architectures, all_of, strict=True):
        if not found:
            raise ModelError(
                f"no weights are published for architecture {architecture!r}: `podium models` lists those with weights"
            )
    equal, unequal = [], []
    for pretraining in dict.fromkeys(each.pretraining for each in all_of[0]):
        choices = tuple(tuple(each for each in found if each.pretraining == pretraining) for found in all_of)
        if pretraining == UNKNOWN or not all(choices):
            continue
        sizes = [size for size in _sizes(choices[0]) if all(size in _sizes(found) for found in choices)]
        equal += [Proposal(pretraining, size, tuple(_of_size(found, size) for found in choices)) for size in sizes]
        if not sizes:
            unequal.append(Proposal(pretraining, None, choices))
    return (*equal, *unequal)


def _sizes(found: Sequence[Published]) -> dict[int, None]:
    """Image sizes in the order of the weights, each once: the keys."""
    return dict.fromkeys(each.image_size for each in found)


def _of_size(found: Sequence[Published], image_size: int) -> tuple[Published, ...]:
    return tuple(each for each in found if each.image_size == image_size)


def _of_timm(architecture: str) -> tuple[Published, ...]:
    """What timm lists for an architecture, its default first."""
    from podium.core.vision import timm

    if not timm.is_model(architecture):
        return ()
    default = timm.get_pretrained_cfg(architecture)
    found = []
    for name in timm.list_pretrained(f"{architecture}.*"):
        said = timm.get_pretrained_cfg(name)
        if said.hf_hub_id:
            repository, _, revision = said.hf_hub_id.partition("@")
            place: HubFile | str = HubFile(repository, said.hf_hub_filename or _HUB_FILE, revision or None)
        else:
            place = said.url
        found.append(
            Published(
                name=name,
                architecture=architecture,
                licence=said.license or UNKNOWN,
                pretraining=of_tag(said.tag),
                image_size=said.input_size[-1],
                mean=said.mean,
                std=said.std,
                place=place,
            )
        )
    return tuple(sorted(found, key=lambda each: each.name != f"{architecture}.{default.tag}"))


def _of_torchvision(architecture: str) -> tuple[Published, ...]:
    """What torchvision lists for an architecture, the newest first; it states no licences."""
    from podium.core.vision import torchvision

    models = torchvision.models

    if architecture not in models.list_models(module=models):
        return ()
    found = []
    for weights in reversed(models.get_model_weights(architecture)):  # the newest is torchvision's default
        expects = weights.transforms()
        halves = architecture in _NORMALISED_BY_HALVES
        if weights.name != _UNFIT:
            found.append(
                Published(
                    name=str(weights),
                    architecture=TORCHVISION + architecture,
                    licence=UNKNOWN,
                    pretraining=of_enum(weights.name),
                    image_size=expects.crop_size[0],
                    mean=_HALF if halves else tuple(expects.mean),
                    std=_HALF if halves else tuple(expects.std),
                    place=weights.url,
                )
            )
    return tuple(found)
