"""What Open Images becomes: boxes of chosen classes as images, with licence, author and what is known of each box."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from podium.core.layout import Layout
from podium.data.manifest import RAW_COLUMNS, RawImages, read_manifest
from podium.pipeline.fetch import fetch_dataset
from podium.sources.openimages import read_openimages
from tests.fake_openimages import BY, box, shuffled, small_world, world_of
from tests.site import Site
from tests.unit.sources.openimages_reading import PATIENT, dataset, listing, of_train

A, B, C = "00000000000000aa", "00000000000000bb", "00000000000000cc"


def test_boxes_of_the_chosen_classes_become_images_with_licence_and_author(site: Site, tmp_path: Path) -> None:
    rows = [
        box(A, "Man", (0.1, 0.2, 0.5, 0.7), IsOccluded=1, IsTruncated=-1, IsInside=1),
        box(A, "Dog", (0.25, 0, 1, 0.5), IsGroupOf=1, IsDepiction=1),
        box(B, "Human face", (0, 0, 1, 1)),
        box(B, "Salt, pepper", (0, 0, 1, 1)),
    ]
    found = of_train(site, world_of(*rows), tmp_path)
    assert [(i.path, i.label, i.source_label, i.split, i.box.text) for i in found.images] == [
        (f"train/{A}.jpg", "person", "Man", "train", "0.1,0.2,0.5,0.7"),
        (f"train/{A}.jpg", "animal", "Dog", "train", "0.25,0.0,1.0,0.5"),
        (f"train/{B}.jpg", "object", "Salt, pepper", "train", ""),
    ]
    assert found.images[0].licence == BY
    assert found.images[0].extras == {
        "is_occluded": 1,
        "is_truncated": -1,
        "is_group_of": 0,
        "is_depiction": 0,
        "is_inside": 1,
        "other_boxes": 1,
        "box_area": 0.2,
        "author": "Ana Ł. of 0000",
        "page": "https://www.flickr.com/photos/0000",
        "rotation": 0,
    }
    assert (found.name, found.sha256, found.skipped) == ("openimages", None, ())


def test_subsets_become_splits(site: Site, tmp_path: Path) -> None:
    small_world().put_on(site)
    found = listing(site, tmp_path)
    assert {(i.path.partition("/")[0], i.split) for i in found.images} == {
        ("train", "train"),
        ("validation", "val"),
        ("test", "test"),
    }
    assert {i.split for i in listing(site, tmp_path, subsets=["val", "test"]).images} == {"val", "test"}


def test_rotation_is_kept_and_nothing_is_turned(site: Site, tmp_path: Path) -> None:
    world = world_of(*[box(p, n, (0.1, 0.2, 0.3, 0.4)) for p, n in ((A, "Man"), (B, "Dog"), (C, "Car"))])
    for row, said in zip(world.photographs["train"], ("270.0", "", "nan"), strict=True):
        row["Rotation"] = said
    found = of_train(site, world, tmp_path)
    assert [i.extras["rotation"] for i in found.images] == [270, -1, -1]
    assert {i.box.text for i in found.images} == {"0.1,0.2,0.3,0.4"}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("local", [False, True], ids=["bucket", "folder"])
def test_a_box_on_the_stored_picture_frames_the_same_thing_on_the_upright_one(
    local: bool, orientation: int, site: Site, tmp_path: Path
) -> None:
    stored = np.zeros((20, 40, 3), np.uint8)
    stored[2:8, 4:20] = 255  # what the annotator framed, in an uneven place
    out, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(out, "PNG", exif=exif)
    world = world_of(box(A, "Man", (0.1, 0.1, 0.5, 0.4)), box(B, "Dog", (0, 0, 1, 1)), box(C, "Car", (0, 0, 1, 1)))
    world.images["train"][A] = out.getvalue()
    world.put_on(site)
    world.put_in(tmp_path / "open")
    place = {"location": str(tmp_path / "open")} if local else {}
    source = read_openimages(dataset(site, subsets=["train"], **place), PATIENT, tmp_path)
    man = next(image for image in source.prepare(source.listing.images).images if image.label == "person")
    with Image.open(io.BytesIO(source.read(man.path))) as opened:
        upright = np.asarray(ImageOps.exif_transpose(opened))[..., 0]
    height, width = upright.shape
    sides = man.box.left * width, man.box.top * height, man.box.right * width, man.box.bottom * height
    left, top, right, bottom = (round(side) for side in sides)
    assert np.allclose(sides, (left, top, right, bottom))
    assert (upright[top:bottom, left:right] == 255).all() and (upright == 255).sum() == (right - left) * (bottom - top)


def test_a_photograph_without_metadata_leaves_the_licence_to_the_dataset(site: Site, tmp_path: Path) -> None:
    world = world_of(*[box(p, n, (0, 0, 1, 1)) for p, n in ((A, "Man"), (B, "Dog"), (C, "Car"))])
    del world.photographs["train"][0]
    found = of_train(site, world, tmp_path).images
    assert [i.licence for i in found] == ["", BY, BY]
    assert (found[0].extras["author"], found[0].extras["rotation"]) == ("", -1)


def test_the_manifest_keeps_box_licence_and_author_of_every_image(site: Site, tmp_path: Path) -> None:
    world = small_world()
    world.put_on(site)
    gone = min(world.images["train"])
    del site.files[f"/bucket/train/{gone}.jpg"]
    layout = Layout(tmp_path)
    fetch_dataset(layout, dataset(site), PATIENT, {})
    manifest = read_manifest(layout.raw / "manifest.parquet", RAW_COLUMNS)
    assert len(manifest) == 35 * 6 and manifest["image_id"].is_unique and manifest["photo_id"].nunique() == 35
    assert set(manifest["licence"]) == {BY} and manifest["author"].str.startswith("Ana Ł. of ").all()
    assert set(manifest["is_occluded"]) == {-1, 0, 1}
    sides = manifest[["box_left", "box_top", "box_right", "box_bottom"]]
    area = (sides["box_right"] - sides["box_left"]) * (sides["box_bottom"] - sides["box_top"])
    assert (manifest["box_area"] - area).abs().max() < 1e-9
    row = manifest[manifest["source_label"] == "Woman"].iloc[0]
    subset, _, name = row["path"].partition("/")
    assert RawImages(layout.raw).read(row["shard"], row["photo_id"]) == world.images[subset][name[:-4]]
    sources = json.loads((layout.raw / "sources.json").read_text())["sources"][0]
    assert [(file["path"], file["image"]) for file in sources["skipped"]] == [(f"train/{gone}.jpg", True)]
    assert sources["licences"] == {BY: 35 * 6}


def test_fetching_twice_gives_the_same_bytes(site: Site, tmp_path: Path) -> None:
    layouts = [Layout(tmp_path / "a"), Layout(tmp_path / "b")]
    for seed, layout in enumerate(layouts):
        shuffled(small_world(), seed).put_on(site)
        fetch_dataset(layout, dataset(site, limit_per_class=4), PATIENT, {})
    first, second = ({p.name: p.read_bytes() for p in layout.raw.iterdir()} for layout in layouts)
    assert first == second
