"""What `fetch` leaves: where images and weights came from."""

from podium.core.records.base import Record


class SkippedFile(Record):
    """A file of the source that is not an image to use, and why."""

    path: str
    reason: str


class SourceRecord(Record):
    """`artifacts/raw/sources.json`: where the images came from."""

    name: str
    kind: str
    location: str
    sha256: str | None
    licence: str
    images: int
    classes: list[str]
    skipped: list[SkippedFile]


class WeightsRecord(Record):
    """`artifacts/weights/<model>/weights.json`; the tensors lie beside it in `weights.safetensors` unless `none`."""

    architecture: str
    weights: str
    sha256: str | None
    metadata: dict[str, str]
