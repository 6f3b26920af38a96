"""Source `openimages`: boxes of chosen classes of Open Images V7, one image a box, photographs from its public bucket.

`dataset.location` is the address of the annotations, or a folder somebody downloaded before (`openimages_files`).
Annotations are kept below the downloads and read as streams; photographs come when the images are chosen.
"""

import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Final

from podium.config.dataset import Fetch, OpenImagesDataset
from podium.config.problems import nearest
from podium.core.errors import DataError
from podium.core.layout import Layout
from podium.records.fetch import SkippedFile
from podium.sources.locations import downloads_folder, is_address, watched_path
from podium.sources.openimages_files import Subset, bucket_address, fetch_subsets, find_subsets, folder_name
from podium.sources.openimages_tables import (
    FLAGS,
    SIDES,
    Choice,
    Photograph,
    choose_boxes,
    describe_boxes,
    read_classes,
    read_photographs,
)
from podium.sources.source import (
    Box,
    DownloadedSource,
    FileSource,
    Listing,
    SourceImage,
    Usable,
    in_order,
    read_orientation,
    turn_box,
)

_FLAGS: Final = ("is_occluded", "is_truncated", "is_group_of", "is_depiction", "is_inside")
_HEX: Final = re.compile(r"[0-9a-f]{16}")


class _Photographs(DownloadedSource):
    """Photographs of somebody's folder or of a bucket; boxes are drawn on the stored picture."""

    def prepare(self, images: Sequence[SourceImage]) -> Usable:
        """Downloads photographs and puts boxes on the upright one, as everywhere behind the sources.

        Annotators saw the stored picture without EXIF orientation; decoding follows it, so the box has to as well.
        """
        here, skipped = self.download(images)
        orientation = cache(read_orientation)
        upright = (replace(image, box=turn_box(image.box, orientation(self.files[image.path]))) for image in here)
        return Usable(tuple(upright), tuple(skipped))


def open_openimages(layout: Layout, dataset: OpenImagesDataset, fetch: Fetch) -> FileSource:
    """Opens Open Images, or a part of it below data/ that was downloaded before; see `read_openimages`.

    Args:
        layout: the project's paths.
        dataset: labels, subsets, limit, and where annotations and photographs lie.
        fetch: timeout, retries and connections.
    """
    if not is_address(dataset.location):
        folder = watched_path(layout, dataset.source, dataset.location)
        dataset = dataset.model_copy(update={"location": str(folder)})
    return read_openimages(dataset, fetch, downloads_folder(layout))


def read_openimages(dataset: OpenImagesDataset, fetch: Fetch, downloads: Path) -> FileSource:
    """Reads the tables of Open Images, or of a part of it that was downloaded before.

    The boxes of each label (`dataset.labels`) are those with the smallest hashes of photograph and box, at most
    `limit_per_class` in each subset: the same ones whatever the order of rows, and more of them with a larger limit.
    Extras of an image: `is_occluded`, `is_truncated`, `is_group_of`, `is_depiction`, `is_inside` (1, 0, -1 unknown);
    `other_boxes`, the number of annotated boxes of other labels that overlap it (classes outside `dataset.labels`
    count, so does a face on a person); `box_area`, its share of the photograph; `author`, `page` and `rotation` of the
    photograph (see `Photograph`).

    Args:
        dataset: labels, subsets, limit, and where annotations and photographs lie.
        fetch: timeout, retries and connections.
        downloads: folder for annotations and photographs; what is there is not fetched again.

    Returns:
        The source; `openimages` unless the dataset has a name.

    Raises:
        DataError: a class is unknown (the nearest is named), a label has no box, a table is damaged, a folder lacks
            its tables, or the server cannot be reached.
    """
    kept = downloads / "openimages"
    remote = is_address(dataset.location)
    if remote:
        subsets = fetch_subsets(bucket_address(dataset.location), dataset.subsets, fetch, kept)
    else:
        subsets = find_subsets(Path(dataset.location), dataset.subsets)
    images: list[SourceImage] = []
    skipped: list[SkippedFile] = []
    for subset in subsets:
        found, left_out = _read_subset(subset, dataset)
        images += found
        skipped += left_out
    _check_labels(images, dataset, subsets)
    images.sort(key=lambda image: image.key)
    listing = Listing(dataset.name or "openimages", None, tuple(images), in_order(skipped))
    if not remote:
        files = {f"{s.name}/{p.name}": p for s in subsets for p in (s.files or {}).values()}
        return _Photographs(listing, files, {}, kept, fetch)
    bucket = bucket_address(dataset.images)
    folder = kept / folder_name(bucket)
    files = {image.path: folder / _file_name(image.path) for image in listing.images}
    return _Photographs(listing, files, {path: f"{bucket}/{path}" for path in files}, folder, fetch)


