"""A weights file: the hub's real client against a hub on the loopback, and strangers' files, in which nothing runs."""

import os
import pickle
import re
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torchvision import models

from podium.config.dataset import Fetch
from podium.core.errors import DataError
from podium.weights.published import HubFile, list_published
from podium.weights.weights_file import (
    convert_tensors,
    download_from_hub,
    fits_network,
    is_pickled,
    read_header,
    read_state_dict,
)
from tests.fake_hub import COMMIT, HUB_FILE, TAG, FakeHub, digest

PLACE = HubFile(f"timm/{TAG}", "model.safetensors")
FETCH = Fetch()


def test_a_file_comes_once_and_its_commit_is_known(hub: FakeHub, published_bytes: bytes) -> None:
    file = download_from_hub(PLACE, None, FETCH)
    assert file.path.read_bytes() == published_bytes
    assert file.source == f"hf://timm/{TAG}@{COMMIT}/model.safetensors"
    assert file.stated == digest(published_bytes)
    there = f"/timm/{TAG}/resolve/main/model.safetensors"
    assert [(method, asked) for method, asked, _ in hub.requests] == [("HEAD", there), ("GET", there)]
    assert download_from_hub(PLACE, digest(published_bytes), FETCH) == file
    assert len(hub.requests) == 2  # pinned and cached: nobody is asked


def test_a_cut_download_goes_on_where_it_stopped(hub: FakeHub, published_bytes: bytes) -> None:
    hub.cuts = [1000]
    assert download_from_hub(PLACE, None, FETCH).path.read_bytes() == published_bytes
    assert [asked for method, _, asked in hub.requests if method == "GET"] == [None, "bytes=1000-"]


def test_a_hub_that_is_busy_is_asked_again(hub: FakeHub, published_bytes: bytes) -> None:
    hub.statuses = [503, 503]
    assert download_from_hub(PLACE, None, FETCH).path.read_bytes() == published_bytes


def test_the_client_takes_a_changed_body_of_the_right_length_which_is_why_digests_are_checked(
    hub: FakeHub, published_bytes: bytes
) -> None:
    hub.sent[HUB_FILE] = published_bytes[:-1] + bytes([published_bytes[-1] ^ 1])
    file = download_from_hub(PLACE, None, FETCH)
    assert file.path.read_bytes() != published_bytes
    assert file.stated == digest(published_bytes)


def test_offline_uses_the_cache_and_names_what_it_lacks(
    hub: FakeHub, published_bytes: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = download_from_hub(PLACE, None, FETCH)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.requests.clear()
    assert download_from_hub(PLACE, None, FETCH) == file
    assert download_from_hub(PLACE, digest(published_bytes), FETCH) == file
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


# --- files of strangers -----------------------------------------------------------------------------------------------

STATE = {"conv.weight": torch.arange(6, dtype=torch.float16).reshape(2, 3), "bn.count": torch.tensor(3)}


class Evil:
    """A pickle of it makes a folder when it is opened."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


def evil_files(folder: Path, made: Path) -> list[Path]:
    """The ways a pickle comes: bare, of old and new protocols, and inside torch's zip."""
    paths = []
    for protocol in (0, 2, 4):
        paths.append(folder / f"protocol{protocol}.pth")
        paths[-1].write_bytes(pickle.dumps({"weight": Evil(made)}, protocol))
    for zipped in (True, False):
        paths.append(folder / f"zip{zipped}.pth")
        torch.save({"weight": Evil(made)}, paths[-1], _use_new_zipfile_serialization=zipped)
    return paths


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors", ".pkl"])
def test_a_malicious_pickle_is_refused_under_any_name_and_never_runs(suffix: str, tmp_path: Path) -> None:
    made = tmp_path / "made-by-a-pickle"
    for path in evil_files(tmp_path, made):
        path = path.rename(path.with_suffix(suffix))
        with pytest.raises(DataError) as caught:
            if is_pickled(path, path.name, path.name):
                read_state_dict(path, path.name)
            read_header(path, path.name)
        assert "\n" not in str(caught.value)
        assert not made.exists()
    pickle.loads((tmp_path / f"protocol2{suffix}").read_bytes())
    assert made.exists()  # it was a real one


def test_the_reason_names_what_the_pickle_asks_for(tmp_path: Path) -> None:
    path = tmp_path / "evil.pth"
    torch.save({"weight": Evil(tmp_path / "made")}, path)
    with pytest.raises(
        DataError, match=r"evil is refused \(it asks for posix.mkdir\): only tensors are read, since ope"
    ):
        read_state_dict(path, "evil")


@pytest.mark.parametrize("name", ["w.safetensors", "w.pkl", "w.bin", "download"])
def test_a_pickle_needs_the_name_of_one(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    torch.save(STATE, path)
    with pytest.raises(DataError, match=f"{name} is not a readable safetensors file but a pickle .* can run any code"):
        is_pickled(path, name, name)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: OrderedDict(state),
        lambda state: {"state_dict": state, "epoch": 3, "optimizer": {"lr": 0.1}},
        lambda state: {"model": state},
        lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
    ],
    ids=["plain", "ordered", "state_dict", "model", "parallel"],
)
def test_a_state_dict_is_found_where_people_put_it(wrap: Any, zipped: bool, tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save(wrap(STATE), path, _use_new_zipfile_serialization=zipped)
    assert is_pickled(path, "w.pth", "w")
    found = read_state_dict(path, "w.pth")
    assert found.keys() == STATE.keys()
    for name, tensor in STATE.items():
        assert torch.equal(found[name], tensor) and found[name].dtype == tensor.dtype


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([torch.ones(2)], "holds a list and no state dict"),
        ({}, "holds a dict and no state dict"),
        ({"weight": torch.ones(2), "epoch": 3}, "holds 'epoch', which is no dense tensor"),
        ({0: torch.ones(2)}, "holds 0, which is no dense tensor"),
        ({"weight": torch.zeros(1).expand(10**12)}, "holds 'weight', which is no dense tensor"),
        ({"weight": torch.empty(2, device="meta")}, "holds 'weight', which is no dense tensor"),
        ({"weight": torch.eye(2).to_sparse()}, "holds 'weight', which is no dense tensor"),
        ({"weight": torch.ones(2, dtype=torch.complex64)}, "holds 'weight', which is no dense tensor of real numbers"),
    ],
)
def test_what_is_no_state_dict_is_said(content: object, said: str, tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save(content, path)
    with pytest.raises(DataError, match=said):
        read_state_dict(path, "w.pth")


def test_a_whole_pickled_network_is_refused(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "net.pt")
    with pytest.raises(DataError, match=r"it asks for torch.nn.modules.linear.Linear"):
        read_state_dict(tmp_path / "net.pt", "net.pt")


def test_a_zip_that_is_not_torchs_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "w.pth", "w") as archive:
        archive.writestr("w/other.txt", "hello")
    with pytest.raises(DataError, match=r"w\.pth is refused"):
        read_state_dict(tmp_path / "w.pth", "w.pth")


