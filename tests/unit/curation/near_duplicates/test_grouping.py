import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from benchmarks.copies import CHANGES, LARGE_CHANGES, SQUARE_SYMMETRIES, cropped, encoded, watermarked
from podium.curation.decoding import perceptual_hash
from podium.curation.near_duplicates import grouping
from podium.curation.near_duplicates.signature import SIGNATURE_BYTES, signature
from podium.data.decode import pixels_sha256

SIDE = 96


def lemon(seed: int) -> Image.Image:
    """A smooth yellow ellipse on a softly lit surface: seeds give different fruits that look much alike."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(float)
    angle, (a, b) = rng.uniform(0, np.pi), rng.uniform((24, 16), (36, 24))
    dx, dy = x - rng.normal(48, 5), y - rng.normal(48, 5)
    u, v = (dx * np.cos(angle) + dy * np.sin(angle)) / a, (dy * np.cos(angle) - dx * np.sin(angle)) / b
    fruit = 1 / (1 + np.exp(-8 * (1 - u * u - v * v)))
    colour = rng.normal((225, 190, 40), 14)
    shade = 1 - 0.3 * (u * rng.uniform(-1, 1) + v * rng.uniform(-1, 1))
    light = 205 + 25 * (x * rng.uniform(-1, 1) + y * rng.uniform(-1, 1)) / SIDE
    for _ in range(3):  # soft shadows
        light -= rng.uniform(5, 25) * np.exp(-((x - rng.uniform(0, 96)) ** 2 + (y - rng.uniform(0, 96)) ** 2) / 600)
    picture = (
        light[..., None] * (1 - fruit[..., None]) + (colour * np.clip(shade, 0.4, 1.2)[..., None]) * fruit[..., None]
    )
    return Image.fromarray(np.clip(picture + rng.normal(0, 2, picture.shape), 0, 255).astype(np.uint8))


def photograph(seed: int, width: int = 320, height: int = 240) -> Image.Image:
    """A picture with detail at every scale, like a photograph: noise whose amplitude falls with its frequency."""
    rng = np.random.default_rng([7, seed])
    picture = np.zeros((height, width, 3))
    for cells in (3, 6, 12, 24, 48, 96):
        layer = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8)).resize((width, height))
        picture += (np.asarray(layer, dtype=float) - 128) / cells**0.5
    return Image.fromarray(np.clip(128 + picture, 0, 255).astype(np.uint8))


def leaf(seed: int) -> Image.Image:
    """A rough ellipse with some texture on black, as products and leaves are photographed: most of it is plain."""
    rng = np.random.default_rng([8, seed])
    y, x = np.mgrid[0:256, 0:256] - 128.0
    angle, (a, b) = rng.uniform(-0.5, 0.5), rng.uniform((55, 85), (75, 105))
    u, v = (x * np.cos(angle) + y * np.sin(angle)) / a, (y * np.cos(angle) - x * np.sin(angle)) / b
    edge = 1 + sum(rng.uniform(0, 0.05) * np.cos(k * np.arctan2(v, u) + rng.uniform(0, 6)) for k in range(2, 9))
    inside = (np.hypot(u, v) < edge)[..., None]
    texture = np.asarray(photograph(1000 + seed, 256, 256), float) - 128
    return Image.fromarray(np.clip(inside * (np.array([70, 130, 60]) + texture), 0, 255).astype(np.uint8))


def small(seed: int) -> Image.Image:
    return photograph(seed, 32, 32)


def find(images: list[Image.Image], threads: int = 2) -> grouping.Duplicates:
    signatures = np.stack([signature(image) for image in images])
    return grouping.group_duplicates([pixels_sha256(image) for image in images], signatures, threads=threads)


PHOTOGRAPHS = [photograph(seed) for seed in range(12)]
LEMONS = [lemon(seed) for seed in range(12)]
LEAVES = [leaf(seed) for seed in range(12)]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("originals", [PHOTOGRAPHS, LEMONS], ids=["detailed", "smooth"])
def test_a_changed_copy_is_found_among_others(originals: list[Image.Image], change: str) -> None:
    found = find([*originals, *(CHANGES[change](image) for image in originals)])

    np.testing.assert_array_equal(found.first, [*range(12), *range(12)])
    assert found.kind == [""] * 12 + ["near"] * 12


@pytest.mark.parametrize("change", LARGE_CHANGES)
def test_a_copy_changed_much_is_found_among_detailed_pictures(change: str) -> None:
    found = find([*PHOTOGRAPHS[:6], *(LARGE_CHANGES[change](image) for image in PHOTOGRAPHS[:6])])

    np.testing.assert_array_equal(found.first, [*range(6), *range(6)])


@pytest.mark.parametrize("change", SQUARE_SYMMETRIES)
def test_a_turned_copy_of_a_smooth_picture_is_found(change: str) -> None:
    found = find([*LEMONS[:6], *(LARGE_CHANGES[change](image) for image in LEMONS[:6])])

    np.testing.assert_array_equal(found.first, [*range(6), *range(6)])


@pytest.mark.parametrize(
    ("originals", "change"),
    [(PHOTOGRAPHS, "square cut out")]
    + [(originals, change) for originals in (PHOTOGRAPHS, LEAVES) for change in ("caption bar", "white frame")],
)
def test_different_pictures_with_the_same_mark_are_not_merged(originals: list[Image.Image], change: str) -> None:
    found = find([LARGE_CHANGES[change](image) for image in originals])

    np.testing.assert_array_equal(found.first, np.arange(len(originals)))


def test_a_copy_changed_in_several_ways_at_once_is_found() -> None:
    copies = [encoded(cropped(image, 0.03).transpose(Image.Transpose.FLIP_LEFT_RIGHT), "JPEG", 50) for image in LEMONS]

    np.testing.assert_array_equal(find([*LEMONS, *copies]).first, [*range(12), *range(12)])


def test_a_cropped_copy_of_a_tiny_picture_is_found() -> None:
    tiny = [small(seed) for seed in range(20)]
    copies = [image.crop((1, 1, 31, 31)).resize((32, 32), Image.Resampling.BICUBIC) for image in tiny]

    np.testing.assert_array_equal(find([*tiny, *copies]).first, [*range(20), *range(20)])


def test_different_smooth_pictures_are_not_merged_although_their_hashes_are_close() -> None:
    lemons = [lemon(seed) for seed in range(300)]
    hashes = np.array([perceptual_hash(image) for image in lemons], dtype=np.uint64)
    close = np.bitwise_count(hashes[:, None] ^ hashes[None]) <= 12

    found = find(lemons)

    assert close.sum() - len(lemons) > 50  # the hash alone would merge many
    np.testing.assert_array_equal(found.first, np.arange(300))


def test_different_pictures_with_the_same_watermark_are_not_merged() -> None:
    smooth = [image.resize((288, 288), Image.Resampling.BICUBIC) for image in LEMONS]
    marked = [watermarked(image, 0.3, 0.45) for image in [*PHOTOGRAPHS, *smooth]]

    np.testing.assert_array_equal(find(marked).first, np.arange(24))


def test_the_same_pixels_are_exact_duplicates_and_a_copy_of_theirs_joins_them() -> None:
    original = photograph(3)
    images = [encoded(original, "JPEG", 30), photograph(4), original, original, cropped(original, 0.02)]

    found = find(images)

    assert found.first.tolist() == [0, 1, 0, 0, 0]
    assert found.kind == ["", "", "near", "exact", "near"]


def test_pictures_without_content_are_joined_only_when_equal() -> None:
    flat = [Image.new("RGB", (32, 32), (level, 255 - level, 40)) for level in range(0, 250, 5)]
    sizes = [Image.new("RGB", size) for size in ((1, 1), (1, 300), (300, 1))]

    assert find([*flat, *sizes, flat[7]]).first.tolist() == [*range(53), 7]


def test_one_image_and_none_are_fine() -> None:
    none = np.empty((0, SIGNATURE_BYTES), np.uint8)

    assert find([photograph(0)]).first.tolist() == [0]
    assert grouping.group_duplicates([], none).kind == []


def test_rows_tell_where_in_a_file_the_signatures_are() -> None:
    images = [photograph(0), photograph(1), encoded(photograph(0), "WEBP")]
    stored = np.zeros((6, SIGNATURE_BYTES), np.uint8)
    rows = np.array([4, 0, 3])
    stored[rows] = [signature(image) for image in images]

    found = grouping.group_duplicates([pixels_sha256(image) for image in images], stored, rows)

    assert found.first.tolist() == [0, 1, 0]


MIXED = [
    *PHOTOGRAPHS[:6],
    *LEMONS[:6],
    *(CHANGES["mirrored"](image) for image in PHOTOGRAPHS[:3]),
    *(CHANGES["5 % cropped off every side"](image) for image in LEMONS[:3]),
    PHOTOGRAPHS[5],
    LEMONS[5],
]
MIXED_SHA256 = [pixels_sha256(image) for image in MIXED]
MIXED_SIGNATURES = np.stack([signature(image) for image in MIXED])
MIXED_GROUPS = [*range(12), 0, 1, 2, 6, 7, 8, 5, 11]


@settings(max_examples=20)
@given(st.permutations(range(len(MIXED))), st.integers(1, 3))
def test_neither_the_order_of_rows_nor_threads_change_the_groups(order: list[int], threads: int) -> None:
    found = grouping.group_duplicates([MIXED_SHA256[at] for at in order], MIXED_SIGNATURES[order], threads=threads)

    given_groups = [MIXED_GROUPS[at] for at in order]
    expected = [given_groups.index(group) for group in given_groups]
    assert found.first.tolist() == expected
    assert [kind == "" for kind in found.kind] == [first == at for at, first in enumerate(expected)]


def test_links_name_the_pairs_behind_the_groups() -> None:
    links = grouping.group_duplicates(MIXED_SHA256, MIXED_SIGNATURES).links

    pairs = {
        (*sorted((a, b)), m.bit_count() % 2 == 1)
        for a, b, m in zip(links.first.tolist(), links.second.tolist(), links.symmetry.tolist(), strict=True)
    }
    expected = {(0, 12, True), (1, 13, True), (2, 14, True), (6, 15, False), (7, 16, False), (8, 17, False)}
    assert expected <= pairs
    assert {pair[:2] for pair in pairs} == {pair[:2] for pair in expected}


def test_a_signature_is_the_same_bytes_every_time_and_has_the_promised_size() -> None:
    for image in (photograph(1), lemon(1), small(1), Image.new("RGB", (1, 1)), photograph(2, 600, 40)):
        first, again = signature(image), signature(image.copy())
        assert first.dtype == np.uint8
        assert first.shape == (SIGNATURE_BYTES,)
        assert first.tobytes() == again.tobytes()


def test_the_hash_does_not_depend_on_the_size_of_a_picture() -> None:
    image = photograph(5)
    distance = (perceptual_hash(image) ^ perceptual_hash(image.resize((300, 300)))).bit_count()

    assert distance <= 4
