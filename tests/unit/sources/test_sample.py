"""The embedded sample: its truth becomes columns, and it must agree with its images."""

import zipfile
from pathlib import Path

import pytest

from podium.config.dataset import Fetch, SampleDataset
from podium.core.errors import DataError
from podium.core.layout import Layout
from podium.sources.archive import open_sample
from podium.sources.source import FileSource

HEADER = "path,label,group,x0,y0,x1,y1,occlusion,clutter,objects,view,other_label,planted\n"
TRUTH = (
    HEADER + "tulip/001.jpg,tulip,flower,1,2,30,40.5,0.2500,0.0000,2,rotated,sunflower,\n"
    "lemon/000.jpg,lemon,fruit,0,0,9,9,0,0.1,1,front,,unreadable\n"
)
IMAGES = {"sample/lemon/000.jpg": b"\xff\xd8", "sample/tulip/001.jpg": b"tulip"}


def write(path: Path, truth: str | bytes | None, images: dict[str, bytes]) -> Path:
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in images.items():
            archive.writestr(name, data)
        if truth is not None:
            archive.writestr("sample/truth.csv", truth)
    return path


def read_sample(path: Path) -> FileSource:
    section = SampleDataset(location=str(path), licence="CC0-1.0")
    return open_sample(Layout(path.parents[1]), section, Fetch())


def test_truth_becomes_labels_groups_and_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "data" / "sample.zip", TRUTH, IMAGES | {"sample/tulip/002.jpg": b"", "README": b""})
    source = read_sample(path)
    lemon, tulip = source.listing.images
    assert (lemon.path, lemon.label, lemon.group, lemon.split) == ("lemon/000.jpg", "lemon", "fruit", "")
    assert lemon.extras["planted"] == "unreadable"
    assert tulip.extras == {
        "x0": 1.0,
        "y0": 2.0,
        "x1": 30.0,
        "y1": 40.5,
        "occlusion": 0.25,
        "clutter": 0.0,
        "objects": 2,
        "view": "rotated",
        "other_label": "sunflower",
        "planted": "",
    }
    assert source.read("tulip/001.jpg") == b"tulip"
    assert source.listing.name == "sample"
    assert [(s.path, s.reason) for s in source.listing.skipped] == [
        ("README", "not in truth.csv"),
        ("tulip/002.jpg", "not in truth.csv"),
    ]


@pytest.mark.parametrize(
    ("truth", "images", "message"),
    [
        (None, IMAGES, "holds no sample/truth.csv: use dataset.source `archive`"),
        (TRUTH, {"sample/lemon/000.jpg": b""}, "lists 'sample/tulip/001.jpg', but the archive lacks it"),
        (TRUTH.replace("0.2500", "much"), IMAGES, "truth.csv is damaged .*much"),
        (TRUTH.replace(",planted", ""), IMAGES, "truth.csv is damaged .*planted"),
        ("\n".join(TRUTH.splitlines()[:-1] + ["lemon/000.jpg,lemon"]), IMAGES, "truth.csv is damaged"),
        (TRUTH.encode("utf-16"), IMAGES, "truth.csv is damaged"),
        (HEADER, {}, "lists no images"),
    ],
)
def test_a_sample_that_contradicts_itself_is_refused(
    truth: str | None, images: dict[str, bytes], message: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "data" / "sample.zip", truth, images)
    with pytest.raises(DataError, match=message) as caught:
        read_sample(path)
    assert "\n" not in str(caught.value)
