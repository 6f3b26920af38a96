"""The file of a model's weights: brought here from data/, an address or its library's place, and read as data only.

What the hub's client hands over is not checked: it takes for right whatever is in its cache and, over plain HTTP,
whatever has the right length (measured on 2.4). So whoever calls this checks digests first and reads then; nothing in a
file is ever run. The libraries behind it are imported where a function needs them.
"""

import hashlib
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from podium.config.dataset import Fetch
from podium.config.models import WeightedNetwork
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
from podium.weights.published import TORCHVISION, HubFile, Published

if TYPE_CHECKING:
    import torch

_SHA256: Final = re.compile("[0-9a-f]{64}")
_NAMED_BY_DIGEST: Final = re.compile(r"-([0-9a-f]{8,64})\.[a-z]+")  # torch.hub's rule for the names of files
_TORCH: Final = (".pth", ".pt")
_PICKLE_OR_ZIP: Final = (b"\x80", b"PK\x03\x04")
_NESTED: Final = ("state_dict", "model")
_ASKED_FOR: Final = re.compile(r"GLOBAL ([\w.]+)")
_WHY: Final = "opening a pickle can run any code"
_PARALLEL: Final = "module."
_AUXILIARY: Final = ("googlenet", "inception_v3")  # they warn unless told how to begin, and begin slowly


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
    """The file of a model's weights, from wherever it lies; only published ones may come without a pin.

    Raises:
        ParamsError: the address cannot be one.
        DataError: the file is not there or cannot be had, or what was downloaded has another digest.
    """
    weights = request.model.weights
    if request.published is not None:
        return _published(layout, request, request.published, fetch)
    kind, _, rest = weights.partition(":")
    if kind == "data":
        return _below_data(layout, request, rest)
    if kind == "file":
        return _anywhere(layout, request, rest)
    if not rest.startswith("//") or not address(weights, request.keys.location).path.strip("/"):
        raise ParamsError(
            f"{request.keys.location} {request.shown!r} is not an address: write {kind}://host/path/of/the/file"
        )
    sha256 = require_pin(request.shown, request.model.weights_sha256, request.keys.sha256)
    path = download(weights, sha256, downloads_folder(layout), fetch, keys=request.keys)
    return WeightsFile(path, request.shown, _delete(path))


def _below_data(layout: Layout, request: WeightsRequest, location: str) -> WeightsFile:
    """The file that `data:...` names.

    Raises:
        ParamsError: it leaves data/.
        DataError: it is not there.
    """
    inside = PurePosixPath(unicodedata.normalize("NFC", location))
    if inside.is_absolute() or ".." in inside.parts or not inside.parts:
        raise ParamsError(f"{request.keys.location} {request.shown!r} must name a file below data/: correct it")
    path = layout.data / inside
    if not path.is_file():
        raise DataError(
            f"data/{inside}, the weights of model {request.name}, does not exist: run `dvc pull data.dvc`; where that "
            "brings nothing, data.dvc no longer pins it: bring back the last one (`git checkout HEAD -- data.dvc`, "
            "then `dvc checkout data.dvc`), or name other weights"
        )
    return WeightsFile(path, request.model.weights, "restore the file (dvc pull data.dvc)")


def _anywhere(layout: Layout, request: WeightsRequest, location: str) -> WeightsFile:
    """The file that `file:...` names.

    Raises:
        DataError: it is not there.
    """
    path = local_path(layout, location, request.keys.location)
    if not path.is_file():
        raise DataError(f"{path}, the weights of model {request.name}, does not exist: correct {request.keys.location}")
    return WeightsFile(path, f"file:{record_location(layout, location)}", "put the right file there")


def _published(layout: Layout, request: WeightsRequest, weights: Published, fetch: Fetch) -> WeightsFile:
    """From the hub, from torch's own cache (a file put there is used, for those without network), or downloaded."""
    from torch import hub

    sha256 = request.model.weights_sha256
    if isinstance(weights.place, HubFile):
        return download_from_hub(weights.place, sha256, fetch)
    file = PurePosixPath(weights.place).name
    path = Path(hub.get_dir()) / "checkpoints" / file
    if not path.is_file():
        path = downloads_folder(layout) / hashlib.sha256(weights.place.encode()).hexdigest()[:16] / file
        download_to(path, Remote.at(weights.place, request.keys), sha256, fetch)
    found = _NAMED_BY_DIGEST.search(file)
    return WeightsFile(path, weights.place, _delete(path), found[1] if found else "")


def _delete(path: Path) -> str:
    """What to do about a downloaded file with another digest."""
    return f"delete {path} and run the stage again"


def download_from_hub(place: HubFile, sha256: str | None, fetch: Fetch) -> WeightsFile:
    """A file of a repository, in the client's cache; a cached file with the digest is used without asking the hub.

    Its source holds the commit: `hf://owner/name@<commit>/file`.
    """
    from huggingface_hub import try_to_load_from_cache

    kept = try_to_load_from_cache(place.repository, place.file, revision=place.revision)
    pinned = isinstance(kept, str) and sha256 is not None and sha256_file(Path(kept)) == sha256
    path = Path(kept) if isinstance(kept, str) and pinned else _ask_hub(place, fetch)
    commit = path.parents[len(PurePosixPath(place.file).parts) - 1].name  # .../snapshots/<commit>/<file>
    blob = path.resolve()  # the client calls it by the digest that the hub states
    stated = blob.name if _SHA256.fullmatch(blob.name) else ""
    return WeightsFile(path, f"hf://{place.repository}@{commit}/{place.file}", _delete(blob), stated)


def _ask_hub(place: HubFile, fetch: Fetch) -> Path:
    """Where the hub's client, which retries and resumes by itself, has put a file.

    Raises:
        DataError: it is not to be had; the message says why.
    """
    from huggingface_hub import constants, errors, hf_hub_download, is_offline_mode

    wait = fetch.timeout_seconds
    try:
        return Path(hf_hub_download(place.repository, place.file, revision=place.revision, etag_timeout=wait))
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


def is_pickled(path: Path, name: str, shown: str) -> bool:
    """Whether a file is torch's own kind, to be read with `read_state_dict`; else it is to be read as safetensors.

    Args:
        path: the file.
        name: what it was called where it came from; a pickle (also inside a zip) must be a `.pth` or `.pt`.
        shown: what messages call it.

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


def read_header(path: Path, shown: str) -> tuple[dict[str, str], dict[str, tuple[int, ...]]]:
    """Metadata of a safetensors file, sorted by key, and the shapes of its tensors by name.

    Raises:
        DataError: it is not such a file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as tensors:
            shapes = {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
            return dict(sorted((tensors.metadata() or {}).items())), shapes
    except SafetensorError as error:
        raise DataError(f"{shown} is not a readable safetensors file ({one_line(error)}): make it again") from error


def read_state_dict(path: Path, shown: str) -> "dict[str, torch.Tensor]":
    """Tensors of a `.pth` or `.pt` file by name, on the CPU, read as data: nothing in it is run.

    A dict under `state_dict` or `model` is taken out, the `module.` of a parallel wrapper is taken off.

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
    """Whether tensors of these shapes are known to be those of the network, no more and no less.

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
    """The state of the network, float32, after its library has loaded the tensors of a file that does not fit it.

    Some files carry old names, buffers no longer stored or a classifier with a class too many: for those the library's
    own loader is run, offline, on the verified tensors.

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
