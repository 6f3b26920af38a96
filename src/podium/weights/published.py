"""What timm and torchvision offer: architectures, the weights published for each, and which of them may be used.

Asked of the installed libraries, never of the network. They take seconds to import, so they are imported where a
function asks them. What the source of weights says of licence and pretraining counts; the keys of a model say what the
source leaves out and never overrule it.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from podium.config.models import WeightedNetwork, is_file
from podium.core.errors import DataError, ModelError, ParamsError
from podium.records.base import Triple
from podium.sources.locations import without_secrets

UNKNOWN: Final = "unknown"
TORCHVISION: Final = "torchvision/"
_OWN: Final = "cnn"
_BUILT_OF_TORCHVISION: Final = ("alexnet", "googlenet", "resnet", "vgg")  # its modules; the others are not built
_HUB_FILE: Final = "model.safetensors"
_HALF: Final = (0.5, 0.5, 0.5)
# With their weights torchvision turns on a transform from ImageNet's normalisation to this one; built without, as
# Podium does, they want it straight away.
_NORMALISED_BY_HALVES: Final = ("googlenet", "inception_v3")
_UNFIT: Final = "IMAGENET1K_FEATURES"  # vgg16 without a classifier: its place is filled with NaN
_SETS: Final = frozenset(
    (
        *("in1k", "in12k", "in21k", "in22k", "inw21k"),  # ImageNet and its winter 2021 edition
        *("jft", "ig1b", "yfcc15m", "yfcc100m", "cc12m", "sa1b", "webli", "merged2b", "m30m", "m38m"),
        *("laion400m", "laion2b", "laiona", "datacomp1b", "datacompxl", "dfn2b", "dfn5b", "dfndr2b"),
        *("lvd142m", "lvd1689m", "sat493m", "openai"),  # openai: the unpublished 400 million pairs of CLIP
    )
)
_HIDDEN: Final = frozenset(("swag", "seer", "ssld", "fcmae", "bamboo", "indomain"))  # methods with images of their own
_TUNED: Final = "ft"


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
        pretraining: canonical (`pretraining_of_tag`).
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


def check_architecture(key: str, architecture: str) -> None:
    """Refuses an architecture that no later stage could build.

    Args:
        key: whose value it is, such as `models.resnet18.architecture`.
        architecture: a timm name without tag, `torchvision/<name>`, or one of Podium's own.

    Raises:
        ParamsError: there is none of that name (the nearest are given), or it has the tag of weights.
    """
    if architecture == _OWN:  # needs no library
        return
    from podium.core.vision import timm

    if architecture in _built_of_torchvision():
        return
    if "/" in architecture or not timm.is_model(architecture):
        raise ParamsError(
            f"{key} {architecture!r} is not known{_nearest(architecture)}: `podium models` lists the usual ones, "
            "`podium models 'resnet*'` those that match a pattern"
        )
    bare = architecture.partition(".")[0]
    if bare != architecture:
        raise ParamsError(
            f"{key} {architecture!r} names weights too: write {bare!r} there, and the tag in full under weights"
        )


def _built_of_torchvision() -> list[str]:
    """Torchvision's architectures that Podium builds, as params name them, sorted."""
    from podium.core.vision import torchvision

    models = torchvision.models
    return [
        TORCHVISION + name
        for name in models.list_models(module=models)
        if models.get_model_builder(name).__module__.rpartition(".")[2] in _BUILT_OF_TORCHVISION
    ]


def _nearest(architecture: str) -> str:
    """The same name in another library first, then similar ones."""
    from podium.core.vision import timm

    names = [_OWN, *_built_of_torchvision(), *timm.list_models()]
    bare = architecture.rpartition("/")[2].partition(".")[0]
    same = [name for name in names if name.rpartition("/")[2] == bare]
    near = difflib.get_close_matches(architecture, names, n=3, cutoff=0.4)
    found = list(dict.fromkeys([*same, *near]))[:3]
    return f"; did you mean {', '.join(found)}?" if found else ""


def choose_weights(name: str, model: WeightedNetwork, licences_allowed: Sequence[str]) -> Published | None:
    """The published weights of model `name`, with all that can be checked of it before anything comes.

    Returns:
        None where `weights` is `none` or a file by its address.

    Raises:
        ParamsError: architecture or weights are unknown, the weights belong to another architecture, or a key
            contradicts their source.
        DataError: nobody states the licence of the weights, or it is not an allowed one.
    """
    check_architecture(f"models.{name}.architecture", model.architecture)
    if model.weights == "none" or is_file(model.weights):
        return None
    choices = {each.name: each for each in list_published(model.architecture)}
    if model.weights not in choices:
        known = f"choose from {', '.join(choices)}" if choices else "there are none, so give a file or `none`"
        rule = "are no published weights of" if "." in model.weights else "does not say which weights of"
        raise ParamsError(
            f"models.{name}.weights {model.weights!r} {rule} architecture {model.architecture!r}: {known}"
        )
    weights = choices[model.weights]
    check_provenance(name, model, weights.licence, weights.pretraining, licences_allowed)
    return weights


