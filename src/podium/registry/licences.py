"""Under which licences a version came about: of its images and of the weights it started from, with who is to be named.

It travels in the package: whoever has the model has what its licences ask to be passed on.
"""

from pathlib import Path

from podium.core.files import write_text
from podium.core.layout import ATTRIBUTION, LICENCES, LICENCES_TEXT, MODEL_CARD, SOURCES, Layout
from podium.records.base import Record, read_parquet
from podium.records.fetch import SourceRecord, Sources
from podium.records.training import ModelCard

_AUTHORS = ("source", "path", "licence", "author", "page")
"""Columns of the table of photographs, of which a source gives some."""


class ImageLicence(Record):
    """One source of images. `licences` counts images; empty text is what nobody stated."""

    name: str
    kind: str
    location: str
    sha256: str | None
    licence: str
    licences: dict[str, int]
    images: int

    @classmethod
    def of(cls, source: SourceRecord) -> "ImageLicence":
        """What of a fetched source its licence is about."""
        return cls.model_validate({name: getattr(source, name) for name in cls.model_fields})


class WeightsLicence(Record):
    """The weights that training began with; `weights` is `none` for random ones."""

    architecture: str
    weights: str
    source: str
    licence: str
    pretraining: str
    sha256: str | None


class Licences(Record):
    """`licences.json` of a package; `photographs` is how many a table beside it names with their authors."""

    images: list[ImageLicence]
    weights: WeightsLicence
    photographs: int


def write_licences(layout: Layout, model: str, folder: Path) -> None:
    """Writes what is known of licences into a folder: as JSON, as text, and the authors as a table if there are any.

    Raises:
        DataError: a file of `fetch`, `preprocess` or `train` is missing.
    """
    card = ModelCard.read(layout.model(model) / MODEL_CARD)
    weights = {name: getattr(card.pretrained, name) for name in WeightsLicence.model_fields}
    images = [ImageLicence.of(source) for source in Sources.read(layout.raw / SOURCES).sources]
    photographs = _write_authors(layout, folder / ATTRIBUTION)
    found = Licences(images=images, weights=WeightsLicence.model_validate(weights), photographs=photographs)
    found.write(folder / LICENCES)
    write_text(folder / LICENCES_TEXT, describe(found))


def _write_authors(layout: Layout, path: Path) -> int:
    """A row a photograph, where a source says who took it; how many."""
    table = read_parquet(layout.manifest)
    if "author" not in table:
        return 0
    named = table[table["author"].fillna("") != ""].drop_duplicates("photo_id")
    named = named[[column for column in _AUTHORS if column in table]].sort_values(["source", "path"])
    named.to_csv(path, index=False, lineterminator="\n")
    return len(named)


def describe(found: Licences) -> str:
    """The same as text for people."""
    lines = ["Licences of what this model was made from", "", "Images"]
    for source in found.images:
        counted = ", ".join(f"{count} {name or 'not stated'}" for name, count in source.licences.items())
        lines.append(f"- {source.name} ({source.location}), {source.images} images: {counted or 'not stated'}")
    lines += [f"The {found.photographs} photographs with their authors: {ATTRIBUTION}"] if found.photographs else []
    start = found.weights
    lines += ["", "Weights that training began with"]
    lines.append(
        "- random ones"
        if start.weights == "none"
        else f"- {start.weights} ({start.source}), trained on {start.pretraining}: {start.licence or 'not stated'}"
    )
    return "\n".join([*lines, ""])
