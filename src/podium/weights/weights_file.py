"""Bringing the file of a model's weights here, from data/, an address, or where its library publishes it.

Nothing is read from the file yet, and what the hub's client hands over is not checked: it takes for right whatever is
in its cache and, over plain HTTP, whatever has the right length (measured on 2.4). Whoever calls this checks digests.
"""

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from podium.config.dataset import Fetch
from podium.config.network import WeightedNetwork
from podium.core.errors import DataError, ParamsError, one_line
from podium.core.files import raise_if_full, sha256_file
from podium.core.layout import Layout
from podium.sources.download import download, download_to
from podium.sources.locations import (
    Keys,
    Remote,
    address,
    downloads_folder,
    local_path,
    record_location,
    require_pin,
    without_secrets,
)
from podium.sources.transfer import root_cause
from podium.weights.published import HubFile, Published

_SHA256: Final = re.compile("[0-9a-f]{64}")
_NAMED_BY_DIGEST = re.compile(r"-([0-9a-f]{8,64})\.[a-z]+")  # torch.hub's rule for the names of files


@dataclass(frozen=True)
class WeightsFile:
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
class WeightsRequest:
    """A model and the weights it asks for: published ones, or None for the file that `weights` names by its address."""

    name: str
    model: WeightedNetwork
    published: Published | None

    @property
    def shown(self) -> str:
        """What messages and records call the weights."""
        return without_secrets(self.model.weights)

    @property
    def keys(self) -> Keys:
        """Where place and digest are written."""
        return Keys(f"models.{self.name}.weights", f"models.{self.name}.weights_sha256")


def get_weights_file(layout: Layout, request: WeightsRequest, fetch: Fetch) -> WeightsFile:
    """The file of a model's weights, from wherever it lies.

    Args:
        layout: the project's paths.
        request: the model and its weights; only published ones may come without a pin.
        fetch: timeout and number of retries.

    Raises:
        ParamsError: the address cannot be one.
        DataError: the file is not there or cannot be had, or what was downloaded has another digest.
    """
    weights = request.model.weights
    if request.published is not None:
        return _published(layout, request, request.published, fetch)
    kind, _, rest = weights.partition(":")
    if kind == "data":
        return WeightsFile(_below_data(layout, request), weights, "restore the file (dvc pull data.dvc)")
    if kind == "file":
        return _local(layout, request, rest)
    if not rest.startswith("//") or not address(weights, request.keys.location).path.strip("/"):
        raise ParamsError(
            f"{request.keys.location} {request.shown!r} is not an address: write {kind}://host/path/of/the/file"
        )
    sha256 = require_pin(request.shown, request.model.weights_sha256, request.keys.sha256)
    path = download(weights, sha256, downloads_folder(layout), fetch, keys=request.keys)
    return WeightsFile(path, request.shown, _delete(path))


def _published(layout: Layout, request: WeightsRequest, weights: Published, fetch: Fetch) -> WeightsFile:
    """Published weights: from the hub, from torch's own cache, or downloaded."""
    sha256 = request.model.weights_sha256
    if isinstance(weights.place, HubFile):
        path = download_from_hub(weights.place, sha256, fetch)
        return WeightsFile(path, name_source(weights.place, path), _delete(path.resolve()), read_stated_sha256(path))
    file = PurePosixPath(weights.place).name
    path = _torch_hub() / file
    if not path.is_file():
        path = downloads_folder(layout) / hashlib.sha256(weights.place.encode()).hexdigest()[:16] / file
        download_to(path, Remote.at(weights.place, request.keys), sha256, fetch)
    found = _NAMED_BY_DIGEST.search(file)
    return WeightsFile(path, weights.place, _delete(path), found[1] if found else "")


def _delete(path: Path) -> str:
    """What to do about a downloaded file with another digest."""
    return f"delete {path} and run the stage again"


def _torch_hub() -> Path:
    """Where torchvision keeps what it downloads (`TORCH_HOME`): a file put there is used, for those without network."""
    from torch import hub

    return Path(hub.get_dir()) / "checkpoints"


