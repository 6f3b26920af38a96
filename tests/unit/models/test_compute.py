import pytest
import torch
from torch import nn

from podium.config.runtime import Runtime
from podium.core.errors import ModelError
from podium.models.compute import Compute


def test_compiling_is_a_choice_and_shares_the_weights():
    module = nn.Linear(2, 2)
    assert Compute.of(Runtime(threads=1)).compiled(module) is module
    compiled = Compute.of(Runtime(threads=1, compile=True)).compiled(module)
    assert compiled is not module
    assert next(compiled.parameters()) is next(module.parameters())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_where_there_is_none_says_what_to_change():
    with pytest.raises(ModelError, match=r"runtime\.device is cuda, but .* set runtime\.device to cpu"):
        Compute.of(Runtime(device="cuda"))


def test_batches_and_weights_lie_in_the_layout_that_is_asked_for():
    compute = Compute.of(Runtime(threads=1, channels_last=True))
    module = compute.place(nn.Conv2d(3, 4, 3))
    assert module.weight.is_contiguous(memory_format=torch.channels_last)
    assert compute.place_batch(torch.zeros(2, 3, 4, 4)).is_contiguous(memory_format=torch.channels_last)
    plain = Compute.of(Runtime(threads=1))
    assert plain.place_batch(torch.zeros(2, 3, 4, 4).to(memory_format=torch.channels_last)).is_contiguous()


def test_bfloat16_is_for_computing_only():
    module = nn.Linear(2, 2)
    with Compute.of(Runtime(threads=1, dtype="bfloat16")).autocast():
        assert module(torch.zeros(1, 2)).dtype is torch.bfloat16
    with Compute.of(Runtime(threads=1)).autocast():
        assert module(torch.zeros(1, 2)).dtype is torch.float32
    assert module.weight.dtype is torch.float32
