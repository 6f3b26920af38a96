import importlib.util
import subprocess
import sys
from unittest.mock import Mock

import numpy as np
import pytest

from podium.core.errors import DataError
from podium.curation.near_duplicates import approximate, grouping
from podium.curation.near_duplicates.approximate import EXACT_UP_TO, approximate_neighbours, require_index
from podium.curation.near_duplicates.candidates import Pairs, nearest_neighbours
from podium.curation.near_duplicates.signature import SIGNATURE_BYTES, VECTOR_TURNS, signature
from tests.unit.curation.near_duplicates.test_grouping import MIXED_GROUPS, MIXED_SHA256, MIXED_SIGNATURES, photograph

LIMITS = (grouping.NEIGHBOURS, grouping.LEAST_PRODUCT)


def some_vectors(count: int = 6_000) -> np.ndarray:
    """Vectors around 400 middles, as pictures of as many scenes; the last 100 are mirrored copies of the first."""
    rng = np.random.default_rng(0)
    middles = rng.normal(size=(400, 63))
    vectors = middles[rng.integers(0, 400, count)] + 0.6 * rng.normal(size=(count, 63))
    rounded = np.round(vectors * (2040 / np.linalg.norm(vectors, axis=1, keepdims=True))).astype(np.int16)
    order, sign = VECTOR_TURNS[1]
    rounded[-100:] = rounded[:100][:, order] * sign
    return rounded


VECTORS = some_vectors()
EVERY_WAY = np.arange(len(VECTORS)) % 50 == 0


def rows(pairs: Pairs) -> np.ndarray:
    return np.stack([pairs.first, pairs.second, pairs.symmetry, pairs.likeness], axis=1)


@pytest.fixture(scope="module")
def found() -> Pairs:
    return approximate_neighbours(VECTORS, VECTOR_TURNS, EVERY_WAY, *LIMITS, threads=1)


def test_hardly_a_pair_of_a_full_comparison_is_missed(monkeypatch: pytest.MonkeyPatch, found: Pairs) -> None:
    monkeypatch.setattr(approximate, "_PROBED", 64)  # of 465 cells: a smaller share than of 100,000 pictures

    fewer = approximate_neighbours(VECTORS, VECTOR_TURNS, EVERY_WAY, *LIMITS)

    exact = {tuple(row) for row in rows(nearest_neighbours(VECTORS, VECTOR_TURNS, EVERY_WAY, *LIMITS))}
    assert len(exact) > 10_000
    for pairs in (found, fewer):
        have = {tuple(row) for row in rows(pairs)}
        assert len(exact & have) >= 0.999 * len(exact)
        assert {(row, len(VECTORS) - 100 + row, 1) for row in range(100)} <= {row[:3] for row in have}
    assert (np.diff(found.likeness) <= 0).all()


def test_neither_threads_nor_another_run_change_a_byte(found: Pairs) -> None:
    for threads in (1, 2):
        again = approximate_neighbours(VECTORS, VECTOR_TURNS, EVERY_WAY, *LIMITS, threads=threads)
        assert rows(again).tobytes() == rows(found).tobytes()


def test_likeness_is_the_product_of_the_vectors_and_each_turn_is_found(found: Pairs) -> None:
    wide = VECTORS.astype(np.int64)

    assert set(found.symmetry.tolist()) >= {0, 1}
    for at in range(0, len(found.first), 997):
        order, sign = VECTOR_TURNS[found.symmetry[at]]
        product = wide[found.first[at]] @ (wide[found.second[at]][order] * sign)
        assert product == found.likeness[at] >= grouping.LEAST_PRODUCT


@pytest.mark.parametrize("count", [1, 2])
def test_few_pictures_are_fine(count: int) -> None:
    vectors = np.repeat(VECTORS[:1], count, axis=0)

    pairs = approximate_neighbours(vectors, VECTOR_TURNS, np.zeros(count, np.bool_), *LIMITS)

    assert (0, 1, 0) in {tuple(row[:3]) for row in rows(pairs)} if count == 2 else not len(pairs.first)


def test_above_the_limit_groups_are_those_of_the_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grouping, "EXACT_UP_TO", len(set(MIXED_SHA256)) - 1)
    search = Mock(wraps=approximate_neighbours)
    monkeypatch.setattr(grouping, "approximate_neighbours", search)

    assert grouping.group_duplicates(MIXED_SHA256, MIXED_SIGNATURES).first.tolist() == MIXED_GROUPS
    search.assert_called_once()


def test_without_faiss_many_pictures_are_refused_before_anything_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(approximate, "find_spec", lambda name: None)
    one = signature(photograph(0))[None]
    assert one.shape == (1, SIGNATURE_BYTES)

    require_index(EXACT_UP_TO)
    with pytest.raises(DataError, match=r"100,001 images need faiss .*pip install -c constraints.txt -e '.\[scale\]'"):
        require_index(EXACT_UP_TO + 1)
    with pytest.raises(DataError, match="need faiss"):
        approximate_neighbours(VECTORS[:9], VECTOR_TURNS, EVERY_WAY[:9], *LIMITS)


def test_faiss_is_loaded_only_where_it_is_needed() -> None:
    assert importlib.util.find_spec("faiss") is not None
    ask = "import sys, podium.curation.near_duplicates.grouping; sys.exit('faiss' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", ask], check=False).returncode == 0