def _below_data(layout: Layout, request: WeightsRequest) -> Path:
    """The file that `data:...` names.

    Raises:
        ParamsError: it leaves data/.
        DataError: it is not there.
    """
    weights = request.model.weights
    inside = PurePosixPath(unicodedata.normalize("NFC", weights.removeprefix("data:")))
    if inside.is_absolute() or ".." in inside.parts or not inside.parts:
        raise ParamsError(f"{request.keys.location} {weights!r} must name a file below data/: correct it")
    path = layout.data / inside
    if not path.is_file():
        raise DataError(f"data/{inside}, the weights of model {request.name}, does not exist: run `dvc pull data.dvc`")
    return path


def _local(layout: Layout, request: WeightsRequest, location: str) -> WeightsFile:
    """The file that `file:...` names.

    Raises:
        DataError: it is not there.
    """
    path = local_path(layout, location, request.keys.location)
    if not path.is_file():
        raise DataError(f"{path}, the weights of model {request.name}, does not exist: correct {request.keys.location}")
    return WeightsFile(path, f"file:{record_location(layout, location)}", "put the right file there")


def download_from_hub(place: HubFile, sha256: str | None, fetch: Fetch) -> Path:
    """A file of a repository, from the client's cache or the network. The client retries and resumes by itself.

    Args:
        place: repository, file and revision.
        sha256: the digest it is pinned by, if any; a cached file that has it is used without asking the hub.
        fetch: timeout.

    Returns:
        Its path in the client's cache, not checked.

    Raises:
        DataError: it is neither cached nor to be had; the message says why.
    """
    from huggingface_hub import constants, errors, hf_hub_download, is_offline_mode, try_to_load_from_cache

    kept = try_to_load_from_cache(place.repository, place.file, revision=place.revision)
    if isinstance(kept, str) and sha256 is not None and sha256_file(Path(kept)) == sha256:
        return Path(kept)
    wait = fetch.timeout_seconds
    try:
        path = hf_hub_download(place.repository, place.file, revision=place.revision, etag_timeout=wait)
    except errors.GatedRepoError as error:
        said = "is open to registered people only: ask for access on its page and log in (`hf auth login`)"
        raise DataError(f"{place.repository} {said}") from error
    except errors.RepositoryNotFoundError as error:
        raise DataError(
            f"the hub has no repository {place.repository}, or a private one: check models.<name>.weights and "
            "HF_ENDPOINT, or log in (`hf auth login`)"
        ) from error
    except errors.HfHubHTTPError as error:
        raise DataError(
            f"the hub answered {error.response.status_code} to {place.repository}/{place.file} "
            f"({one_line(error.server_message or error)}): check models.<name>.weights and HF_ENDPOINT"
        ) from error
    except Exception as error:
        # Its transports (httpx, xet) pass on errors of their own, so whatever this call raises is its verdict.
        if is_offline_mode():
            raise DataError(
                f"{place.repository} is not in the hub's cache and HF_HUB_OFFLINE is set: unset it once to download, "
                "or point HF_HOME to a cache that has it"
            ) from error
        if isinstance(error, OSError):
            raise_if_full(error, Path(constants.HF_HUB_CACHE))
        raise DataError(
            f"{place.repository} cannot be had from the hub ({root_cause(error)}): check the network and HF_ENDPOINT, "
            "and run the stage again"
        ) from error
    return Path(path)


def name_source(place: HubFile, path: Path) -> str:
    """Where a file came from, with the commit: `hf://owner/name@<commit>/file`."""
    commit = path.parents[len(PurePosixPath(place.file).parts) - 1].name  # .../snapshots/<commit>/<file>
    return f"hf://{place.repository}@{commit}/{place.file}"


def read_stated_sha256(path: Path) -> str:
    """The digest that the hub states of a cached file (the client names the file it links to by it); empty for none."""
    name = path.resolve().name
    return name if _SHA256.fullmatch(name) else ""
