"""The drawn sample: reproducible, true to its truth table, and apart from the pretraining classes."""

from __future__ import annotations

import csv
import io
import zipfile
from collections import Counter
from pathlib import Path

import draw_sample
import numpy as np
import pytest
import sample_kinds
import sample_scene
from PIL import Image, UnidentifiedImageError

KINDS = {kind.name: kind for kind in sample_kinds.produce_kinds()}
ALWAYS_HARD = sample_scene.Style(hard_share=1.0, second_mode_share=1.0)


@pytest.fixture(scope="module")
def members() -> list[draw_sample.Member]:
    """A small sample with its planted defects."""
    return draw_sample.draw_sample(seed=5, per_class=6, processes=1)


def test_twelve_classes_in_six_pairs_and_three_groups() -> None:
    assert len(KINDS) == 12
    assert {name for pair in sample_kinds.PAIRS for name in pair} == set(KINDS)
    assert {kind.group for kind in KINDS.values()} == {"fruit", "vegetable", "flower"}


def test_same_seed_gives_same_bytes_in_any_order() -> None:
    wanted = [("lemon", 3), ("tulip", 0), ("ginger", 41)]
    first = {item: draw_sample.draw_member(9, KINDS[item[0]], item[1]).data for item in wanted}
    second = {item: draw_sample.draw_member(9, KINDS[item[0]], item[1]).data for item in reversed(wanted)}
    assert first == second
    assert draw_sample.draw_member(10, KINDS["lemon"], 3).data != first["lemon", 3]


def test_zip_is_byte_identical_whatever_the_order_of_its_members(
    members: list[draw_sample.Member], tmp_path: Path
) -> None:
    one = draw_sample.write_zip(members, tmp_path / "one.zip")
    other = draw_sample.write_zip(members[::-1], tmp_path / "other.zip")
    assert one == other
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        names = archive.namelist()
        assert names == sorted(names)
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
        rows = list(csv.DictReader(io.StringIO(archive.read("sample/truth.csv").decode())))
    assert tuple(rows[0]) == draw_sample.COLUMNS
    assert {f"sample/{row['path']}" for row in rows} == set(names) - {"sample/truth.csv"}


def test_truth_is_within_its_ranges(members: list[draw_sample.Member]) -> None:
    for member in members:
        truth = member.truth
        x0, y0, x1, y1 = truth.box
        assert 0 <= x0 < x1 <= draw_sample.SIZE
        assert 0 <= y0 < y1 <= draw_sample.SIZE
        assert 0 <= truth.occlusion <= 1
        assert 0 <= truth.clutter <= 1
        assert 1 <= truth.objects <= 4
        assert truth.view in {"front", "rotated"}
        assert (truth.other_label == "") == (truth.objects == 1)
        assert truth.other_label != member.kind.name
        assert truth.other_label == "" or truth.other_label in KINDS


@pytest.mark.parametrize("name", sorted(KINDS))
def test_box_is_the_extent_of_the_object(name: str) -> None:
    for index, style in ((0, None), (1, ALWAYS_HARD)):
        picture = sample_scene.draw_picture(
            3, KINDS[name], index, size=96, others=tuple(KINDS.values()), partners=draw_sample.PARTNERS, style=style
        )
        rows, columns = np.flatnonzero(picture.mask.any(axis=1)), np.flatnonzero(picture.mask.any(axis=0))
        assert picture.truth.box == (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        assert picture.mask.mean() > 0.03
        assert not (picture.visible & ~picture.mask).any()
        hidden = 1 - picture.visible.sum() / picture.mask.sum()
        assert hidden == pytest.approx(picture.truth.occlusion, abs=0.12)  # soft edges


def test_hard_modes_show_in_the_truth() -> None:
    seen: Counter[str] = Counter()
    for index in range(16):
        truth = sample_scene.draw_picture(
            4, KINDS["orange"], index, size=96, others=tuple(KINDS.values()), style=ALWAYS_HARD
        ).truth
        seen["occluded"] += truth.occlusion > 0.1
        seen["busy"] += truth.clutter > 0.1
        seen["rotated"] += truth.view == "rotated"
        seen["several"] += truth.objects > 1
    assert set(seen) == set(sample_scene.HARD_MODES)
    assert all(seen.values())


def test_clean_pictures_say_so() -> None:
    clean = sample_scene.Style(hard_share=0.0)
    for index in range(4):
        truth = sample_scene.draw_picture(4, KINDS["tulip"], index, size=96, others=(), style=clean).truth
        assert (truth.occlusion, truth.clutter, truth.objects, truth.view) == (0.0, 0.0, 1, "front")


def test_planted_defects_are_what_they_claim(members: list[draw_sample.Member]) -> None:
    planted = [member for member in members if member.planted]
    assert Counter(member.planted for member in planted) == {
        "unreadable": 2,
        "exact_duplicate": 3,
        "near_duplicate": 3,
    }
    regular = [_pixels(member.data) for member in members if not member.planted]
    for member in planted:
        if member.planted == "unreadable":
            with pytest.raises((OSError, UnidentifiedImageError)):
                _pixels(member.data)
            continue
        pixels = _pixels(member.data)
        if member.planted == "exact_duplicate":
            assert min(float(np.abs(pixels - other).max()) for other in regular) == 0
            continue
        # A crop moves fine texture, so the coarse picture is compared.
        gaps = sorted(float(np.abs(_coarse(pixels) - _coarse(other)).mean()) for other in regular)
        assert 0 < gaps[0] < 0.5 * gaps[1]


def test_random_classes_differ_from_the_twelve() -> None:
    kinds = sample_kinds.random_kinds(20, 140)
    assert len({kind.name for kind in kinds}) == 140
    assert not {kind.name for kind in kinds} & set(KINDS)
    known = [form for kind in KINDS.values() for form in kind.forms]
    closest = min(sample_kinds.distance(form, other) for kind in kinds for form in kind.forms for other in known)
    assert closest >= sample_kinds.MIN_DISTANCE
    assert kinds[:3] == sample_kinds.random_kinds(20, 3)


def test_random_kinds_needs_a_count() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        sample_kinds.random_kinds(1, 0)


def test_too_small_a_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 32"):
        sample_scene.draw_picture(1, KINDS["lemon"], 0, size=8, others=())


def _coarse(
    pixels: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Return the means of 8 by 8 pixel blocks, less the picture's own mean."""
    blocks = pixels.reshape(12, 8, 12, 8, 3).mean(axis=(1, 3))
    return blocks - blocks.mean()


def _pixels(data: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Decode a JPEG file to float64 RGB."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"), dtype=np.float64)
