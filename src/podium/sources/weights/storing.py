"""Pretrained weights of all models, pinned: what `fetch` writes to `artifacts/weights`.

A file is copied, the copy is hashed and the same copy is read, so nobody can change it in between. A safetensors file
is kept byte for byte; a `.pth` file is converted. Stands on `core` and `data`; imports torch only for published weights
and `.pth` files.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from podium.config.contender import Model, is_file
from podium.config.dataset import Fetch
from podium.core.errors import DataError, ParamsError
from podium.core.files import sha256_file
from podium.core.layout import Layout
from podium.records.fetch import WeightsRecord
from podium.sources.weights.architectures import check_architecture
from podium.sources.weights.gates import licence_of, pretraining_of
from podium.sources.weights.places import Arrived, Wanted, bring
from podium.sources.weights.pretraining import UNKNOWN
from podium.sources.weights.published import Published, published
from podium.sources.weights.reading import is_pickled, read_metadata, read_shapes, read_state_dict

if TYPE_CHECKING:
    import torch

_STORED = "weights.safetensors"
_RECORD = "weights.json"


def write_weights(
    layout: Layout, folder: Path, models: Mapping[str, Model], fetch: Fetch, pause_seconds: float = 1.0
) -> None:
    """Brings, verifies, converts and describes every model's weights.

    Args:
        layout: the project's paths.
        folder: gets a folder a model with `weights.json` and, unless it starts from random weights,
            `weights.safetensors`.
        models: the contenders by name.
        fetch: limits of downloading and the licences allowed.
        pause_seconds: wait before the first retry of a broken connection; doubled each time, at most 60 s.

    Raises:
        ParamsError: an architecture or weights are unknown, the weights belong to another architecture, or a key
            contradicts their source.
        DataError: a file cannot be had, is not what its digest or its source says, may run code, or has a licence that
            is unknown or not allowed; published weights are not pinned (all missing digests are told at once).
    """
    wanted = [Wanted(name, model, chosen(name, model, fetch)) for name, model in models.items()]
    came = {each.name: bring(layout, each, fetch, pause_seconds) for each in wanted if each.model.weights != "none"}
    _refuse_unpinned([(each, came[each.name]) for each in wanted if each.name in came])
    for each in wanted:
        (folder / each.name).mkdir()
        file = came.get(each.name)
        record = _record_of_none(each.model) if file is None else _stored(folder / each.name, each, file, fetch)
        record.write(folder / each.name / _RECORD)


def chosen(name: str, model: Model, fetch: Fetch) -> Published | None:
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
    choices = {each.name: each for each in published(model.architecture)}
    if model.weights not in choices:
        known = f"choose from {', '.join(choices)}" if choices else "there are none, so give a file or `none`"
        rule = "are no published weights of" if "." in model.weights else "does not say which weights of"
        raise ParamsError(
            f"models.{name}.weights {model.weights!r} {rule} architecture {model.architecture!r}: {known}"
        )
    weights = choices[model.weights]
    licence_of(name, model, weights.licence, fetch.licences_allowed)
    pretraining_of(name, model, weights.pretraining)
    return weights


def _refuse_unpinned(came: Sequence[tuple[Wanted, Arrived]]) -> None:
    """Refuses published weights whose digest the params do not give.

    Raises:
        DataError: there are some; it holds all their digests. Or one is not what its source states.
    """
    missing = []
    for wanted, file in came:
        if wanted.model.weights_sha256 is None:
            digest = sha256_file(file.path)
            if not digest.startswith(file.stated):
                raise DataError(
                    f"{wanted.shown} has sha256 {digest}, but its source says {file.stated}: it was damaged or "
                    f"changed, {file.remedy}"
                )
            missing.append(f'{wanted.keys.sha256}: "{digest}"')
    if missing:
        raise DataError(
            f"published weights must be pinned by their digest: write {', '.join(missing)} to params.yaml if you trust "
            "what just came (it is downloaded already)"
        )


def _check(wanted: Wanted, file: Arrived, digest: str) -> None:
    """Holds the digest of a file that came against its pin.

    Raises:
        DataError: it is another one; it says whether the source changed or the file was damaged.
    """
    if digest == wanted.model.weights_sha256:
        return
    upstream = bool(file.stated) and digest.startswith(file.stated)
    remedy = "it was changed at its source" if upstream else file.remedy
    raise DataError(
        f"{wanted.shown} has sha256 {digest}, but {wanted.keys.sha256} asks for {wanted.model.weights_sha256}: "
        f"{remedy}, or correct the key if you trust it"
    )


def _record_of_none(model: Model) -> WeightsRecord:
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


def _stored(folder: Path, wanted: Wanted, file: Arrived, fetch: Fetch) -> WeightsRecord:
    """Verifies the file, writes its tensors, and returns what is known of them."""
    model, weights = wanted.model, wanted.published
    copy, stored = folder / "as-it-came", folder / _STORED
    shutil.copyfile(file.path, copy)
    _check(wanted, file, sha256_file(copy))
    metadata = _converted(copy, stored, wanted, file)
    licence = weights.licence if weights else metadata.get("licence", metadata.get("license", UNKNOWN))
    pretraining = weights.pretraining if weights else metadata.get("pretraining", UNKNOWN)
    return WeightsRecord(
        architecture=model.architecture,
        weights=wanted.shown,
        sha256=model.weights_sha256,
        stored_sha256=sha256_file(stored),
        source=file.source,
        licence=licence_of(wanted.name, model, licence, fetch.licences_allowed),
        pretraining=pretraining_of(wanted.name, model, pretraining),
        mean=weights.mean if weights else None,
        std=weights.std if weights else None,
        metadata=metadata,
    )


def _converted(copy: Path, stored: Path, wanted: Wanted, file: Arrived) -> dict[str, str]:
    """Makes `stored` from the verified copy, which it takes away; returns the metadata of the file as it came."""
    if is_pickled(copy, file.path.name, wanted.shown):
        _write_tensors(stored, read_state_dict(copy, wanted.shown), wanted.published)
        copy.unlink()
        return {}
    metadata = read_metadata(copy, wanted.shown)
    if _is_native(copy, wanted.published):
        copy.rename(stored)
    else:
        from safetensors.torch import load_file

        _write_tensors(stored, load_file(copy), wanted.published)
        copy.unlink()
    return metadata


def _is_native(path: Path, weights: Published | None) -> bool:
    """Whether a safetensors file can stay as it is; of one that is not published nobody knows the network here."""
    if weights is None:
        return True
    from podium.sources.weights.native import is_native

    return is_native(weights, read_shapes(path))


def _write_tensors(path: Path, tensors: "dict[str, torch.Tensor]", weights: Published | None) -> None:
    """Writes tensors under the names that their network has; of weights that are not published, as they came."""
    from podium.data.tensors import save_weights

    if weights is not None:
        from podium.sources.weights.native import is_native, native

        if not is_native(weights, {name: tuple(tensor.shape) for name, tensor in tensors.items()}):
            tensors = native(weights, tensors)
    save_weights(path, tensors, {})
