"""Bringing the file of a model's weights here, whatever kind of place it lies in; nothing is read from it yet.

Stands on `core` and the parts of `sources` that download; fsspec, torch and the hub's client are imported where a model
needs them.
"""

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from podium.config.contender import Model
from podium.config.dataset import Fetch
from podium.core.errors import DataError, ParamsError
from podium.core.layout import Layout
from podium.sources.download import download, download_to
from podium.sources.locations import downloads, local_path, pinned, recorded
from podium.sources.remote import Keys, Remote, address, without_secrets
from podium.sources.weights.hub import from_hub, source_of, stated_sha256
from podium.sources.weights.published import HubFile, Published

_NAMED_BY_DIGEST = re.compile(r"-([0-9a-f]{8,64})\.[a-z]+")  # torch.hub's rule for the names of files


@dataclass(frozen=True)
class Arrived:
    """A file that came, not checked.

    Attributes:
        path: where it lies.
        source: where it came from, without secrets and without anything that differs from machine to machine.
        remedy: what to do when it has another digest than its pin.
        stated: the sha256 its source states, or the first digits of it; empty for none.
    """

    path: Path
    source: str
    remedy: str
    stated: str = ""


@dataclass(frozen=True)
class Wanted:
    """A model and the weights it asks for: published ones, or None for the file that `weights` names by its address."""

    name: str
    model: Model
    published: Published | None

    @property
    def shown(self) -> str:
        """What messages and records call the weights."""
        return without_secrets(self.model.weights)

    @property
    def keys(self) -> Keys:
        """Where place and digest are written."""
        return Keys(f"models.{self.name}.weights", f"models.{self.name}.weights_sha256")


def bring(layout: Layout, wanted: Wanted, fetch: Fetch, pause_seconds: float = 1.0) -> Arrived:
    """The file of a model's weights, from wherever it lies.

    Args:
        layout: the project's paths.
        wanted: the model and its weights; only published ones may come without a pin.
        fetch: timeout and number of retries.
        pause_seconds: wait before the first retry; doubled each time, at most 60 s.

    Raises:
        ParamsError: the address cannot be one.
        DataError: the file is not there or cannot be had, or what was downloaded has another digest.
    """
    weights = wanted.model.weights
    if wanted.published is not None:
        return _published(layout, wanted, wanted.published, fetch, pause_seconds)
    kind, _, rest = weights.partition(":")
    if kind == "data":
        return Arrived(_below_data(layout, wanted), weights, "restore the file (dvc pull data.dvc)")
    if kind == "file":
        return _local(layout, wanted, rest)
    if not rest.startswith("//") or not address(weights, wanted.keys.location).path.strip("/"):
        raise ParamsError(
            f"{wanted.keys.location} {wanted.shown!r} is not an address: write {kind}://host/path/of/the/file"
        )
    sha256 = pinned(wanted.shown, wanted.model.weights_sha256, wanted.keys.sha256)
    if kind in ("http", "https"):
        path = download(weights, sha256, downloads(layout), fetch, pause_seconds, keys=wanted.keys)
    else:
        from podium.sources.filesystems import copy_pinned

        path = copy_pinned(weights, sha256, downloads(layout), fetch, pause_seconds, keys=wanted.keys)
    return Arrived(path, wanted.shown, _delete(path))


def _published(layout: Layout, wanted: Wanted, weights: Published, fetch: Fetch, pause_seconds: float) -> Arrived:
    """Published weights: from the hub, from torch's own cache, or downloaded."""
    sha256 = wanted.model.weights_sha256
    if isinstance(weights.place, HubFile):
        path = from_hub(weights.place, sha256, fetch)
        return Arrived(path, source_of(weights.place, path), _delete(path.resolve()), stated_sha256(path))
    file = PurePosixPath(weights.place).name
    path = _torch_hub() / file
    if not path.is_file():
        path = downloads(layout) / hashlib.sha256(weights.place.encode()).hexdigest()[:16] / file
        download_to(path, Remote.at(weights.place, wanted.keys), sha256, fetch, pause_seconds)
    found = _NAMED_BY_DIGEST.search(file)
    return Arrived(path, weights.place, _delete(path), found[1] if found else "")


def _delete(path: Path) -> str:
    """What to do about a downloaded file with another digest."""
    return f"delete {path} and run the stage again"


def _torch_hub() -> Path:
    """Where torchvision keeps what it downloads (`TORCH_HOME`): a file put there is used, for those without network."""
    from torch import hub

    return Path(hub.get_dir()) / "checkpoints"


def _below_data(layout: Layout, wanted: Wanted) -> Path:
    """The file that `data:...` names.

    Raises:
        ParamsError: it leaves data/.
        DataError: it is not there.
    """
    weights = wanted.model.weights
    inside = PurePosixPath(unicodedata.normalize("NFC", weights.removeprefix("data:")))
    if inside.is_absolute() or ".." in inside.parts or not inside.parts:
        raise ParamsError(f"{wanted.keys.location} {weights!r} must name a file below data/: correct it")
    path = layout.data / inside
    if not path.is_file():
        raise DataError(f"data/{inside}, the weights of model {wanted.name}, does not exist: run `dvc pull data.dvc`")
    return path


def _local(layout: Layout, wanted: Wanted, location: str) -> Arrived:
    """The file that `file:...` names.

    Raises:
        DataError: it is not there.
    """
    path = local_path(layout, location, wanted.keys.location)
    if not path.is_file():
        raise DataError(f"{path}, the weights of model {wanted.name}, does not exist: correct {wanted.keys.location}")
    return Arrived(path, f"file:{recorded(layout, location)}", "put the right file there")
