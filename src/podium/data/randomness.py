"""Random numbers as pure functions of (seed, purpose, index): no state is kept, so none has to be saved or restored.

The order of epoch 3 is `generator(seed, "order", 3)` whoever asks, whenever, after whatever. numpy's version is part of
every fingerprint, because it may change what a generator draws. What many pixels need comes from a counter-based
generator: torch's generators draw different numbers on a GPU than on a CPU, and one image after the other; a hash of a
counter gives those of a whole batch at once, bit-equal on every device and in every batch.
"""

import hashlib
from functools import cache
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

Purpose = Literal["order", "augment", "view", "dropout", "weights", "trial"]
Stream = Literal["noise", "elastic"]
_STREAMS: dict[Stream, int] = {"noise": 0x3C6EF372, "elastic": 0x1B873593}  # far apart, otherwise of no meaning
_LEVELS = 1 << 16


def number(seed: int, purpose: Purpose, index: int) -> int:
    """A seed of its own for one use.

    Args:
        seed: of the experiment.
        purpose: what the number is for; two purposes share nothing.
        index: epoch, step or trial, from 0.

    Returns:
        An integer in [0, 2**32), the first 32 bits of a sha256.
    """
    return int.from_bytes(hashlib.sha256(f"{seed}/{purpose}/{index}".encode()).digest()[:4], "big")


def generator(seed: int, purpose: Purpose, index: int) -> np.random.Generator:
    """A fresh PCG64 generator for one use; arguments as in `number`."""
    return np.random.Generator(np.random.PCG64(number(seed, purpose, index)))


def counter_uniform(seeds: NDArray[np.int64], stream: Stream, count: int, device: torch.device) -> torch.Tensor:
    """`count` numbers for each seed, evenly spread over [-1, 1].

    Args:
        seeds: shape (N,), in [0, 2**32).
        stream: what they are for; two streams share nothing.
        count: numbers for each seed.
        device: where they are wanted.

    Returns:
        float32, shape (N, count), one of 65536 levels each.
    """
    return _draws(seeds, stream, count, device).float().mul_(2 / (_LEVELS - 1)).sub_(1)


def counter_normal(seeds: NDArray[np.int64], stream: Stream, count: int, device: torch.device) -> torch.Tensor:
    """As `counter_uniform`, of mean 0 and standard deviation 1, within 4.4 of the mean."""
    draws = _draws(seeds, stream, count, device)
    return _quantiles(device).index_select(0, draws.reshape(-1)).view(draws.shape)


@cache
def _quantiles(device: torch.device) -> torch.Tensor:
    """The normal distribution's quantile of each level, computed on the CPU for all devices."""
    shares = (torch.arange(_LEVELS, dtype=torch.float64) + 0.5) / _LEVELS
    quantiles: torch.Tensor = torch.special.ndtri(shares)
    return quantiles.float().to(device)


def _draws(seeds: NDArray[np.int64], stream: Stream, count: int, device: torch.device) -> torch.Tensor:
    """int32, shape (N, count), in [0, 65536): two of each 32-bit hash.

    An image's counter starts and steps by numbers of its own (the step is odd, so no value repeats); were the step 1
    for all, two images could get the same numbers a few places apart.
    """
    start = _murmur3_on_host((seeds ^ _STREAMS[stream]).astype(np.uint32))
    step = _murmur3_on_host(start) | np.uint32(1)
    half = (count + 1) // 2
    counter = torch.arange(half, dtype=torch.int32, device=device)
    words = counter * _column(step, device) + _column(start, device)
    words = _murmur3(words)
    low = words & (_LEVELS - 1)
    high = words.bitwise_right_shift_(16).bitwise_and_(_LEVELS - 1)
    return torch.cat([low, high], dim=1)[:, :count]


def _column(words: NDArray[np.uint32], device: torch.device) -> torch.Tensor:
    """One word an image on the device, int32, shape (N, 1), of the same bits."""
    return torch.from_numpy(words.view(np.int32)[:, None]).to(device)


def _murmur3(words: torch.Tensor) -> torch.Tensor:
    """MurmurHash3's finaliser (Appleby 2011) in place; int32 products wrap, shifts are masked to be logical."""
    words.bitwise_xor_((words >> 16) & 0xFFFF).mul_(-2048144789)  # 0x85ebca6b
    words.bitwise_xor_((words >> 13) & 0x7FFFF).mul_(-1028477387)  # 0xc2b2ae35
    return words.bitwise_xor_((words >> 16) & 0xFFFF)


def _murmur3_on_host(words: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """The same hash of a few words on the host."""
    as_int32 = torch.from_numpy(words.view(np.int32).copy())
    mixed: NDArray[np.uint32] = _murmur3(as_int32).numpy().view(np.uint32)
    return mixed
