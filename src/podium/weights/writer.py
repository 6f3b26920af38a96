"""Pretrained weights of all models, pinned: what `fetch` writes to `artifacts/weights`.

A file is copied, the copy is hashed and the same copy is read, so nobody can change it in between. A safetensors file
is kept byte for byte; a `.pth` file is converted. What the source says of licence and pretraining counts; the keys of a
model say what the source leaves out and never overrule it.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from podium.config.dataset import Fetch
from podium.config.network import WeightedNetwork, is_file
from podium.core.errors import DataError, ParamsError
from podium.core.files import sha256_file
from podium.core.layout import WEIGHTS, WEIGHTS_CARD, Layout
from podium.records.fetch import WeightsRecord
from podium.weights.published import UNKNOWN, Published, check_architecture, list_published
from podium.weights.state_dict import (
    convert_tensors,
    fits_network,
    is_pickled,
    read_metadata,
    read_shapes,
    read_state_dict,
)
from podium.weights.weights_file import WeightsFile, WeightsRequest, get_weights_file

if TYPE_CHECKING:
    import torch


def write_weights(layout: Layout, folder: Path, models: Mapping[str, WeightedNetwork], fetch: Fetch) -> None:
    """Brings, verifies, converts and describes every model's weights.

    Args:
        layout: the project's paths.
        folder: gets a folder a model with `weights.json` and, unless it starts from random weights,
            `weights.safetensors`.
        models: their sections by name.
        fetch: limits of downloading and the licences allowed.

    Raises:
        ParamsError: an architecture or weights are unknown, the weights belong to another architecture, or a key
            contradicts their source.
        DataError: a file cannot be had, is not what its digest or its source says, may run code, or has a licence that
            is unknown or not allowed; published weights are not pinned (all missing digests are told at once).
    """
    wanted = [WeightsRequest(name, model, choose_weights(name, model, fetch)) for name, model in models.items()]
    came = {each.name: get_weights_file(layout, each, fetch) for each in wanted if each.model.weights != "none"}
    _refuse_unpinned([(each, came[each.name]) for each in wanted if each.name in came])
    for each in wanted:
        (folder / each.name).mkdir()
        file = came.get(each.name)
        record = _record_of_none(each.model) if file is None else _store(folder / each.name, each, file, fetch)
        record.write(folder / each.name / WEIGHTS_CARD)


def choose_weights(name: str, model: WeightedNetwork, fetch: Fetch) -> Published | None:
    """The published weights of a model, with all that can be checked of it before anything comes.

    Args:
        name: of the model.
        model: its section.
        fetch: licences allowed.

    Returns:
        None where `weights` is `none` or a file by its address.

    Raises:
        ParamsError: as `write_weights`.
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
    check_licence(name, model, weights.licence, fetch.licences_allowed)
    check_pretraining(name, model, weights.pretraining)
    return weights


def _refuse_unpinned(came: Sequence[tuple[WeightsRequest, WeightsFile]]) -> None:
    """Refuses published weights whose digest the params do not give.

    Raises:
        DataError: there are some; it holds all their digests. Or one is not what its source states.
    """
    missing = []
    for request, file in came:
        if request.model.weights_sha256 is None:
            digest = sha256_file(file.path)
            if not digest.startswith(file.stated):
                raise DataError(
                    f"{request.shown} has sha256 {digest}, but its source says {file.stated}: it was damaged or "
                    f"changed, {file.remedy}"
                )
            missing.append(f'{request.keys.sha256}: "{digest}"')
    if missing:
        raise DataError(
            f"published weights must be pinned by their digest: write {', '.join(missing)} to params.yaml if you trust "
            "what just came (it is downloaded already)"
        )


def _check(request: WeightsRequest, file: WeightsFile, digest: str) -> None:
    """Holds the digest of a file that came against its pin.

    Raises:
        DataError: it is another one; it says whether the source changed or the file was damaged.
    """
    if digest == request.model.weights_sha256:
        return
    upstream = bool(file.stated) and digest.startswith(file.stated)
    remedy = "it was changed at its source" if upstream else file.remedy
    raise DataError(
        f"{request.shown} has sha256 {digest}, but {request.keys.sha256} asks for {request.model.weights_sha256}: "
        f"{remedy}, or correct the key if you trust it"
    )


