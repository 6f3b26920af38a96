"""Params sections `dataset` and `fetch`: where the images come from, and the limits of getting them.

`dataset` is one of the kinds below; the key `source` says which, and each kind has keys of its own.
"""

import codecs
import re
from collections import Counter
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from podium.config.base import Name, PositiveFloat, PositiveInt, Section, Sha256, Split, Text, Whole

LEFT_OUT: Final = "left_out"
"""What `layout` and `corrections` call what is not used."""
FolderLayout = Literal["auto", "classes", "classes/splits", "any/classes"] | dict[Text, Split | Literal["left_out"]]
"""What the folders of a source mean; see `Folders`."""
_KAGGLE = re.compile(r"\w[\w.\-]*/\w[\w.\-]*(/versions/[1-9][0-9]*)?", re.ASCII)


class Labelled(Section):
    """What every kind of source has.

    `labels` maps many classes of the source to one of ours, `{ours: [theirs, ...]}`; classes that are not listed keep
    their name. `groups` gives a class of ours its coarse class. `splits`: `source` keeps the splits the source gives
    and draws what it lacks, `draw` forgets them and draws all by the shares of `preprocess`. `corrections` is a CSV
    below data/ with other classes for single images (`sources/corrections.py`); of the whole, not of parts of a merge.
    """

    limit_per_class: PositiveInt | dict[Split, PositiveInt] | None = None
    labels: dict[Text, list[Text]] = {}
    groups: dict[Text, Text] = {}
    splits: Literal["source", "draw"] = "source"
    corrections: Text | None = None

    @model_validator(mode="after")
    def _each_label_goes_to_one(self) -> Self:
        for ours, theirs in self.labels.items():
            if not theirs:
                raise ValueError(f"labels.{ours} lists no class of the source: add one or remove it")
        counts = Counter(label for theirs in self.labels.values() for label in theirs)
        for label, count in counts.items():
            if count > 1:
                where = ", ".join(ours for ours, theirs in self.labels.items() if label in theirs)
                raise ValueError(f"labels lists {label!r} more than once (under {where}): keep one of them")
        return self


class ByColumn(Section):
    """Images with the same value in a column of the table (a patient, a plant, a video) stay in one split."""

    column: Text


class ByPattern(Section):
    """Images in whose path a regular expression finds the same text stay in one split; its groups alone count."""

    pattern: Text

    @model_validator(mode="after")
    def _compiles(self) -> Self:
        try:
            re.compile(self.pattern)
        except re.error as error:
            raise ValueError(f"pattern {self.pattern!r} is no regular expression ({error})") from error
        return self


class Named(Labelled):
    """What every kind but a merge has.

    `name` is the source's name in the manifest and a part of every image's key; None takes that of the file or folder.
    `keep_together` says which images stay in one split besides duplicates and crops of one photograph; `auto`: those
    called like versions of one file (`x_flip.jpg`, `x.rf.1a2b3c.jpg`, `x (1).jpg`) in one folder.
    """

    name: Name | None = None
    keep_together: Literal["auto"] | ByColumn | ByPattern | None = None

    @property
    def together(self) -> str | None:
        """The column that says what stays together, if one does."""
        return self.keep_together.column if isinstance(self.keep_together, ByColumn) else None


class Single(Named):
    """A source of one origin. `licence` is that of every image that states none of its own."""

    licence: Text


class OneFile(Single):
    """A source that is one file; its digest pins it, and an address needs one."""

    location: Text
    sha256: Sha256 | None = None


class Folders(OneFile):
    """A source of class folders.

    `layout` says what they mean: `auto` tells splits by their names and stops where that is not clear; `classes`: there
    are no splits, a folder is a class and all below belongs to it; `classes/splits`: folders of splits lie below the
    classes; `any/classes`: the folders above the classes mean nothing; or the split of a folder by its name,
    `{fold0: train, extra: left_out}`, and the rest as with `auto`.
    """

    layout: FolderLayout = "auto"


def _known_encoding(given: str) -> str:
    """The name of an encoding, unless Python knows none of that name."""
    try:
        return codecs.lookup(given).name
    except LookupError as error:
        raise ValueError(f"encoding {given!r} is not known: try cp949, cp932, gb18030, cp1252 or cp437") from error


class Packed(Folders):
    """Class folders in an archive. `encoding` is that of names that are not UTF-8, as older programs write them."""

    encoding: Annotated[Text, AfterValidator(_known_encoding)] | None = None


