"""What `fetch` leaves: where images and weights came from."""

import base64
from collections.abc import Iterable

from pydantic import Field

from podium.records.base import Record


class SkippedFile(Record):
    """A file of the source that is not used, and why. `image`: it ought to have been one, so it counts as rejected."""

    path: str
    reason: str
    image: bool = False


class SourceRecord(Record):
    """One source: where its images came from. `licences` counts images; `photographs` may hold several of them each.

    `labels` says for each class which classes of the source went into it, where a label map changed their name.
    `snapshot` is the digest of the snapshot its images were read back from; None where they came from the source.
    """

    name: str
    kind: str
    location: str
    sha256: str | None
    snapshot: str | None
    licence: str
    licences: dict[str, int]
    photographs: int
    images: int
    classes: list[str]
    labels: dict[str, list[str]]
    skipped: list[SkippedFile]


class Correction(Record):
    """What a person decided about the label of an image.

    `label` is `was` where that was found right, and None where the image is left out.
    """

    image_id: str
    path: str
    source: str
    was: str
    label: str | None
    why: str


class Corrections(Record):
    """The file `dataset.corrections` and what it did, an entry an image, by source and path.

    `unused` counts its rows about images that the sources offer but that are not used, because of a limit for example.
    """

    location: str
    images: list[Correction]
    unused: int

    @property
    def corrected(self) -> list[Correction]:
        """Those with another class now."""
        return [one for one in self.images if one.label not in (one.was, None)]

    @property
    def left_out(self) -> list[Correction]:
        """Those that are not used any more."""
        return [one for one in self.images if one.label is None]

    @property
    def changes(self) -> dict[str, str]:
        """What is another class now, and what is left out, by path and id: `pear -> apple (the stalk)`."""
        return {
            f"{one.path} ({one.image_id})": f"{one.was} -> {one.label or 'left out'}" + (one.why and f" ({one.why})")
            for one in (*self.corrected, *self.left_out)
        }

    @property
    def said(self) -> str:
        """What it did, in a sentence without its end: `3 labels corrected, 1 image left out, 2 found right`."""
        corrected, left_out = len(self.corrected), len(self.left_out)
        right = len(self.images) - corrected - left_out
        told = [f"{corrected:,} label{'s' if corrected != 1 else ''} corrected"]
        told += [f"{left_out:,} image{'s' if left_out != 1 else ''} left out"] if left_out else []
        told += [f"{right:,} found right"] if right else []
        return ", ".join([*told, *([f"{self.unused:,} of images that are not used"] if self.unused else [])])


class Sources(Record):
    """`artifacts/raw/sources.json`: one entry a source; a merge has several. `shared` names the sources of a class.

    `corrections` is in the file only where `dataset.corrections` names one.
    """

    sources: list[SourceRecord]
    shared: dict[str, list[str]]
    corrections: Corrections | None = Field(default=None, exclude_if=lambda value: value is None)

    @property
    def skipped(self) -> list[SkippedFile]:
        """The files no source could use; of several sources, their paths start with the source's name."""
        several = len(self.sources) > 1
        return [
            file.model_copy(update={"path": f"{source.name}/{file.path}"}) if several else file
            for source in self.sources
            for file in source.skipped
        ]

    @property
    def classes(self) -> list[str]:
        """All classes, sorted."""
        return sorted({label for source in self.sources for label in source.classes})


class WeightsRecord(Record):
    """`artifacts/weights/<model>/weights.json`; the tensors lie beside it in `weights.safetensors` unless `none`.

    `sha256` is that of the file as it came, `stored_sha256` that of `weights.safetensors`: another one where the file
    was converted. `source` says where it came from (a hub's repository with its commit, an address, a path),
    `pretraining` which images the weights have seen (`in1k`, `in12k_ft_in1k`, ...); `unknown` where nobody said. `mean`
    and `std` (per channel, of values in [0, 1]) are what published weights expect; None: the architecture's own.
    """

    architecture: str
    weights: str
    sha256: str | None = None
    stored_sha256: str | None = None
    source: str
    licence: str
    pretraining: str
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    metadata: dict[str, str] = {}


class TrainedOn(Record):
    """`artifacts/weights/trained_on.json`: which photographs the weights that a model starts from were trained on.

    By model, the first 16 hex digits of their sha256, sorted; only weights that Podium trained say it.
    """

    models: dict[str, list[str]]


TRAINED_ON_KEY = "trained_on"
"""Of the metadata of weights that Podium trained; what stands there is made by `pack_digests`."""
_BYTES = 8  # of a digest


def pack_digests(digests: Iterable[str]) -> str:
    """The first 64 bits of sha256 digests (16 hex digits or more each), once each and sorted, as base64."""
    return base64.b64encode(b"".join(sorted({bytes.fromhex(digest)[:_BYTES] for digest in digests}))).decode()


def unpack_digests(text: str) -> list[str]:
    """What `pack_digests` packed, 16 hex digits each, sorted.

    Raises:
        ValueError: the text is not made by it.
    """
    data = base64.b64decode(text, validate=True)
    if len(data) % _BYTES:
        raise ValueError(f"{len(data)} bytes are no digests of {_BYTES}")
    return [data[at : at + _BYTES].hex() for at in range(0, len(data), _BYTES)]