def test_safetensors_tell_their_papers_and_shapes(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file(STATE, path, {"seed": "1", "licence": "MIT"})
    assert not is_pickled(path, path.name, path.name)
    metadata, shapes = read_header(path, "w")
    assert list(metadata.items()) == [("licence", "MIT"), ("seed", "1")]
    assert shapes == {"bn.count": (), "conv.weight": (2, 3)}


@pytest.mark.parametrize("length", range(1, 40))
def test_no_length_of_a_header_makes_safetensors_look_like_a_pickle(length: int, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"x" * length: torch.ones(1)}, path)
    assert not is_pickled(path, path.name, path.name)
    assert read_header(path, "w")[1] == {"x" * length: (1,)}


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@settings(max_examples=60)
@given(at=st.integers(0, 10**6), to=st.integers(0, 255), length=st.integers(0, 10**6), zipped=st.booleans())
def test_a_damaged_file_is_read_or_refused_in_one_line(
    at: int, to: int, length: int, zipped: bool, tmp_path: Path
) -> None:
    path = tmp_path / "w.pth"
    torch.save(STATE, path, _use_new_zipfile_serialization=zipped)
    data = bytearray(path.read_bytes())
    data[at % len(data)] = to
    path.write_bytes(data[: len(data) - length % len(data)] if length % 2 else data)
    try:
        read_state_dict(path, "w.pth")
    except DataError as error:
        assert "\n" not in str(error)


# --- the names of a network -------------------------------------------------------------------------------------------


def shapes(tensors: dict[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def test_a_file_of_the_networks_own_tensors_is_recognised(tensors: dict[str, torch.Tensor]) -> None:
    [weights] = list_published("test_resnet")
    assert fits_network(weights, shapes(tensors))
    less = {name: tensor for name, tensor in tensors.items() if name != "fc.bias"}
    assert not fits_network(weights, shapes(less))
    assert not fits_network(weights, shapes(tensors | {"fc.bias": torch.zeros(3)}))


def test_counters_that_old_torchvision_files_lack_are_filled_in() -> None:
    weights = list_published("torchvision/resnet18")[0]
    state = dict(models.resnet18(weights=None).state_dict())
    old = {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    found = convert_tensors(weights, old)
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in state.items())


@pytest.mark.parametrize("architecture", ["test_resnet", "torchvision/squeezenet1_1"])
def test_tensors_of_another_network_are_refused_in_one_line(architecture: str) -> None:
    with pytest.raises(DataError, match=f"does not fit {architecture} of the installed library") as caught:
        convert_tensors(list_published(architecture)[0], {"conv.weight": torch.zeros(3)})
    assert "\n" not in str(caught.value)
