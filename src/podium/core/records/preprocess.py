"""What `preprocess` leaves: how bytes became pixels, duplicates, and the profile of the data."""

from typing import Literal

from podium.core.config.base import Split
from podium.core.records.base import Record


class Preprocessing(Record):
    """How bytes become pixels. Resolved once, stored with the split and with the weights; serving reads it too."""

    image_size: int
    pad_value: int
    max_pixels: int


class DuplicateMember(Record):
    """One image of a group of duplicates; `source_split` is empty where the source gave none."""

    path: str
    label: str
    source_split: str
    split: Split


class DuplicateGroup(Record):
    """Images that show the same picture, the first one first. `exact` when the pixels of all are the same.

    `straddled`: the source gave its members different splits, so `moved` of them changed sides. `would_straddle`: a
    draw image by image would have put it on two sides.
    """

    id: str
    kind: Literal["exact", "near"]
    members: list[DuplicateMember]
    straddled: bool
    moved: int
    would_straddle: bool
    conflicting_labels: bool


class Profile(Record):
    """`artifacts/prepared/profile.json`: what preprocess found. Numbers are images unless a name says otherwise.

    `rejected` are images that could not be read, `skipped` files of the source that are no images to use. Quantiles
    (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1) are of pixels of the originals, by `width`, `height` and `shorter_side`.
    """

    images: int
    rejected: int
    skipped: int
    classes: list[str]
    per_class_and_split: dict[str, dict[Split, int]]
    per_split: dict[Split, int]
    per_group: dict[str, int]
    per_source: dict[str, int]
    rejected_by_reason: dict[str, int]
    notes: dict[str, int]
    size_quantiles: dict[str, dict[str, float]]
    duplicates: list[DuplicateGroup]
    groups_straddled: int
    images_moved: int
    groups_would_straddle: int
    groups_conflicting: int
