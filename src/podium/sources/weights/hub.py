"""Files from the Hugging Face hub through its own client: its cache, `HF_ENDPOINT`, offline mode and log-in hold.

The client takes for right whatever lies in its cache and, over plain HTTP, whatever has the right length; it checks no
digest (measured on 2.4). So whoever calls this checks the bytes. Stands on `core` and huggingface_hub.
"""

import re
from pathlib import Path, PurePosixPath
from typing import Final

from podium.config.dataset import Fetch
from podium.core.errors import DataError, one_line
from podium.core.files import raise_if_full, sha256_file
from podium.sources.retrying import reason
from podium.sources.weights.published import HubFile

_SHA256: Final = re.compile("[0-9a-f]{64}")


def from_hub(place: HubFile, sha256: str | None, fetch: Fetch) -> Path:
    """A file of a repository, from the client's cache or the network. The client retries and resumes by itself.

    Args:
        place: repository, file and revision.
        sha256: the digest it is pinned by; a cached file that has it is used without asking the hub. None: not pinned.
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
    try:
        path = hf_hub_download(
            place.repository, place.file, revision=place.revision, etag_timeout=fetch.timeout_seconds
        )
    except errors.GatedRepoError as error:
        raise DataError(
            f"{place.repository} is open to registered people only: ask for access on its page and log in "
            "(`hf auth login`)"
        ) from error
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
        # Its transports (httpx, xet) have families of errors of their own that it passes on, so whatever this one call
        # raises is taken for its verdict on this file.
        if is_offline_mode():
            raise DataError(
                f"{place.repository} is not in the hub's cache and HF_HUB_OFFLINE is set: unset it once to download, "
                "or point HF_HOME to a cache that has it"
            ) from error
        if isinstance(error, OSError):
            raise_if_full(error, Path(constants.HF_HUB_CACHE))
        raise DataError(
            f"{place.repository} cannot be had from the hub ({reason(error)}): check the network and HF_ENDPOINT, and "
            "run the stage again"
        ) from error
    return Path(path)


def source_of(place: HubFile, path: Path) -> str:
    """Where a file came from, with the commit: `hf://owner/name@<commit>/file`."""
    commit = path.parents[len(PurePosixPath(place.file).parts) - 1].name  # .../snapshots/<commit>/<file>
    return f"hf://{place.repository}@{commit}/{place.file}"


def stated_sha256(path: Path) -> str:
    """The digest that the hub states of a cached file (the client names the file it links to by it); empty for none."""
    name = path.resolve().name
    return name if _SHA256.fullmatch(name) else ""
