"""What is done when memory is not enough: fewer images are computed at once, and in the end a person is told."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

from podium.core.errors import ModelError

_OF_A_CPU = ("DefaultCPUAllocator", "not enough memory")  # a CPU's comes as a plain RuntimeError

Result = TypeVar("Result")


@contextmanager
def memory_named_in_errors(batch_size: str) -> Iterator[None]:
    """Turns running out of memory, on a CPU or an accelerator, into a message for a person; also a decorator.

    Args:
        batch_size: the key of the params that sets how many images are computed at once.

    Raises:
        ModelError: there was not enough memory.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        raise ModelError(
            f"out of memory: lower {batch_size} or preprocess.image_size, or use a smaller network"
        ) from error


class Room:
    """How many images are computed at once: halved, with a notice, whenever memory is not enough for them.

    Attributes:
        images: at most so many at once; as many as a batch has, or more, is no limit.
        least: images without which the network cannot be computed.
    """

    def __init__(self, label: str, images: int, batch_size: int, *, least: int = 1, may_halve: bool = True) -> None:
        """Starts with as many as are wanted.

        Args:
            label: of the run, for the notice.
            images: at least `least`.
            batch_size: images of a batch; the last batch of an epoch may have one more (see `loader.boundaries`).
            least: see the attributes.
            may_halve: False where other processes wait for the same number of computations.
        """
        self.images = images
        self._unlimited = batch_size
        self._label = label
        self.least = least
        self._may_halve = may_halve

    def within(self, count: int, work: Callable[[int], Result], undo: Callable[[], None] | None = None) -> Result:
        """Does some work, again and again until memory is enough for it.

        Args:
            count: images the work is about, at least 1.
            work: is given the number of images to compute at once, at most `count`.
            undo: brings back the state before `work`, where a failed attempt leaves another.

        Returns:
            What `work` returned.

        Raises:
            MemoryError: there was not enough for the fewest images, or halving is not allowed.
            RuntimeError: the same, as torch says it; or anything else that went wrong.
        """
        while True:
            tried = count if self.images >= self._unlimited else min(self.images, count)
            try:
                return work(tried)
            except (MemoryError, RuntimeError) as error:
                if tried <= self.least or not self._may_halve or not _is_out_of_memory(error):
                    raise
            # outside of the handler, which holds on to the tensors of the failed attempt
            self.images = max(self.least, tried // 2)
            self._unlimited = self.images + 1  # of a batch of 3, halved where batches are of 2, 2 is a limit
            if undo is not None:
                undo()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            print(
                f"{self._label}: not enough memory for {tried} images at once: goes on with {self.images} "
                "(train.micro_batch_size); the batch of a step stays as it is",
                flush=True,
            )


def _is_out_of_memory(error: BaseException) -> bool:
    named = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return named or any(text in str(error) for text in _OF_A_CPU)