class SampleDataset(OneFile):
    """The embedded sample: an archive with the known truth of each image."""

    source: Literal["sample"] = "sample"


class FolderDataset(Folders):
    """A folder of class folders below data/."""

    source: Literal["folder"] = "folder"

    @model_validator(mode="after")
    def _no_digest(self) -> Self:
        if self.sha256 is not None:
            raise ValueError("sha256 is the digest of one file: set it to null for source `folder`")
        return self


class ArchiveDataset(Packed):
    """A zip, 7z or tar of class folders, below data/ or at an http(s) address."""

    source: Literal["archive"] = "archive"


class SnapshotDataset(Named):
    """An archive that `podium snapshot` wrote: images, their table, and where they came from under which licence."""

    source: Literal["snapshot"] = "snapshot"
    location: Text
    sha256: Sha256 | None = None


class BoxColumns(Section):
    """Columns with the sides of a box."""

    left: Text
    top: Text
    right: Text
    bottom: Text


class Columns(Section):
    """Which column of a table holds what; None where it has none."""

    path: Text = "path"
    label: Text = "label"
    split: Text | None = None
    group: Text | None = None
    licence: Text | None = None
    box: BoxColumns | None = None


class CsvDataset(OneFile):
    """A table with a row an image (or a row a box), and the images it names, on any fsspec URL."""

    source: Literal["csv"] = "csv"
    images: Text | None = None
    columns: Columns = Columns()
    extras: dict[Text, Literal["text", "int", "float"]] = {}
    box_units: Literal["fraction", "pixels"] = "fraction"
    encoding: Text = "utf-8"
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","


class KaggleDataset(Packed):
    """A dataset of kaggle.com; the version or the digest pins it. Without either, `fetch` refuses and names both."""

    source: Literal["kaggle"] = "kaggle"
    inside: Text | None = None

    @model_validator(mode="after")
    def _names_a_dataset(self) -> Self:
        if _KAGGLE.fullmatch(self.location) is None:
            raise ValueError(
                f"location {self.location!r} must be `owner/dataset/versions/N`, or `owner/dataset` with a sha256"
            )
        return self


class OpenImagesDataset(Single):
    """Classes of Open Images V7: boxes from its CSVs, photographs from its bucket. Only listed labels are used."""

    source: Literal["openimages"] = "openimages"
    location: Text = "https://storage.googleapis.com/openimages"
    images: Text = "https://open-images-dataset.s3.amazonaws.com"
    subsets: Annotated[list[Split], Field(min_length=1)] = ["train", "val", "test"]
    labels: Annotated[dict[Text, list[Text]], Field(min_length=1)]


PartDataset = Annotated[
    SampleDataset | FolderDataset | ArchiveDataset | SnapshotDataset | CsvDataset | KaggleDataset | OpenImagesDataset,
    Field(discriminator="source"),
]


class MergeDataset(Labelled):
    """Several sources as one dataset. `labels`, `groups`, `splits` and the limit apply after those of the parts."""

    source: Literal["merge"] = "merge"
    parts: Annotated[list[PartDataset], Field(min_length=2)]

    @model_validator(mode="after")
    def _parts_have_names(self) -> Self:
        names: set[str] = set()
        for number, part in enumerate(self.parts):
            if part.name is None:
                raise ValueError(f"parts[{number}] has no name: add `name:`, it becomes the images' source")
            if part.corrections is not None:
                raise ValueError(f"parts[{number}].corrections: they are of the whole, move the key up to `dataset`")
            if part.name.casefold() in names:
                raise ValueError(f"parts[{number}]: the name {part.name!r} stands twice: each part needs its own")
            names.add(part.name.casefold())
        return self


Dataset = Annotated[PartDataset | MergeDataset, Field(discriminator="source")]


class Fetch(Section):
    """Limits of downloading and unpacking, and the licences that pretrained weights may have."""

    timeout_seconds: PositiveFloat = 30.0
    retries: Annotated[Whole, Field(ge=0)] = 5
    connections: PositiveInt = 8
    max_files: PositiveInt = 2_000_000
    max_bytes: PositiveInt = 64 * 2**30
    max_ratio: PositiveFloat = 200.0
    licences_allowed: tuple[Text, ...] = ("apache-2.0", "mit", "bsd-3-clause", "cc0-1.0", "cc-by-4.0")