def _record_of_none(model: WeightedNetwork) -> WeightsRecord:
    """`weights.json` of a model that starts from random weights."""
    return WeightsRecord(
        architecture=model.architecture,
        weights="none",
        sha256=None,
        stored_sha256=None,
        source="none",
        licence=UNKNOWN,
        pretraining="none",
        mean=None,
        std=None,
        metadata={},
    )


def _store(folder: Path, request: WeightsRequest, file: WeightsFile, fetch: Fetch) -> WeightsRecord:
    """Verifies the file, writes its tensors, and returns what is known of them."""
    model, weights = request.model, request.published
    copy, stored = folder / "as-it-came", folder / WEIGHTS
    shutil.copyfile(file.path, copy)
    _check(request, file, sha256_file(copy))
    metadata = _convert(copy, stored, request, file)
    licence = weights.licence if weights else metadata.get("licence", metadata.get("license", UNKNOWN))
    pretraining = weights.pretraining if weights else metadata.get("pretraining", UNKNOWN)
    return WeightsRecord(
        architecture=model.architecture,
        weights=request.shown,
        sha256=model.weights_sha256,
        stored_sha256=sha256_file(stored),
        source=file.source,
        licence=check_licence(request.name, model, licence, fetch.licences_allowed),
        pretraining=check_pretraining(request.name, model, pretraining),
        mean=weights.mean if weights else None,
        std=weights.std if weights else None,
        metadata=metadata,
    )


def _convert(copy: Path, stored: Path, request: WeightsRequest, file: WeightsFile) -> dict[str, str]:
    """Makes `stored` from the verified copy, which it takes away; returns the metadata of the file as it came."""
    if is_pickled(copy, file.path.name, request.shown):
        _write_tensors(stored, read_state_dict(copy, request.shown), request.published)
        copy.unlink()
        return {}
    metadata = read_metadata(copy, request.shown)
    if request.published is None or fits_network(request.published, read_shapes(copy)):
        copy.rename(stored)
    else:
        from safetensors.torch import load_file

        _write_tensors(stored, load_file(copy), request.published)
        copy.unlink()
    return metadata


def _write_tensors(path: Path, tensors: "dict[str, torch.Tensor]", weights: Published | None) -> None:
    """Writes tensors under the names that their network has; of weights that are not published, as they came."""
    from podium.data.tensors import save_weights

    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if weights is not None and not fits_network(weights, shapes):
        tensors = convert_tensors(weights, tensors)
    save_weights(path, tensors, {})


def is_allowed(licence: str, licences_allowed: Sequence[str]) -> bool:
    """Whether weights of that licence may be used; `unknown` never, capitals do not count."""
    return licence.casefold() != UNKNOWN and licence.casefold() in {each.casefold() for each in licences_allowed}


def check_licence(name: str, model: WeightedNetwork, said: str, licences_allowed: Sequence[str]) -> str:
    """The licence of a model's weights, once it is known to be allowed.

    Args:
        name: of the model.
        model: its section.
        said: what the source says, `unknown` where it says nothing.
        licences_allowed: of section `fetch`.

    Raises:
        ParamsError: the model's key contradicts the source.
        DataError: nobody states a licence, or it is not an allowed one.
    """
    licence = _agree(f"models.{name}.weights_licence", model.weights_licence, said)
    if licence.casefold() == UNKNOWN:
        raise DataError(
            f"nobody states the licence of {model.weights}, the weights of model {name}: find out and write it to "
            f"models.{name}.weights_licence, or use other weights"
        )
    if not is_allowed(licence, licences_allowed):
        raise DataError(
            f"{model.weights}, the weights of model {name}, have licence {licence}, but fetch.licences_allowed lists "
            f"{', '.join(licences_allowed) or 'none'}: use other weights, or add it if you may use them"
        )
    return licence


def check_pretraining(name: str, model: WeightedNetwork, said: str) -> str:
    """Which images a model's weights have seen; `unknown` where nobody says.

    Args:
        name: of the model.
        model: its section.
        said: what the source says, `unknown` where it says nothing.

    Raises:
        ParamsError: the model's key contradicts the source.
    """
    return _agree(f"models.{name}.weights_pretraining", model.weights_pretraining, said)


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
