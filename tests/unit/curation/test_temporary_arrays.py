import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from podium.curation.temporary_arrays import TemporaryArrays, random_position, write_shards

SIDE = 8


def write(folder: Path, sizes: list[tuple[int, int]], seed: int | None) -> np.ndarray:
    """Writes and reads a shard of contents of one colour each (number + 1), stored in rows in reverse order."""
    arrays = TemporaryArrays(folder, len(sizes), SIDE)
    arrays.allocate()
    images = pd.DataFrame(sizes, columns=["content_height", "content_width"])
    images = images.assign(
        image_id=[f"{n:016x}" for n in images.index],
        label="lemon",
        row=images.index[::-1],
        fill=[(100, 100, 100)] * len(images),
    )
    for number, (height, width) in enumerate(sizes):
        row = len(sizes) - 1 - number
        arrays.pixels.write(row, np.full(SIDE * SIDE * 3, 255, np.uint8))
        arrays.pixels.write(row, np.full((height, width, 3), number + 1, np.uint8))
    write_shards(folder, images, arrays, seed)
    return np.load(folder / "images-00000.npy")


def test_without_a_seed_every_image_is_in_the_middle(tmp_path: Path) -> None:
    images = write(tmp_path, [(8, 8), (8, 3), (2, 8)], None)

    assert images.shape == (3, SIDE, SIDE, 3)
    assert (images[0] == 1).all()
    assert (images[1][:, 2:5] == 2).all()
    assert (images[1] == 2).sum() == 8 * 3 * 3
    assert (images[2][3:5] == 3).all()
    assert (np.delete(images[2], [3, 4], axis=0) == 100).all()


def test_random_places_depend_on_seed_and_id_alone_and_keep_the_content_whole(tmp_path: Path) -> None:
    sizes = [(8, 3)] * 30

    one, again, fewer, other = (
        write(tmp_path, contents, seed) for contents, seed in ((sizes, 1), (sizes, 1), (sizes[:10], 1), (sizes, 2))
    )

    np.testing.assert_array_equal(one, again)
    np.testing.assert_array_equal(one[:10], fewer)
    assert not np.array_equal(one, other)
    for number, image in enumerate(one):
        columns = np.nonzero((image == number + 1).all(axis=(0, 2)))[0]
        assert len(columns) == 3
        assert np.ptp(columns) == 2
    lefts = {int((image != 100).any(axis=(0, 2)).argmax()) for image in one}
    assert len(lefts) == 6  # every place in 0..5 is reached


@given(across=st.integers(0, 3000), down=st.integers(0, 3000), seed=st.integers(0, 2**31))
def test_a_place_is_within_the_room(across: int, down: int, seed: int) -> None:
    left, top = random_position("0123456789abcdef", seed, (across, down))

    assert 0 <= left <= across
    assert 0 <= top <= down


def test_places_are_even() -> None:
    counts = Counter(random_position(f"{n}", 0, (3, 0)) for n in range(4000))

    assert {place[0] for place in counts} == {0, 1, 2, 3}
    assert min(counts.values()) > 900


def test_digests_and_levels_are_of_what_was_written_and_padding_does_not_count(tmp_path: Path) -> None:
    arrays = TemporaryArrays(tmp_path, 3, SIDE)
    arrays.allocate()
    for row, colour in enumerate([(0, 100, 255), (0, 100, 255), (7, 8, 9)]):
        arrays.pixels.write(row, np.full((4, SIDE, 3), colour, np.uint8))
    images = pd.DataFrame({"label": ["lemon", "plum", "lemon"], "image_id": ["a", "b", "c"], "row": range(3)})
    images = images.assign(content_height=4, content_width=SIDE, fill=[(114, 114, 114)] * 3)

    written = write_shards(tmp_path, images, arrays, None)

    squares = np.load(tmp_path / "images-00000.npy")
    assert written.sha256 == [hashlib.sha256(square.tobytes()).hexdigest() for square in squares]
    assert {label: levels.sum(axis=1).tolist() for label, levels in written.levels.items()} == {
        "lemon": [2.0] * 3,
        "plum": [1.0] * 3,
    }
    assert [levels.nonzero()[0].tolist() for levels in written.levels["plum"]] == [[0], [25], [63]]  # bins of 4 levels
    assert [levels.nonzero()[0].tolist() for levels in written.levels["lemon"]] == [[0, 1], [2, 25], [2, 63]]
