"""A small Open Images for tests: its tables as the servers have them, and its photographs."""

import csv
import io
import random
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from tests.site import Site

CLASSES = {
    "Person": "/m/01g317",
    "Man": "/m/04yx4",
    "Woman": "/m/03bt1vf",
    "Dog": "/m/0bt9lr",
    "Human face": "/m/0dzct",
    "Car": "/m/0k4j",
    "Salt, pepper": "/m/02tsc9",
    "Billboard": "/g/11c6",
    "Handgun": "/m/0gxl3",
}
FLAGS = ["IsOccluded", "IsTruncated", "IsGroupOf", "IsDepiction", "IsInside"]
CLICKS = [f"XClick{n}{axis}" for axis in "XY" for n in (1, 2, 3, 4)]
BOX_HEADER = ["ImageID", "Source", "LabelName", "Confidence", "XMin", "XMax", "YMin", "YMax", *FLAGS, *CLICKS]
PHOTOGRAPH_HEADER = [
    *("ImageID", "Subset", "OriginalURL", "OriginalLandingURL", "License", "AuthorProfileURL", "Author"),
    *("Title", "OriginalSize", "OriginalMD5", "Thumbnail300KURL", "Rotation"),
]
BOXES = {
    "train": "v6/oidv6-train-annotations-bbox.csv",
    "validation": "v5/validation-annotations-bbox.csv",
    "test": "v5/test-annotations-bbox.csv",
}
PHOTOGRAPHS = {
    "train": "2018_04/train/train-images-boxable-with-rotation.csv",
    "validation": "2018_04/validation/validation-images-with-rotation.csv",
    "test": "2018_04/test/test-images-with-rotation.csv",
}
BY = "https://creativecommons.org/licenses/by/2.0/"


def table(header: list[str], rows: list[dict[str, object]]) -> bytes:
    """A CSV as the servers have it; columns a row lacks are empty."""
    out = io.StringIO()
    writer = csv.DictWriter(out, header, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def box(photograph: str, name: str, sides: tuple[float, float, float, float], **flags: int) -> dict[str, object]:
    """One row of a box file; `sides` are left, top, right, bottom."""
    left, top, right, bottom = sides
    row: dict[str, object] = {"ImageID": photograph, "Source": "xclick", "LabelName": CLASSES[name], "Confidence": 1}
    row |= {"XMin": left, "XMax": right, "YMin": top, "YMax": bottom}
    row |= dict.fromkeys(FLAGS, 0)
    return row | flags


def photograph(name: str) -> dict[str, object]:
    """A row of the table of photographs, with a title over two lines, as some have."""
    return {
        "ImageID": name,
        "License": BY,
        "Author": f"Ana \u0141. of {name[:4]}",
        "Title": 'a "title", with a\nline break',
        "OriginalLandingURL": f"https://www.flickr.com/photos/{name[:4]}",
        "Rotation": "0.0",
    }


def jpeg(seed: int) -> bytes:
    """A photograph of 64 x 48 coloured patches."""
    out = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((64, 48)).save(out, "JPEG")
    return out.getvalue()


@dataclass
class World:
    """Tables by subset as rows, and photographs by subset and id; `put` writes them where they are read."""

    boxes: dict[str, list[dict[str, object]]] = field(default_factory=dict)
    photographs: dict[str, list[dict[str, object]]] = field(default_factory=dict)
    images: dict[str, dict[str, bytes]] = field(default_factory=dict)
    class_header: str = ""
    box_header: list[str] = field(default_factory=lambda: list(BOX_HEADER))

    def classes(self) -> bytes:
        """The table of classes."""
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerows((key, name) for name, key in CLASSES.items())
        return self.class_header.encode() + out.getvalue().encode()

    def tables(self, subset: str) -> tuple[bytes, bytes]:
        """The tables of boxes and of photographs of a subset."""
        rows = [{k: v for k, v in row.items() if k in self.box_header} for row in self.boxes[subset]]
        return table(self.box_header, rows), table(PHOTOGRAPH_HEADER, self.photographs[subset])

    def put_on(self, site: Site) -> None:
        """As the annotation server and the bucket lay it out, under `/openimages` and `/bucket`."""
        site.files["/openimages/v7/oidv7-class-descriptions-boxable.csv"] = self.classes()
        for subset in self.boxes:
            boxes, photographs = self.tables(subset)
            site.files[f"/openimages/{BOXES[subset]}"] = boxes
            site.files[f"/openimages/{PHOTOGRAPHS[subset]}"] = photographs
            for name, data in self.images[subset].items():
                site.files[f"/bucket/{subset}/{name}.jpg"] = data

    def put_in(self, folder: Path) -> None:
        """As FiftyOne lays it out."""
        for subset in self.boxes:
            boxes, photographs = self.tables(subset)
            files = {"labels/detections.csv": boxes, "metadata/image_ids.csv": photographs}
            files |= {"metadata/classes.csv": self.classes()}
            files |= {f"data/{name}.jpg": data for name, data in self.images[subset].items()}
            for name, data in files.items():
                path = folder / subset / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)


def small_world(photographs: int = 12, seed: int = 0) -> World:
    """Random boxes of all classes on some photographs of each subset."""
    rng = random.Random(seed)
    world = World()
    for subset in BOXES:
        names = [f"{rng.getrandbits(64):016x}" for _ in range(photographs)]
        world.photographs[subset] = [photograph(name) for name in names]
        world.images[subset] = {name: jpeg(number) for number, name in enumerate(names)}
        world.boxes[subset] = []
        for name in names:
            for kind in CLASSES:
                left, top = round(rng.uniform(0, 0.6), 6), round(rng.uniform(0, 0.6), 6)
                sides = (left, top, round(left + rng.uniform(0.1, 0.4), 6), round(top + rng.uniform(0.1, 0.4), 6))
                world.boxes[subset].append(box(name, kind, sides, IsOccluded=rng.choice((-1, 0, 1))))
    return world


def world_of(*rows: dict[str, object]) -> World:
    """One subset, `train`, with these boxes."""
    names = sorted({str(row["ImageID"]) for row in rows})
    return World(
        boxes={"train": list(rows)},
        photographs={"train": [photograph(name) for name in names]},
        images={"train": {name: jpeg(number) for number, name in enumerate(names)}},
    )


def shuffled(world: World, seed: int) -> World:
    """The same world with the rows of its tables in another order; it is changed in place."""
    for rows in (*world.boxes.values(), *world.photographs.values()):
        random.Random(seed).shuffle(rows)
    return world
