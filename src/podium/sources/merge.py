"""Parts of a dataset: each source with the images that were chosen from it, and several of them as one dataset.

Every image keeps its part's name as `source`; in a merge, its class behind that name is its `source_label`. Stands on
`core`, `data.manifest` (names of columns), `labels` and `selection`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from podium.config.dataset import MergeDataset
from podium.core.errors import DataError
from podium.data.manifest import RESERVED_COLUMNS
from podium.records.fetch import SkippedFile, SourceRecord, Sources
from podium.sources.labels import grouped, mapped, refuse_twins
from podium.sources.listing import Preparing, Source, SourceImage
from podium.sources.selection import limited


@dataclass(frozen=True)
class Origin:
    """Where a source came from, as it goes into `sources.json`.

    Attributes:
        name: of the source; what the manifest calls it.
        kind: one of the kinds of `dataset.source`.
        location: without secrets, relative to the project's root.
        sha256: digest of the file it is; None where it is not one file.
        licence: of images that state none of their own.
        snapshot: digest of the snapshot it was read back from; None for the source itself.
    """

    name: str
    kind: str
    location: str
    sha256: str | None
    licence: str
    snapshot: str | None = None


@dataclass(frozen=True)
class Part:
    """An opened source, the images chosen from it under our labels, and the files left out."""

    origin: Origin
    source: Source
    images: tuple[SourceImage, ...]
    skipped: tuple[SkippedFile, ...]

    @property
    def labels(self) -> set[str]:
        """The classes of its images."""
        return {image.label for image in self.images}


def merge(parts: Sequence[Part], dataset: MergeDataset) -> list[Part]:
    """Several parts as one dataset.

    Args:
        parts: under their own label maps.
        dataset: label map, groups and limit of the whole.

    Returns:
        The parts with the images that were chosen, each with its class of origin as `source_label`.

    Raises:
        DataError: a listed label does not exist, or two parts have the same name.
    """
    twice = [name for name, count in Counter(part.origin.name for part in parts).items() if count > 1]
    if twice:
        raise DataError(f"two parts of the merge are called {twice[0]!r}: give each a name of its own")
    whole = [
        replace(image, path=f"{part.origin.name}/{image.path}", source_label=_origin_label(part, image))
        for part in parts
        for image in part.images
    ]
    whole = mapped("the merge", whole, dataset.labels)
    whole = limited(grouped(whole, dataset.groups), dataset.limit_per_class)
    chosen: dict[str, list[SourceImage]] = {part.origin.name: [] for part in parts}
    for image in whole:
        name, _, path = image.path.partition("/")
        chosen[name].append(replace(image, path=path))
    return [replace(part, images=tuple(chosen[part.origin.name])) for part in parts]


def check(parts: Sequence[Part]) -> None:
    """Refuses a dataset whose classes cannot be compared, or whose further columns do not fit the manifest.

    Raises:
        DataError: two classes differ in case or spacing only, there is only one class, or a further column has the
            name of one of the manifest or is text in one part and a number in another.
    """
    _check_extras(parts)
    refuse_twins({part.origin.name: part.labels for part in parts})
    labels = set().union(*(part.labels for part in parts))
    if len(labels) < 2:
        found = f"one class, {next(iter(labels))!r}" if labels else "no images"
        raise DataError(f"the dataset holds {found}: comparing classifiers needs at least two classes")


def prepared(part: Part) -> Part:
    """A part whose images can be read now; what cannot be had is among its `skipped`.

    Raises:
        DataError: the network is down, or no image of a class can be had.
    """
    if not isinstance(part.source, Preparing):
        return part
    ready = part.source.prepare(part.images)
    lost = sorted(part.labels - {image.label for image in ready.images})
    if lost:
        first = ready.skipped[0] if ready.skipped else SkippedFile(path="?", reason="not listed")
        raise DataError(
            f"{part.origin.name}: no image of class {lost[0]!r} can be had (first: {first.path!r}: {first.reason}): "
            "correct the source or leave the class out"
        )
    return replace(part, images=ready.images, skipped=_in_order([*part.skipped, *ready.skipped]))


def describe(parts: Sequence[Part]) -> Sources:
    """What `sources.json` says of the parts, once they are prepared."""
    shared: dict[str, list[str]] = {}
    for part in parts:
        for label in sorted(part.labels):
            shared.setdefault(label, []).append(part.origin.name)
    return Sources(
        sources=[_record(part) for part in parts],
        shared={label: sorted(names) for label, names in sorted(shared.items()) if len(names) > 1},
    )


def _check_extras(parts: Sequence[Part]) -> None:
    """Refuses further columns that do not fit the manifest.

    Raises:
        DataError: one has the name of a column of the manifest, or is text in one part and a number in another.
    """
    kinds: dict[str, tuple[bool, str]] = {}
    for part in parts:
        for column, value in (part.images[0].extras if part.images else {}).items():
            if column in RESERVED_COLUMNS:
                raise DataError(
                    f"{part.origin.name}: the further column {column!r} has the name of one of podium's own: rename it"
                )
            is_text, other = kinds.setdefault(column, (isinstance(value, str), part.origin.name))
            if is_text != isinstance(value, str):
                raise DataError(
                    f"the further column {column!r} is text in one of {other} and {part.origin.name}, a number in the "
                    "other: rename it in one of them"
                )


def _record(part: Part) -> SourceRecord:
    """A part's row of `sources.json`: what it is, and the counts of what was chosen from it."""
    origin = part.origin
    theirs: dict[str, set[str]] = {}
    for image in part.images:
        if image.source_label not in ("", image.label, f"{origin.name}/{image.label}"):
            theirs.setdefault(image.label, set()).add(image.source_label)
    licences = Counter(image.licence or origin.licence for image in part.images)
    return SourceRecord(
        name=origin.name,
        kind=origin.kind,
        location=origin.location,
        sha256=origin.sha256,
        snapshot=origin.snapshot,
        licence=origin.licence,
        licences=dict(sorted(licences.items())),
        photographs=len({image.path for image in part.images}),
        images=len(part.images),
        classes=sorted(part.labels),
        labels=_sorted(theirs),
        skipped=list(part.skipped),
    )


def _origin_label(part: Part, image: SourceImage) -> str:
    """The class as its source calls it, behind the part's name: `flowers/daisy`."""
    return f"{part.origin.name}/{image.source_label or image.label}"


def _sorted(theirs: Mapping[str, set[str]]) -> dict[str, list[str]]:
    """Names of the sources' classes by our label, as lists in one order, for JSON."""
    return {label: sorted(names) for label, names in sorted(theirs.items())}


def _in_order(skipped: Sequence[SkippedFile]) -> tuple[SkippedFile, ...]:
    """By path, then by reason."""
    return tuple(sorted(skipped, key=lambda file: (file.path, file.reason)))
