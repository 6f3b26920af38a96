import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from podium.curation import duplicates
from podium.curation.alignment import similarity
from podium.data.images import pixels_sha256

SIDE = 96
DISTANCE = 12


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


def scribble(seed: int) -> Image.Image:
    """A picture with detail: coloured patches of several sizes."""
    rng = np.random.default_rng([7, seed])
    layers = [
        np.asarray(Image.fromarray(rng.integers(0, 256, (n, n, 3), dtype=np.uint8)).resize((SIDE, SIDE)), dtype=float)
        for n in (3, 6, 12)
    ]
    return Image.fromarray(np.clip(np.average(layers, axis=0, weights=(3, 2, 1)), 0, 255).astype(np.uint8))


def reencoded(image: Image.Image, quality: int = 60) -> Image.Image:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return Image.open(io.BytesIO(out.getvalue())).convert("RGB")


def cropped(image: Image.Image, left: int = 3, top: int = 2, right: int = 1, bottom: int = 3) -> Image.Image:
    part = image.crop((left, top, image.width - right, image.height - bottom))
    return part.resize(image.size, Image.Resampling.BICUBIC)


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "re-encoded": lambda image: reencoded(image, 40),
    "half the size": lambda image: image.resize((SIDE // 2, SIDE // 2)),
    "slightly cropped": cropped,
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.12),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.8),
    "all at once": lambda image: reencoded(ImageEnhance.Brightness(cropped(image, 2, 2, 1, 1)).enhance(1.1), 78),
}


def find(images: list[Image.Image], distance: int = DISTANCE) -> duplicates.Duplicates:
    return duplicates.find(
        sha256=[pixels_sha256(image) for image in images],
        hashes=np.array([duplicates.perceptual_hash(image) for image in images], dtype=np.uint64),
        thumbnails=np.stack([duplicates.thumbnail(image) for image in images]),
        largest_distance=distance,
    )


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("draw", [lemon, scribble])
def test_a_changed_copy_is_found_among_others(draw: Callable[[int], Image.Image], change: str) -> None:
    originals = [draw(seed) for seed in range(12)]

    found = find([*originals, *(CHANGES[change](image) for image in originals)])

    np.testing.assert_array_equal(found.first, [*range(12), *range(12)])
    assert found.kind == [""] * 12 + ["near"] * 12


def test_different_smooth_pictures_are_not_merged_although_their_hashes_are_close() -> None:
    lemons = [lemon(seed) for seed in range(300)]
    hashes = np.array([duplicates.perceptual_hash(image) for image in lemons], dtype=np.uint64)
    close = np.bitwise_count(hashes[:, None] ^ hashes[None]) <= DISTANCE

    found = find(lemons)

    assert close.sum() - len(lemons) > 50  # the hash alone would merge many
    np.testing.assert_array_equal(found.first, np.arange(300))


def test_the_same_pixels_are_exact_duplicates_whatever_the_distance() -> None:
    found = find([scribble(0), scribble(1), scribble(0), scribble(0)], distance=0)

    assert found.first.tolist() == [0, 1, 0, 0]
    assert found.kind == ["", "", "exact", "exact"]


def test_duplicates_of_duplicates_are_one_group_led_by_its_first_image() -> None:
    original = scribble(3)
    chain = [reencoded(original, 30), scribble(4), original, original, cropped(original, 2, 1, 1, 2)]

    found = find(chain)

    assert found.first.tolist() == [0, 1, 0, 0, 0]
    assert found.kind == ["", "", "near", "exact", "near"]


def test_flat_pictures_of_different_colours_stay_apart() -> None:
    flat = [Image.new("RGB", (32, 32), (level, 255 - level, 40)) for level in range(0, 250, 5)]

    assert find(flat).first.tolist() == list(range(50))


def test_the_hash_does_not_depend_on_the_size_of_a_picture() -> None:
    image = scribble(5)
    distance = (duplicates.perceptual_hash(image) ^ duplicates.perceptual_hash(image.resize((300, 300)))).bit_count()

    assert distance <= 4


def test_similarity_is_symmetric_and_one_for_the_same_picture() -> None:
    first = np.stack([duplicates.thumbnail(lemon(seed)) for seed in range(6)])
    second = np.roll(first, 1, axis=0)

    np.testing.assert_allclose(similarity(first, second), similarity(second, first), atol=1e-5)
    np.testing.assert_allclose(similarity(first, first), 1, atol=1e-5)


def test_twelve_thousand_hashes_are_compared_in_seconds_and_planted_pairs_found() -> None:
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, 12_000, dtype=np.uint64)
    hashes[9_000:9_050] = hashes[:50] ^ np.uint64(0b1011)
    thumbnails = rng.integers(0, 256, (12_000, 24, 24, 3), dtype=np.uint8)
    thumbnails[9_000:9_050] = thumbnails[:50]

    found = duplicates.find([str(i) for i in range(12_000)], hashes, thumbnails, DISTANCE)

    expected = np.arange(12_000)
    expected[9_000:9_050] = np.arange(50)
    np.testing.assert_array_equal(found.first, expected)
