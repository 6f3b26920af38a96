"""Which pictures have vectors that are alike, among more than can all be compared: an inverted file of faiss.

k-means sorts the vectors into cells, and a vector is compared with those in the cells nearest to it (Jégou, Douze and
Schmid, "Product quantization for nearest neighbor search", IEEE PAMI 2011, without their compression). Centroids are
rounded to whole numbers, as vectors are, so distances and products are exact in float32: nothing depends on threads.
"""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from podium.core.errors import DataError
from podium.curation.near_duplicates.candidates import FoundNeighbours, Pairs

if TYPE_CHECKING:
    import faiss

EXACT_UP_TO = 100_000
"""Pictures of which all pairs are compared: it takes a minute or two. Ten times as many would take a hundred times."""

_ROWS = 16384  # queries at a time
_CELLS = 6  # times the root of the number of vectors
_PROBED = 128  # cells that a vector is compared with
_TRAINED_ON = 64  # vectors a cell
_ROUNDS = 5  # of k-means
_SPARE = 1  # number of 0 at the end of a vector: 64 numbers are multiplied sooner than 63


def require_index(count: int) -> None:
    """Refuses to search more pictures than can all be compared where faiss is missing.

    Raises:
        DataError: `count` is above `EXACT_UP_TO`, and faiss is not installed.
    """
    if count > EXACT_UP_TO and find_spec("faiss") is None:
        raise DataError(
            f"near duplicates among {count:,} images need faiss (up to {EXACT_UP_TO:,} do not): "
            "pip install -c constraints.txt -e '.[scale]', then run `dvc repro` again"
        )


def approximate_neighbours(
    vectors: NDArray[np.int16],
    turns: Sequence[tuple[NDArray[np.int64], NDArray[np.int16]]],
    every_way: NDArray[np.bool_],
    count: int,
    least: int,
    *,
    threads: int = 2,
) -> Pairs:
    """As `candidates.nearest_neighbours`, but some neighbours may be missed: the fewer, the more two are alike.

    Args:
        vectors: int16, shape (N, D), each of length at most 2048; N is at least 1.
        turns: order and sign that give the vector of the turned picture, by symmetry.
        every_way: which are sought under every symmetry, shape (N,); the others upright and mirrored only.
        count: neighbours per picture and symmetry.
        least: scalar product below which two do not resemble each other, above 0.
        threads: that search; they change nothing but the time.

    Returns:
        Pairs, the most alike first.

    Raises:
        DataError: faiss is not installed.
    """
    require_index(EXACT_UP_TO + 1)
    import faiss

    size, before = len(vectors), faiss.omp_get_max_threads()
    found = FoundNeighbours(size, len(turns))
    faiss.omp_set_num_threads(threads)
    try:
        index = _inverted_file(vectors)
        for start in range(0, size, _ROWS):
            block = np.arange(start, min(start + _ROWS, size))
            for symmetry, (order, sign) in enumerate(turns):
                rows = block if symmetry < 2 else block[every_way[block]]
                # one more, since a picture is its own neighbour
                products, columns = index.search(_padded(vectors[rows][:, order] * sign), count + 1)
                others = (columns != rows[:, None]) & (products >= least)  # a product of none is below any
                others &= np.cumsum(others, axis=1) <= count
                row = np.broadcast_to(rows[:, None], columns.shape)[others]
                found.add(row, columns[others], products[others].astype(np.int64), symmetry)
    finally:
        faiss.omp_set_num_threads(before)
    return found.pairs()


def _padded(vectors: NDArray[np.int16]) -> NDArray[np.float32]:
    """As faiss takes them."""
    return np.pad(vectors.astype(np.float32), ((0, 0), (0, _SPARE)))


def _inverted_file(vectors: NDArray[np.int16]) -> "faiss.IndexIVFFlat":
    """All vectors, sorted into cells."""
    import faiss

    wide = _padded(vectors)
    size, length = wide.shape
    cells = max(1, min(round(_CELLS * size**0.5), size))
    kmeans = faiss.Kmeans(
        length,
        cells,
        niter=_ROUNDS,
        seed=0,
        int_centroids=True,
        min_points_per_centroid=1,
        max_points_per_centroid=_TRAINED_ON,
    )
    kmeans.train(wide)
    index = faiss.IndexIVFFlat(kmeans.index, length, cells, faiss.METRIC_INNER_PRODUCT)
    index.nprobe = min(cells, _PROBED)
    index.add(wide)
    return index