def check_provenance(
    name: str, model: WeightedNetwork, licence: str, pretraining: str, licences_allowed: Sequence[str]
) -> tuple[str, str]:
    """Licence and pretraining of the weights of model `name`: what their source says, else what the model's keys say.

    Args:
        name: of the model.
        model: its section.
        licence: as the source states it; `unknown` where it does not.
        pretraining: likewise; it may stay `unknown`.
        licences_allowed: of section `fetch`; capitals do not count, and `unknown` is never allowed.

    Raises:
        DataError: nobody states a licence, or it is not an allowed one.
    """
    shown = without_secrets(model.weights)
    licence = _agree(f"models.{name}.weights_licence", model.weights_licence, licence)
    if licence.casefold() == UNKNOWN:
        raise DataError(
            f"nobody states the licence of {shown}, the weights of model {name}: find out and write it to "
            f"models.{name}.weights_licence, or use other weights"
        )
    if licence.casefold() not in {each.casefold() for each in licences_allowed}:
        raise DataError(
            f"{shown}, the weights of model {name}, have licence {licence}, but fetch.licences_allowed lists "
            f"{', '.join(licences_allowed) or 'none'}: use other weights, or add it if you may use them"
        )
    return licence, _agree(f"models.{name}.weights_pretraining", model.weights_pretraining, pretraining)


def _agree(key: str, given: str | None, said: str) -> str:
    """What the source says, else what the key says.

    Raises:
        ParamsError: they contradict each other.
    """
    if given is None or given.casefold() == said.casefold():
        return said
    if said.casefold() != UNKNOWN:
        raise ParamsError(f"{key} is {given!r}, but the source of the weights says {said!r}: remove the key")
    return given


def list_published(architecture: str) -> tuple[Published, ...]:
    """All published weights of an architecture (as `check_architecture` takes it), the library's default first."""
    if architecture.startswith(TORCHVISION):
        return _of_torchvision(architecture.removeprefix(TORCHVISION))
    return _of_timm(architecture)


def match_weights(architectures: Sequence[str]) -> tuple[Proposal, ...]:
    """Weights with equal pretraining, so that a comparison of architectures is one of architectures.

    Args:
        architectures: two or more.

    Returns:
        Those with equal image size first; the pretraining and sizes of the first architecture's default lead.

    Raises:
        ModelError: nothing is published for one of them.
    """
    all_of = [list_published(architecture) for architecture in architectures]
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
        first, *others = by_size = [_by_size(found) for found in choices]
        sizes = [size for size in first if all(size in found for found in others)]
        equal += [Proposal(pretraining, size, tuple(found[size] for found in by_size)) for size in sizes]
        if not sizes:
            unequal.append(Proposal(pretraining, None, choices))
    return (*equal, *unequal)


def _by_size(found: Sequence[Published]) -> dict[int, tuple[Published, ...]]:
    """Weights by their image size, in the order in which sizes occur."""
    sizes = dict.fromkeys(each.image_size for each in found)
    return {size: tuple(each for each in found if each.image_size == size) for size in sizes}


def _of_timm(architecture: str) -> tuple[Published, ...]:
    """What timm lists."""
    from podium.core.vision import timm

    if not timm.is_model(architecture):
        return ()
    default = timm.get_pretrained_cfg(architecture)
    found = []
    for name in timm.list_pretrained(f"{architecture}.*"):
        said = timm.get_pretrained_cfg(name)
        place: HubFile | str = said.url
        if said.hf_hub_id:
            repository, _, revision = said.hf_hub_id.partition("@")
            place = HubFile(repository, said.hf_hub_filename or _HUB_FILE, revision or None)
        found.append(
            Published(
                name=name,
                architecture=architecture,
                licence=said.license or UNKNOWN,
                pretraining=pretraining_of_tag(said.tag),
                image_size=said.input_size[-1],
                mean=said.mean,
                std=said.std,
                place=place,
            )
        )
    return tuple(sorted(found, key=lambda each: each.name != f"{architecture}.{default.tag}"))


def _of_torchvision(architecture: str) -> tuple[Published, ...]:
    """What torchvision lists; it states no licences."""
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
                    pretraining=pretraining_of_enum(weights.name),
                    image_size=expects.crop_size[0],
                    mean=_HALF if halves else tuple(expects.mean),
                    std=_HALF if halves else tuple(expects.std),
                    place=weights.url,
                )
            )
    return tuple(found)


def pretraining_of_tag(tag: str) -> str:
    """Which images weights have seen, read from their name: timm's only statement of it.

    Canonical: the sets in the order in which they were seen, joined by `_ft_`. `in21k` and `in22k` are two cuts of
    ImageNet by different people and are kept apart.

    Args:
        tag: what follows the architecture's name, such as `fb_in22k_ft_in1k`.

    Returns:
        The canonical name, `in22k_ft_in1k`; `unknown` where the tag leaves a set out.
    """
    words = tag.split("_")
    seen: list[str] = []
    for word in words:
        if word in _HIDDEN or (word == _TUNED and not seen):
            return UNKNOWN
        if word in _SETS:
            seen.append(word)
    return "_ft_".join(seen) or UNKNOWN


def pretraining_of_enum(member: str) -> str:
    """Pretraining of a torchvision enum's member: `in1k` for `IMAGENET1K_V2`; `unknown` where it tells of others."""
    name, *words = member.lower().split("_")
    return UNKNOWN if name != "imagenet1k" or _HIDDEN & set(words) else "in1k"
