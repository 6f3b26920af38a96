"""Batches of one split: the order of an epoch is a pure function of (seed, epoch), images come from memory maps.

One thread reads the next batch while the present one is computed; it changes no byte, because reading draws nothing.
Depends on numpy alone.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from podium.data.randomness import generator
from podium.data.shards import PreparedSplit


@dataclass(frozen=True)
class Batch:
    """Images and labels of one step.

    Attributes:
        step: number of the batch, from 0 over the whole run.
        images: uint8, shape (B, H, W, 3), a copy.
        labels: int64, shape (B,), class numbers.
    """

    step: int
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


def order(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The order of the images in one epoch.

    Args:
        count: images in the split.
        seed: of the experiment.
        epoch: from 0.

    Returns:
        int64, shape (count,), a permutation of 0..count-1.
    """
    return generator(seed, "order", epoch).permutation(count)


def boundaries(count: int, batch_size: int) -> list[tuple[int, int]]:
    """Where the batches of an epoch begin and end.

    Every image is used: the last batch is smaller where `count` is no multiple. A last batch of one image would break
    batch normalisation (it has no variance), so that image joins the batch before it.

    Args:
        count: images, at least 1.
        batch_size: at least 1.

    Returns:
        (begin, end) pairs that cover 0..count.
    """
    starts = list(range(0, count, batch_size))
    if len(starts) > 1 and batch_size > 1 and count - starts[-1] == 1:
        starts.pop()
    return list(zip(starts, [*starts[1:], count], strict=True))


def batches(split: PreparedSplit, rows: NDArray[np.int64], batch_size: int, first_step: int = 0) -> Iterator[Batch]:
    """Reads images in a given order.

    Args:
        split: where they are.
        rows: int64 row numbers in the order wanted.
        batch_size: images at once, at least 1.
        first_step: the step of the first batch.

    Yields:
        Batches in order; the last one may be smaller (see `boundaries`).
    """

    def read(position: int, begin: int, end: int) -> Batch:
        chosen, step = rows[begin:end], first_step + position
        return Batch(step, split.images(chosen), split.labels[chosen])

    pieces = [(i, begin, end) for i, (begin, end) in enumerate(boundaries(len(rows), batch_size))]
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="loader") as reader:
        following = reader.submit(read, *pieces[0]) if pieces else None
        for piece in pieces[1:]:
            if following is not None:
                ready, following = following, reader.submit(read, *piece)
                yield ready.result()
        if following is not None:
            yield following.result()
