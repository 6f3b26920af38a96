from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.curation.near_duplicates import candidates, keypoints
from podium.curation.near_duplicates.candidates import KeypointHashes, inverse, nearest_neighbours
from podium.curation.near_duplicates.signature import SYMMETRIES, turned

SIGNS = np.array([[1, 1, 1, 1, 1], [1, -1, 1, 1, -1], [-1, 1, 1, 1, 1], [-1, -1, 1, 1, -1]], np.int16)
FLIPS = [(np.arange(5), sign) for sign in SIGNS]


def unit(rng: np.random.Generator, count: int, length: int = 5) -> np.ndarray:
    vectors = rng.normal(size=(count, length))
    return np.round(vectors * (2000 / np.linalg.norm(vectors, axis=1, keepdims=True))).astype(np.int16)


def by_hand(vectors: np.ndarray, every_way: np.ndarray, count: int, least: int) -> set[tuple[int, int, int, int]]:
    wide, pairs = vectors.astype(np.int64), set()
    for symmetry, sign in enumerate(SIGNS):
        products = (wide * sign) @ wide.T
        for row, of_row in enumerate(products):
            if symmetry > 1 and not every_way[row]:
                continue
            others = [column for column in np.lexsort((np.arange(len(wide)), -of_row)) if column != row]
            for column in others[:count]:
                if of_row[column] >= least:
                    pairs.add((min(row, column), max(row, column), symmetry, int(of_row[column])))
    return pairs


@settings(max_examples=40)
@given(st.integers(0, 2**32), st.integers(0, 200), st.integers(1, 6), st.sampled_from([1, 1_000_000, 3_000_000]))
def test_the_pairs_are_those_of_a_full_comparison(seed: int, size: int, count: int, least: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = unit(rng, size)
    if size > 4:
        vectors[rng.integers(0, size, size // 2)] = vectors[0]  # ties

    every_way = rng.random(size) < 0.5

    found = nearest_neighbours(vectors, FLIPS, every_way, count, least)

    rows = zip(
        found.first.tolist(), found.second.tolist(), found.symmetry.tolist(), found.likeness.tolist(), strict=True
    )
    assert set(rows) == by_hand(vectors, every_way, count, least)
    assert (np.diff(found.likeness) <= 0).all()


@pytest.mark.parametrize("size", [4095, 4096, 4097, 9000])
def test_planted_neighbours_are_found_across_blocks(size: int) -> None:
    vectors = unit(np.random.default_rng(0), size, 63)
    mirror = np.where(np.arange(63) % 3 == 0, -1, 1).astype(np.int16)
    turns = [(np.arange(63), np.ones(63, np.int16)), (np.arange(63), mirror)]
    vectors[size - 1] = vectors[3]
    vectors[size - 2] = vectors[5] * mirror

    found = nearest_neighbours(vectors, turns, np.zeros(size, np.bool_), 5, 3_900_000)

    assert list(zip(found.first, found.second, found.symmetry, strict=True)) == [
        (3, size - 1, 0),
        (5, size - 2, 1),
    ]


def test_an_inverse_turns_a_picture_back() -> None:
    picture = np.arange(4 * 4 * 3, dtype=np.uint8).reshape(4, 4, 3)
    for symmetry in SYMMETRIES:
        np.testing.assert_array_equal(turned(turned(picture, symmetry), inverse(symmetry)), picture)


def keypoint_records(count: int) -> np.ndarray:
    """Random descriptors; picture 1 has those of picture 0, picture 3 the mirrored ones of picture 2."""
    rng = np.random.default_rng(0)
    numbers = rng.integers(0, 16, (count, keypoints.KEYPOINTS, keypoints.LENGTH), dtype=np.uint8)
    numbers[1], numbers[3] = numbers[0], numbers[2][:, keypoints.MIRRORED]
    records = np.zeros(count, keypoints.RECORD)
    records["count"] = 100
    records["descriptors"] = numbers[..., 0::2] << 4 | numbers[..., 1::2]
    return records


@pytest.mark.parametrize("at_once", [None, 3])
def test_pictures_that_share_keypoints_are_pairs_and_others_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int | None
) -> None:
    if at_once is not None:  # as of sets that do not fit into memory
        monkeypatch.setattr(candidates, "_KEYS_AT_ONCE", 500)
        monkeypatch.setattr(candidates, "_PICTURES_AT_ONCE", at_once)
        monkeypatch.setattr(candidates, "_FIRSTS_AT_ONCE", at_once)
    hashes, records = KeypointHashes(40, tmp_path), keypoint_records(40)
    for start in (0, 16, 32):
        hashes.add(start, records[start : start + 16])

    found = hashes.pairs()

    pairs = zip(found.first.tolist(), found.second.tolist(), found.symmetry.tolist(), strict=True)
    assert set(pairs) == {(0, 1, 0), (2, 3, 1)}
    assert (found.likeness >= 3).all()


def test_pictures_without_keypoints_share_none(tmp_path: Path) -> None:
    hashes = KeypointHashes(3, tmp_path)
    hashes.add(0, np.zeros(3, keypoints.RECORD))

    assert len(hashes.pairs().first) == 0
