"""Tables of Open Images with other headers, with damage, and with classes nobody knows."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.config.dataset import OpenImagesDataset
from podium.core.errors import DataError
from podium.sources.openimages import read_openimages
from tests.fake_openimages import BOXES, CLASSES, PHOTOGRAPHS, box, small_world, world_of
from tests.site import Site
from tests.unit.sources.openimages_reading import LABELS, PATIENT, listing, refusal

TRAIN = BOXES["train"]
A = "00000000000000aa"


@pytest.mark.parametrize(
    "header", ["", "LabelName,DisplayName\n", "id,name\n", "\ufeffLabelName,DisplayName\n", "\ufeff"]
)
def test_class_names_are_read_with_and_without_a_header(header: str, site: Site, tmp_path: Path) -> None:
    world = small_world()
    world.class_header = header
    world.put_on(site)
    found = listing(site, tmp_path, labels={"first": [next(iter(CLASSES))], "last": ["Billboard"]})
    assert {i.source_label for i in found.images} == {"Person", "Billboard"}


def test_an_unknown_class_is_named_with_the_nearest(site: Site, tmp_path: Path) -> None:
    small_world().put_on(site)
    said = refusal(site, tmp_path, labels={"person": ["Persons"], "animal": ["Dog"]})
    assert said == (
        "dataset.labels.person lists 'Persons', which is no class of Open Images with boxes; did you mean 'Person'?"
    )


def test_a_label_without_boxes_is_named(site: Site, tmp_path: Path) -> None:
    world_of(box(A, "Man", (0, 0, 1, 1)), box(A, "Dog", (0, 0, 0.5, 1))).put_on(site)
    said = refusal(site, tmp_path, subsets=["train"])
    assert said.startswith("dataset.labels.object: there is no box of Car, Salt, pepper in train")


def climbing(text: str) -> str:
    victim = next(line for line in text.splitlines() if "/m/0bt9lr" in line)[:16]
    return text.replace(victim, "../../../../pass")


DAMAGE: dict[str, tuple[Callable[[str], str], str]] = {
    "a row is too short": (
        lambda t: t.replace("xclick,/m/0bt9lr,1,", "xclick\n", 1),
        "oidv6.*is damaged .*Expected 21",
    ),
    "a side is a word": (lambda t: t.replace(",/m/0bt9lr,1,0.", ",/m/0bt9lr,1,zero.", 1), "oidv6.*is damaged"),
    "a column is missing": (lambda t: t.replace("XMax", "Xmax", 1), "has no column 'XMax'"),
    "an id is short": (
        lambda t: t.replace("\n6", "\n", 1),
        "ImageID that is not 16 characters",
    ),
    "an id leaves the folder": (lambda t: climbing(t), "ImageID '../../../../pass', not 16 hexadecimal digits"),
    "a page of html": (lambda t: "<html>\n<body>\n", "has no column 'ImageID'"),
    "empty": (lambda t: "", "has no column 'ImageID'"),
}


@pytest.mark.parametrize(("damage", "said"), DAMAGE.values(), ids=DAMAGE)
def test_damaged_tables_are_one_line(damage: Callable[[str], str], said: str, site: Site, tmp_path: Path) -> None:
    small_world().put_on(site)
    path = f"/openimages/{TRAIN}"
    site.files[path] = damage(site.files[path].decode()).encode()
    assert re.search(said, refusal(site, tmp_path))


def test_a_damaged_table_of_photographs_is_one_line(site: Site, tmp_path: Path) -> None:
    small_world().put_on(site)
    path = f"/openimages/{PHOTOGRAPHS['train']}"
    site.files[path] = site.files[path].replace(b"License", b"Licence", 1)
    assert "train-images-boxable-with-rotation.csv has no column 'License'" in refusal(site, tmp_path)


@settings(max_examples=60)
@given(
    subject=st.sampled_from(["labels/detections.csv", "metadata/classes.csv", "metadata/image_ids.csv"]),
    at=st.floats(0, 1, exclude_max=True),
    gone=st.integers(0, 40),
    new=st.binary(max_size=12) | st.sampled_from([b'"', b"\n", b",", b"\0", b"\r\n,", b"nan", b"1e999", b"\xff\xfe"]),
)
def test_whatever_a_table_holds_the_answer_is_a_listing_or_one_line(
    subject: str, at: float, gone: int, new: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("oi")
    small_world(3).put_in(folder)
    path = folder / "train" / subject
    data = path.read_bytes()
    start = int(at * len(data))
    path.write_bytes(data[:start] + new + data[start + gone :])
    asked = OpenImagesDataset(location=str(folder), licence="CC-BY-4.0", labels=LABELS, subsets=["train"])
    try:
        source = read_openimages(asked, PATIENT, folder)
        assert all(0 <= i.box.left < i.box.right <= 1 for i in source.listing.images)
    except DataError as error:
        assert "\n" not in str(error)
