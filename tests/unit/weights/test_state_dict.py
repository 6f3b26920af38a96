"""Weights files of strangers: tensors come out, nothing runs."""

import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torchvision import models

from podium.core.errors import DataError
from podium.weights.published import list_published
from podium.weights.state_dict import (
    convert_tensors,
    fits_network,
    is_pickled,
    read_metadata,
    read_shapes,
    read_state_dict,
)

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
            read_metadata(path, path.name)
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
    assert list(read_metadata(path, "w").items()) == [("licence", "MIT"), ("seed", "1")]
    assert read_shapes(path) == {"bn.count": (), "conv.weight": (2, 3)}


@pytest.mark.parametrize("length", range(1, 40))
def test_no_length_of_a_header_makes_safetensors_look_like_a_pickle(length: int, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"x" * length: torch.ones(1)}, path)
    assert not is_pickled(path, path.name, path.name)
    assert read_shapes(path) == {"x" * length: (1,)}


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
