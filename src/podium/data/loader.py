"""Which images make up the batches of an epoch, a pure function of (seed, epoch), and how they are read in time.

One thread reads the next batch while the present one is computed; it changes no byte, because reading draws nothing.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from podium.data.randomness import generator

Sampling = Literal["shuffle", "balanced"]
Key = TypeVar("Key")
Read = TypeVar("Read")


def epoch_order(labels: NDArray[np.int64], sampling: Sampling, seed: int, epoch: int) -> NDArray[np.int64]:
    """Which images one epoch takes, and in what order: as many as there are.

    Args:
        labels: int64, shape (N,), class numbers.
        sampling: `shuffle` takes every image once. `balanced` takes N / K images (rounded up or down) of each of the
            K classes that occur: of a large class others in every epoch, of a small one all of them as often as they
            go in, and some of them once more.
        seed: of the experiment.
        epoch: from 0.

    Returns:
        int64, shape (N,), row numbers; a permutation of 0..N-1 for `shuffle`.
    """
    random = generator(seed, "order", epoch)
    count = len(labels)
    if sampling == "shuffle":
        return random.permutation(count)
    classes = np.unique(labels)
    quotas = np.full(len(classes), count // len(classes))
    quotas[random.permutation(len(classes))[: count % len(classes)]] += 1
    taken = []
    for label, quota in zip(classes, quotas, strict=True):
        rows = np.flatnonzero(labels == label)
        whole, rest = divmod(int(quota), len(rows))
        taken += [rows] * whole + [random.permutation(rows)[:rest]]
    return random.permutation(np.concatenate(taken))


def batch_boundaries(count: int, batch_size: int) -> list[tuple[int, int]]:
    """Where the batches of an epoch begin and end.

    Every image is used: the last batch is smaller where `count` is no multiple. A last batch of one image would break
    batch normalisation (it has no variance), so that image joins the batch before it.

    Args:
        count: images; without any there is no batch.
        batch_size: at least 1.

    Returns:
        (begin, end) pairs that cover 0..count.
    """
    starts = list(range(0, count, batch_size))
    if not starts:
        return []
    if len(starts) > 1 and batch_size > 1 and count - starts[-1] == 1:
        starts.pop()
    return list(zip(starts, [*starts[1:], count], strict=True))


def micro_batches(count: int, limit: int, least: int = 1, number: int = 0) -> list[tuple[int, int]]:
    """Where the micro-batches of a batch, which are computed one after the other, begin and end.

    None is above the limit. One that would be below `least` takes images of the one before it, and where that has no
    more to give (limit 2, least 2, an odd batch) the two share an image: it begins before the other ends.

    Args:
        count: images of the batch.
        limit: images at once, at least 1.
        least: images at once that a network needs, at most `limit`; a batch of fewer is one micro-batch.
        number: micro-batches wanted at least; those that are missing hold the last images once more.

    Returns:
        (begin, end) pairs that cover 0..count.
    """
    found = [(begin, min(begin + limit, count)) for begin in range(0, count, limit)]
    if len(found) > 1 and count - found[-1][0] < least:
        before, last = found[-2][0], count - least
        found[-2:] = [(before, max(last, before + least)), (last, count)]
    return found + [(max(0, count - least), count)] * (number - len(found))


def prefetch(read: Callable[[Key], Read], keys: Iterable[Key]) -> Iterator[Read]:
    """Reads one thing after the other, the next one by a thread of its own while the present one is worked on.

    Args:
        read: a pure function, so that it does not matter when and where it runs.
        keys: of what is read, in the order wanted.

    Yields:
        What `read` gave, in that order; what it raises is raised in its turn.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="loader") as reader:
        following: Future[Read] | None = None
        for key in keys:
            ready, following = following, reader.submit(read, key)
            if ready is not None:
                yield ready.result()
        if following is not None:
            yield following.result()
