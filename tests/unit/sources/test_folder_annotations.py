"""Folders that are no classes: annotated datasets and hierarchies are refused by what they look like."""

from pathlib import Path

import pytest

from podium.config.dataset import FolderLayout
from podium.core.errors import DataError
from podium.sources.folder import read_folder
from podium.sources.source import FileSource

COCO = b'{"images": [], "annotations": [{"bbox": [0, 0, 1, 1], "category_id": 3}], "categories": []}'
XML, TXT = b"<annotation/>", b"0 0.5 0.5 1 1"
BOXES = "write a table with a row a box"


def read(folder: Path, files: dict[str, bytes], layout: FolderLayout = "auto") -> FileSource:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return read_folder(folder, "photos", title="folder photos", layout=layout)


def of(*names: str) -> dict[str, bytes]:
    return dict.fromkeys(names, b"x")


REFUSED = {
    "VOC": (
        of("VOC2012/JPEGImages/1.jpg", "VOC2012/JPEGImages/2.jpg", "VOC2012/SegmentationClass/1.png")
        | {"VOC2012/Annotations/1.xml": XML, "VOC2012/Annotations/2.xml": XML},
        ["looks like Pascal VOC ('VOC2012/Annotations/1.xml'", BOXES],
    ),
    "VOC without masks": (
        of("JPEGImages/1.jpg", "JPEGImages/2.jpg") | {"Annotations/1.xml": XML, "Annotations/2.xml": XML},
        ["looks like Pascal VOC", BOXES],
    ),
    "COCO as it is published": (
        of("train2017/1.jpg", "val2017/2.jpg") | {"annotations/instances_train2017.json": COCO},
        ["looks like COCO ('annotations/instances_train2017.json' holds boxes)", BOXES],
    ),
    "COCO as Roboflow writes it": (
        of("train/1.jpg", "valid/2.jpg") | {"train/_annotations.coco.json": COCO, "valid/_annotations.coco.json": COCO},
        ["looks like COCO", BOXES],
    ),
    "COCO that starts with its images": (
        of("images/1.jpg") | {"labels.json": b'{"images": [' + b'{"id": 1, "file_name": "1.jpg"}, ' * 300},
        ["looks like COCO ('labels.json' holds boxes)", BOXES],
    ),
    "COCO in a flat folder": (of("images/1.jpg") | {"labels.json": COCO}, ["looks like COCO", BOXES]),
    "YOLO": (
        of("images/train/1.jpg", "images/val/2.jpg") | {"labels/train/1.txt": TXT, "labels/val/2.txt": TXT},
        ["looks like YOLO ('labels/train/1.txt'", BOXES],
    ),
    "YOLO as Roboflow writes it": (
        of("train/images/1.jpg", "valid/images/2.jpg") | {"train/labels/1.txt": TXT, "valid/labels/2.txt": TXT},
        ["looks like YOLO", BOXES],
    ),
    "two levels of classes": (
        of("animal/cat/1.jpg", "animal/dog/1.jpg", "vehicle/car/1.jpg", "vehicle/bus/1.jpg"),
        [
            "looks like a hierarchy of classes: 'animal' holds folders ('cat', 'dog', ...)",
            "set dataset.layout: classes for the upper level, or any/classes for the lower one",
        ],
    ),
    "two levels of classes below splits": (
        of(
            *(
                f"{s}/{c}/1.jpg"
                for s in ("train", "test")
                for c in ("fruit/fig", "fruit/kiwi", "root/leek", "root/beet")
            )
        ),
        ["looks like a hierarchy of classes: 'fruit'", "{train: train, test: test} for the upper level"],
    ),
}


@pytest.mark.parametrize(("files", "said"), REFUSED.values(), ids=REFUSED)
def test_folders_that_are_no_classes_are_refused_by_what_they_look_like(
    files: dict[str, bytes], said: list[str], tmp_path: Path
) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, files)
    assert all(part in str(caught.value) for part in said) and "\n" not in str(caught.value)


def test_what_a_person_said_of_the_folders_counts(tmp_path: Path) -> None:
    files, _ = REFUSED["two levels of classes"]
    assert {image.label for image in read(tmp_path, files, "classes").listing.images} == {"animal", "vehicle"}
    assert {i.label for i in read(tmp_path, files, "any/classes").listing.images} == {"cat", "dog", "car", "bus"}
    below, _ = REFUSED["two levels of classes below splits"]
    said = {"train": "train", "test": "test"}
    assert {i.label for i in read(tmp_path / "below", below, said).listing.images} == {"fruit", "root"}


FINE = {
    "classes with boxes beside them": (
        of("Images/cat/1.jpg", "Images/dog/2.jpg") | {"Annotations/cat/1.xml": XML, "Annotations/dog/2.xml": XML},
        {"cat", "dog"},
    ),
    "a class called images, without boxes": (of("images/1.jpg", "drawings/1.jpg"), {"images", "drawings"}),
    "folders of patients": (of("ill/p01/1.jpg", "ill/p02/1.jpg", "well/p03/1.jpg", "well/p04/1.jpg"), {"ill", "well"}),
    "splits below each class": (
        of(*(f"{label}/{split}/1.jpg" for label in ("cat", "dog") for split in ("train", "val", "test"))),
        {"cat", "dog"},
    ),
    "one folder below each class": (of("cat/photos/1.jpg", "dog/photos/1.jpg"), {"cat", "dog"}),
    "some images directly in a class": (of("a/x/1.jpg", "a/y/1.jpg", "a/1.jpg", "b/v/1.jpg", "b/w/1.jpg"), {"a", "b"}),
    "notes with the name of an image": (of("a/1.jpg", "a/2.jpg", "b/3.jpg", "a/1.txt"), {"a", "b"}),
}


@pytest.mark.parametrize(("files", "labels"), FINE.values(), ids=FINE)
def test_class_folders_are_read_whatever_lies_beside_them(
    files: dict[str, bytes], labels: set[str], tmp_path: Path
) -> None:
    assert {image.label for image in read(tmp_path, files).listing.images} == labels


def test_classes_that_differ_in_case_only_are_told(tmp_path: Path) -> None:
    listing = read(tmp_path, of("Cat/1.jpg", "cat/2.jpg", "dog/3.jpg")).listing
    assert {image.label for image in listing.images} == {"Cat", "cat", "dog"}
    (note,) = listing.notes
    assert "'Cat' and 'cat' are two classes" in note and "dataset.labels: {cat: [Cat, cat]}" in note
