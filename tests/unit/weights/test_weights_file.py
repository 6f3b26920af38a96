"""The hub's real client against a hub on the loopback: what it does well, and what it leaves for us to check."""

import re
from pathlib import Path

import pytest
from huggingface_hub import constants

from podium.config.dataset import Fetch
from podium.core.errors import DataError
from podium.weights.published import HubFile
from podium.weights.weights_file import download_from_hub, name_source, read_stated_sha256
from tests.fake_hub import COMMIT, HUB_FILE, TAG, FakeHub, digest

PLACE = HubFile(f"timm/{TAG}", "model.safetensors")
FETCH = Fetch()


def test_a_file_comes_once_and_its_commit_is_known(hub: FakeHub, published_bytes: bytes) -> None:
    path = download_from_hub(PLACE, None, FETCH)
    assert path.read_bytes() == published_bytes
    assert name_source(PLACE, path) == f"hf://timm/{TAG}@{COMMIT}/model.safetensors"
    assert read_stated_sha256(path) == digest(published_bytes)
    there = f"/timm/{TAG}/resolve/main/model.safetensors"
    assert [(method, asked) for method, asked, _ in hub.requests] == [("HEAD", there), ("GET", there)]
    assert download_from_hub(PLACE, digest(published_bytes), FETCH) == path
    assert len(hub.requests) == 2  # pinned and cached: nobody is asked


def test_a_cut_download_goes_on_where_it_stopped(hub: FakeHub, published_bytes: bytes) -> None:
    hub.cuts = [1000]
    assert download_from_hub(PLACE, None, FETCH).read_bytes() == published_bytes
    assert [asked for method, _, asked in hub.requests if method == "GET"] == [None, "bytes=1000-"]


def test_a_hub_that_is_busy_is_asked_again(hub: FakeHub, published_bytes: bytes) -> None:
    hub.statuses = [503, 503]
    assert download_from_hub(PLACE, None, FETCH).read_bytes() == published_bytes


def test_the_client_takes_a_changed_body_of_the_right_length_which_is_why_digests_are_checked(
    hub: FakeHub, published_bytes: bytes
) -> None:
    hub.sent[HUB_FILE] = published_bytes[:-1] + bytes([published_bytes[-1] ^ 1])
    path = download_from_hub(PLACE, None, FETCH)
    assert path.read_bytes() != published_bytes
    assert read_stated_sha256(path) == digest(published_bytes)


def test_offline_uses_the_cache_and_names_what_it_lacks(
    hub: FakeHub, published_bytes: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = download_from_hub(PLACE, None, FETCH)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.requests.clear()
    assert download_from_hub(PLACE, None, FETCH) == path
    assert download_from_hub(PLACE, digest(published_bytes), FETCH) == path
    with pytest.raises(DataError, match="timm/other is not in the hub's cache and HF_HUB_OFFLINE is set") as caught:
        download_from_hub(HubFile("timm/other", "model.safetensors"), None, FETCH)
    assert "\n" not in str(caught.value) and hub.requests == []


@pytest.mark.parametrize(
    ("place", "statuses", "said"),
    [
        (HubFile("timm/none", "model.safetensors"), [], "the hub has no repository timm/none, or a private one"),
        (HubFile(f"timm/{TAG}", "other.safetensors"), [], f"the hub answered 404 to timm/{TAG}/other.safetensors"),
        (PLACE, [403], f"timm/{TAG} cannot be had from the hub"),
    ],
)
def test_a_refusal_is_one_line(place: HubFile, statuses: list[int], said: str, hub: FakeHub) -> None:
    hub.statuses = statuses
    with pytest.raises(DataError, match=re.escape(said)) as caught:
        download_from_hub(place, None, FETCH)
    assert "\n" not in str(caught.value)


def test_a_hub_that_nobody_answers_for_is_one_line(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(str(hub.port), "9")
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", path)
    with pytest.raises(DataError, match=r"cannot be had from the hub \(.*refused.*\): check the network") as caught:
        download_from_hub(PLACE, None, FETCH)
    assert "\n" not in str(caught.value)
