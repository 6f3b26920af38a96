"""Published tensors under the names and in the shapes that the installed library gives its network."""

import pytest
import torch
from torchvision import models

from podium.core.errors import DataError
from podium.sources.weights.native import is_native, native
from podium.sources.weights.published import published


def shapes(tensors: dict[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def test_a_file_of_the_networks_own_tensors_is_recognised(tensors: dict[str, torch.Tensor]) -> None:
    [weights] = published("test_resnet")
    assert is_native(weights, shapes(tensors))
    less = {name: tensor for name, tensor in tensors.items() if name != "fc.bias"}
    assert not is_native(weights, shapes(less))
    assert not is_native(weights, shapes(tensors | {"fc.bias": torch.zeros(3)}))


def test_counters_that_old_torchvision_files_lack_are_filled_in() -> None:
    weights = published("torchvision/resnet18")[0]
    state = dict(models.resnet18(weights=None).state_dict())
    old = {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    found = native(weights, old)
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in state.items())


@pytest.mark.parametrize("architecture", ["test_resnet", "torchvision/squeezenet1_1"])
def test_tensors_of_another_network_are_refused_in_one_line(architecture: str) -> None:
    with pytest.raises(DataError, match=f"does not fit {architecture} of the installed library") as caught:
        native(published(architecture)[0], {"conv.weight": torch.zeros(3)})
    assert "\n" not in str(caught.value)