def _read_subset(subset: Subset, dataset: OpenImagesDataset) -> tuple[list[SourceImage], list[SkippedFile]]:
    """The images of one subset, and what is left out of it."""
    keys = read_classes(subset.classes)
    wanted = _wanted(dataset.labels, keys)
    choice = choose_boxes(subset.boxes, wanted, _limit(dataset, subset.split), subset.files)
    boxes = describe_boxes(subset.boxes, choice.boxes, wanted) if len(choice.boxes) else choice.boxes
    about = read_photographs(subset.photographs, boxes["ImageID"].unique()) if subset.photographs else {}
    images: list[SourceImage] = []
    skipped = _left_out(subset, choice)
    names = {key: name for name, key in keys.items()}
    for row in boxes.to_dict("records"):
        image = _image(subset, row, about.get(row["ImageID"], Photograph()), names[row["LabelName"]])
        if row["contested"]:
            reason = f"the box {image.box.text} has more than one of the chosen labels"
            skipped.append(SkippedFile(path=image.path, reason=reason, image=True))
        else:
            images.append(image)
    return images, skipped


def _wanted(labels: Mapping[str, Sequence[str]], keys: Mapping[str, str]) -> dict[str, str]:
    """Our label by key of the classes it takes.

    Args:
        labels: names of their classes by our label.
        keys: keys (`/m/01g317`) by name.

    Raises:
        DataError: a class is unknown.
    """
    wanted: dict[str, str] = {}
    for label in sorted(labels):
        for name in labels[label]:
            if name not in keys:
                raise DataError(
                    f"dataset.labels.{label} lists {name!r}, which is no class of Open Images with boxes"
                    f"{nearest(name, keys)}"
                )
            wanted[keys[name]] = label
    return wanted


def _limit(dataset: OpenImagesDataset, split: str) -> int | None:
    """Boxes to keep of each label in a subset; None for all."""
    limit = dataset.limit_per_class
    if isinstance(limit, Mapping):
        numbers: dict[str, int] = {str(name): number for name, number in limit.items()}
        return numbers.get(split)
    return limit


def _image(subset: Subset, row: Mapping[Hashable, Any], about: Photograph, name: str) -> SourceImage:
    """One image, a chosen box.

    Args:
        subset: where the box comes from.
        row: the box, as `describe_boxes` returns it.
        about: author and licence of its photograph.
        name: of its class in Open Images.

    Raises:
        DataError: the id of the photograph is not 16 hexadecimal digits.
    """
    photograph = row["ImageID"]
    if not _HEX.fullmatch(photograph):  # it becomes a part of an address and of a file's name
        raise DataError(f"{subset.boxes.name} holds the ImageID {photograph!r}, not 16 hexadecimal digits")
    left, top, right, bottom = (row[side] for side in SIDES)
    return SourceImage(
        path=subset.path(photograph),
        label=row["label"],
        split=subset.split,
        source_label=name,
        licence=about.licence,
        box=Box(left, top, right, bottom),
        extras={
            **{extra: row[flag] for extra, flag in zip(_FLAGS, FLAGS, strict=True)},
            "other_boxes": row["other_boxes"],
            "box_area": round((right - left) * (bottom - top), 10),
            "author": about.author,
            "page": about.page,
            "rotation": about.rotation,
        },
    )


def _left_out(subset: Subset, choice: Choice) -> list[SkippedFile]:
    """Boxes that are none; and in one row, since it is what was asked for, photographs without a chosen class."""
    skipped = [
        SkippedFile(
            path=f"{subset.name}/{photograph}.jpg",
            reason=f"its box {', '.join(map(repr, box))} is inverted or lies outside the photograph",
            image=True,
        )
        for photograph, box in choice.invalid
    ]
    others = sorted(set(subset.files or ()) - choice.seen)
    if others:
        reason = f"{len(others):,} photographs have no box of the chosen classes, the first is {others[0]}"
        skipped.append(SkippedFile(path=f"{subset.name}/data", reason=reason))
    return skipped


def _check_labels(images: Sequence[SourceImage], dataset: OpenImagesDataset, subsets: Sequence[Subset]) -> None:
    """Refuses a label that no box was found for.

    Raises:
        DataError: there is one; it names the classes and subsets that were searched.
    """
    found = {image.label for image in images}
    empty = [label for label in sorted(dataset.labels) if label not in found]
    if empty:
        raise DataError(
            f"dataset.labels.{empty[0]}: there is no box of {', '.join(dataset.labels[empty[0]])} in "
            f"{', '.join(subset.name for subset in subsets)}: add classes or subsets, or remove the label"
        )


def _file_name(path: str) -> str:
    """Where a photograph is kept: `train/0a/0a1b2c....jpg`, since a folder with a million files is slow."""
    subset, _, name = path.rpartition("/")
    return f"{subset}/{name[:2]}/{name}"
