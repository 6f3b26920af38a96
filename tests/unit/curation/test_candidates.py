import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.curation.candidates import nearest

MIRROR = np.array([1, -1, 1, 1, -1], np.int16)


def unit(rng: np.random.Generator, count: int, length: int = 5) -> np.ndarray:
    vectors = rng.normal(size=(count, length))
    return np.round(vectors * (2000 / np.linalg.norm(vectors, axis=1, keepdims=True))).astype(np.int16)


def by_hand(vectors: np.ndarray, mirror: np.ndarray, count: int, least: int) -> set[tuple[int, int, bool, int]]:
    wide, pairs = vectors.astype(np.int64), set()
    for mirrored in (False, True):
        products = (wide * mirror if mirrored else wide) @ wide.T
        for row, of_row in enumerate(products):
            others = [column for column in np.lexsort((np.arange(len(wide)), -of_row)) if column != row]
            for column in others[:count]:
                if of_row[column] >= least:
                    pairs.add((min(row, column), max(row, column), mirrored, int(of_row[column])))
    return pairs


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 200), st.integers(1, 6), st.sampled_from([1, 1_000_000, 3_000_000]))
def test_the_pairs_are_those_of_a_full_comparison(seed: int, size: int, count: int, least: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = unit(rng, size)
    if size > 4:
        vectors[rng.integers(0, size, size // 2)] = vectors[0]  # ties

    found = nearest(vectors, MIRROR, count, least)

    rows = zip(
        found.first.tolist(), found.second.tolist(), found.mirrored.tolist(), found.product.tolist(), strict=True
    )
    assert set(rows) == by_hand(vectors, MIRROR, count, least)
    assert (np.diff(found.product) <= 0).all()


@pytest.mark.parametrize("size", [4095, 4096, 4097, 9000])
def test_planted_neighbours_are_found_across_blocks(size: int) -> None:
    vectors = unit(np.random.default_rng(0), size, 63)
    mirror = np.where(np.arange(63) % 3 == 0, -1, 1).astype(np.int16)
    vectors[size - 1] = vectors[3]
    vectors[size - 2] = vectors[5] * mirror

    found = nearest(vectors, mirror, 5, 3_900_000)

    assert list(zip(found.first, found.second, found.mirrored, strict=True)) == [
        (3, size - 1, False),
        (5, size - 2, True),
    ]
