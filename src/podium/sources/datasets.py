"""From the section `dataset` to opened sources with the images chosen from them, and what `sources.json` says of them.

The order is the same for every kind: list, map labels, give groups, forget splits if asked to, limit, and in a merge
all of it once more over the whole. Every image keeps its part's name as `source`; in a merge, its class behind that
name is its `source_label`. A new kind of source is a module with an `open_...` function, one line in `SOURCES`, and a
class of its keys in `config/dataset.py`.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from podium.config.dataset import (
    ArchiveDataset,
    CsvDataset,
    Dataset,
    Fetch,
    FolderDataset,
    KaggleDataset,
    Labelled,
    MergeDataset,
    OpenImagesDataset,
    PartDataset,
    SampleDataset,
    Single,
    SnapshotDataset,
)
from podium.core.errors import DataError, NotPinned, ParamsError, PodiumError
from podium.core.layout import Layout
from podium.data.manifest import RESERVED_COLUMNS
from podium.records.fetch import Corrections, SkippedFile, SourceRecord, Sources
from podium.sources.archive import open_archive, open_sample
from podium.sources.folder import open_folder
from podium.sources.kaggle import open_kaggle
from podium.sources.locations import record_location
from podium.sources.openimages import open_openimages
from podium.sources.selection import assign_groups, keep_together, limit_images, map_labels, refuse_similar_labels
from podium.sources.snapshot import open_snapshot
from podium.sources.source import Origin, Part, Source, SourceImage, in_order
from podium.sources.table import open_table

SOURCES: Final[Mapping[type[Single], Callable[[Layout, Any, Fetch], Source]]] = {
    SampleDataset: open_sample,
    FolderDataset: open_folder,
    ArchiveDataset: open_archive,
    CsvDataset: open_table,
    KaggleDataset: open_kaggle,
    OpenImagesDataset: open_openimages,
}
"""What opens each kind of source. A snapshot holds several and a merge is made of several, so they are not listed."""


def open_dataset(layout: Layout, dataset: Dataset, fetch: Fetch) -> list[Part]:
    """Opens a dataset: one part, or those of a merge in the order of the section.

    Args:
        layout: the project's paths.
        dataset: where the images come from.
        fetch: limits of downloading and unpacking.

    Returns:
        Parts with the images chosen from each. Those of a source that downloads are not there yet.

    Raises:
        DataError: a source is missing, damaged, unsafe or not what its sha256 says, a label map does not fit, or there
            are fewer than two classes. Of a merge, the message starts with the part's name.
        ParamsError: a key does not fit the source.
    """
    if isinstance(dataset, MergeDataset):
        parts = list(_open_all(layout, dataset.parts, fetch))
        parts = merge([replace(part, images=_kept_splits(part.images, dataset)) for part in parts], dataset)
    else:
        parts = _open(layout, dataset, fetch)
    _check(parts)
    return parts


def _open_all(layout: Layout, sections: Sequence[PartDataset], fetch: Fetch) -> Iterator[Part]:
    """The parts of a merge. Those that are not pinned are all named at once, so that one download is enough.

    Raises:
        NotPinned: some are not.
    """
    open_ends: list[str] = []
    for section in sections:
        try:
            yield from _open(layout, section, fetch)
        except NotPinned as error:
            open_ends.append(str(_of_part(section, error)))
        except (DataError, ParamsError) as error:
            raise _of_part(section, error) from error
    if open_ends:
        raise NotPinned("; ".join(open_ends))


def _of_part(section: PartDataset, error: PodiumError) -> PodiumError:
    """The same error, naming the part of the merge it comes from."""
    return type(error)(f"part {section.name!r} of the merge: {error}")


def _open(layout: Layout, section: PartDataset, fetch: Fetch) -> list[Part]:
    """The parts of one section: one, of a snapshot one for each of its sources."""
    if isinstance(section, SnapshotDataset):
        return [_choose(part, section) for part in open_snapshot(layout, section, fetch)]
    source = SOURCES[type(section)](layout, section, fetch)
    origin = Origin(
        name=section.name or source.listing.name,
        kind=section.source,
        location=_where(layout, section),
        sha256=source.listing.sha256,
        licence=section.licence,
    )
    return [_choose(Part(origin, source, source.listing.images, source.listing.skipped), section)]


def _where(layout: Layout, section: PartDataset) -> str:
    """Where a source lies; of a table also where its images do, when it is said."""
    images = section.images if isinstance(section, CsvDataset) else None
    place = record_location(layout, section.location)
    return f"{place}, images in {record_location(layout, images)}" if images else place


def _choose(part: Part, section: PartDataset) -> Part:
    """A part with what its section says of labels, groups, splits and the number of images."""
    images = list(part.images)
    if not isinstance(section, OpenImagesDataset):  # its labels choose what is listed at all
        images = map_labels(part.origin.name, images, section.labels)
    images = keep_together(part.origin.name, images, section.keep_together)
    images = limit_images(_kept_splits(assign_groups(images, section.groups), section), section.limit_per_class)
    return replace(part, images=tuple(images))


def _kept_splits(images: Sequence[SourceImage], section: Labelled) -> tuple[SourceImage, ...]:
    """The images with the splits their source gave, or without where all are to be drawn."""
    return tuple(replace(image, split="") for image in images) if section.splits == "draw" else tuple(images)


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
    whole = map_labels("the merge", whole, dataset.labels)
    whole = limit_images(assign_groups(whole, dataset.groups), dataset.limit_per_class)
    chosen: dict[str, list[SourceImage]] = {part.origin.name: [] for part in parts}
    for image in whole:
        name, _, path = image.path.partition("/")
        chosen[name].append(replace(image, path=path))
    return [replace(part, images=tuple(chosen[part.origin.name])) for part in parts]


def _check(parts: Sequence[Part]) -> None:
    """Refuses a dataset whose classes cannot be compared, or whose further columns do not fit the manifest.

    Raises:
        DataError: two classes differ in case or spacing only, there is only one class, or a further column has the
            name of one of the manifest or is text in one part and a number in another.
    """
    _check_extras(parts)
    refuse_similar_labels({part.origin.name: part.labels for part in parts})
    labels = set().union(*(part.labels for part in parts))
    if len(labels) < 2:
        found = f"one class, {next(iter(labels))!r}" if labels else "no images"
        raise DataError(f"the dataset holds {found}: comparing classifiers needs at least two classes")


def prepare_part(part: Part) -> Part:
    """A part whose images can be read now; what cannot be had is among its `skipped`.

    Raises:
        DataError: the network is down, or no image of a class can be had.
    """
    ready = part.source.prepare(part.images)
    lost = sorted(part.labels - {image.label for image in ready.images})
    if lost:
        first = ready.skipped[0] if ready.skipped else SkippedFile(path="?", reason="not listed")
        raise DataError(
            f"{part.origin.name}: no image of class {lost[0]!r} can be had (first: {first.path!r}: {first.reason}): "
            "correct the source or leave the class out"
        )
    return replace(part, images=ready.images, skipped=in_order([*part.skipped, *ready.skipped]))


def describe_sources(parts: Sequence[Part], corrections: Corrections | None = None) -> Sources:
    """What `sources.json` says of the parts, once they are prepared, and of the labels that were corrected in them."""
    shared: dict[str, list[str]] = {}
    for part in parts:
        for label in sorted(part.labels):
            shared.setdefault(label, []).append(part.origin.name)
    return Sources(
        sources=[_record(part) for part in parts],
        shared={label: sorted(names) for label, names in sorted(shared.items()) if len(names) > 1},
        corrections=corrections,
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
        kept = ("", image.label, f"{origin.name}/{image.label}")
        if image.source_label not in kept and image.key not in part.corrected:
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
