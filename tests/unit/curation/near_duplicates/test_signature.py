import numpy as np
import pytest
from PIL import Image

from podium.curation.near_duplicates.signature import InitialWarp, Similarity, align, initial_warps

SIDE = 32


def picture(seed: int) -> Image.Image:
    """Soft patches of colour, larger than a thumbnail."""
    patches = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(patches).resize((200, 200), Image.Resampling.BICUBIC)


def thumbnail(image: Image.Image) -> np.ndarray:
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def compared(first: np.ndarray, second: np.ndarray) -> Similarity:
    start = initial_warps(first[None], second[None])[0]
    return Similarity(0, 0) if start == InitialWarp.NONE else align(first, second, start)


def test_the_same_picture_is_wholly_alike() -> None:
    same = compared(thumbnail(picture(0)), thumbnail(picture(0)))

    assert same.everywhere == pytest.approx(1, abs=1e-5)
    assert same.mostly == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_a_crop_and_a_turn_are_undone_either_way_round(seed: int) -> None:
    original = picture(seed)
    changed = thumbnail(original.rotate(3, Image.Resampling.BICUBIC).crop((12, 8, 192, 190)))

    assert compared(thumbnail(original), changed).same_picture
    assert compared(changed, thumbnail(original)).same_picture


def test_different_pictures_are_not_the_same() -> None:
    assert not any(
        compared(thumbnail(picture(a)), thumbnail(picture(b))).same_picture for a in range(6) for b in range(a)
    )


def test_a_flat_picture_is_like_nothing_not_even_itself() -> None:
    flat = np.full((SIDE, SIDE, 3), 200, np.uint8)

    assert not compared(flat, flat).same_picture
    assert not compared(flat, thumbnail(picture(1))).same_picture
    assert initial_warps(flat[None], flat[None]).tolist() == [InitialWarp.NONE]


def test_only_pictures_that_resemble_each_other_as_they_are_are_worth_aligning() -> None:
    pictures = np.stack([thumbnail(picture(seed)) for seed in range(8)])
    cropped = np.stack([thumbnail(picture(seed).crop((10, 10, 190, 190))) for seed in range(8)])

    assert initial_warps(pictures, cropped).tolist() == [InitialWarp.FIRST_IS_LARGER] * 8
    assert initial_warps(cropped, pictures).tolist() == [InitialWarp.SECOND_IS_LARGER] * 8
    assert (initial_warps(pictures, np.roll(cropped, 1, axis=0)) == InitialWarp.NONE).all()
    assert initial_warps(pictures[:0], cropped[:0]).shape == (0,)
