"""Random numbers as pure functions of (seed, purpose, index): no state is kept, so none has to be saved or restored.

The order of epoch 3 is `generator(seed, "order", 3)` whoever asks, whenever, after whatever. Depends on numpy alone;
its version is part of every fingerprint, because numpy may change what a generator draws.
"""

import hashlib
from typing import Literal

import numpy as np

Purpose = Literal["order", "augment", "view", "dropout", "weights", "trial"]


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
