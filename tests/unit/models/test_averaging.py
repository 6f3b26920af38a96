import pytest
import torch
from torch import nn

from podium.models.averaging import Average


def network() -> nn.Module:
    torch.manual_seed(0)
    made = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 2))
    return made.to(memory_format=torch.channels_last)


def change(module: nn.Module, step: int) -> None:
    """One step of something like learning: every tensor moves, also running means and counters."""
    random = torch.Generator().manual_seed(step)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += torch.randn(parameter.shape, generator=random)
    module.train()(torch.randn(5, 3, 8, 8, generator=random))


def test_it_is_the_recursion_written_out_with_few_steps_averaged_over_few():
    module = network()
    average = Average(module, 0.6)
    expected = {}
    for n in range(1, 30):
        change(module, n)
        average.update(module)
        keep = 0 if n == 1 else min(0.6, n / (9 + n))
        for name, value in module.state_dict().items():
            before = expected.get(name, torch.zeros_like(value))
            expected[name] = value.clone() if "num_batches" in name else keep * before + (1 - keep) * value
    for name, value in average.module.state_dict().items():
        torch.testing.assert_close(value, expected[name], msg=name)


def test_the_module_that_learns_is_not_touched_and_shares_nothing():
    module = network()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    average = Average(module, 0.9)
    average.update(module)
    change(average.module, 1)
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


def test_the_average_of_weights_that_stand_still_are_these_weights():
    module = network()
    average = Average(module, 0.9)
    for _ in range(5):
        average.update(module)
    for name, value in average.module.state_dict().items():
        torch.testing.assert_close(value, module.state_dict()[name])
    assert average.module[0].weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("saved_after", [0, 1, 4])
def test_a_restored_average_goes_on_with_the_same_bytes(saved_after):
    module = network()
    whole = Average(module, 0.9)
    again = None
    for n in range(1, 9):
        if n == saved_after + 1:
            saved = {name: value.clone() for name, value in whole.state().items()}
            again = Average(network(), 0.9)
            again.load(saved)
        change(module, n)
        whole.update(module)
        if again is not None:
            again.update(module)
    assert again is not None
    assert all(torch.equal(value, again.state()[name]) for name, value in whole.state().items())
