"""From the section `dataset` to opened sources with the images chosen from them.

The order is the same for every kind: list, map labels, give groups, forget splits if asked to, limit, and in a merge
all of it once more over the whole. Source modules are imported at the point of use, since some need libraries that
others do not.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace

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
    SnapshotDataset,
)
from podium.core.errors import DataError, NotPinned, ParamsError, PodiumError
from podium.core.layout import Layout
from podium.sources.download import get_file
from podium.sources.labels import grouped, mapped
from podium.sources.listing import Source, SourceImage
from podium.sources.locations import downloads_folder, is_address, record_location, watched_path
from podium.sources.merge import Origin, Part, check, merge
from podium.sources.selection import limited


@contextmanager
def open_parts(layout: Layout, dataset: Dataset, fetch: Fetch) -> Iterator[tuple[Part, ...]]:
    """Opens a dataset: one part, or those of a merge in the order of the section.

    Args:
        layout: the project's paths.
        dataset: where the images come from.
        fetch: limits of downloading and unpacking.

    Yields:
        Parts with the images chosen from each. Those of a source that downloads are not there yet.

    Raises:
        DataError: a source is missing, damaged, unsafe or not what its sha256 says, a label map does not fit, or there
            are fewer than two classes. Of a merge, the message starts with the part's name.
        ParamsError: a key does not fit the source.
    """
    with ExitStack() as stack:
        parts: list[Part] = []
        if isinstance(dataset, MergeDataset):
            parts.extend(_open_all(stack, layout, dataset.parts, fetch))
            parts = merge([replace(part, images=_kept_splits(part.images, dataset)) for part in parts], dataset)
        else:
            parts.extend(_open(stack, layout, dataset, fetch))
        check(parts)
        yield tuple(parts)


def _open_all(stack: ExitStack, layout: Layout, sections: Sequence[PartDataset], fetch: Fetch) -> Iterator[Part]:
    """The parts of a merge. Those that are not pinned are all named at once, so that one download is enough."""
    open_ends: list[str] = []
    for section in sections:
        try:
            yield from _open(stack, layout, section, fetch)
        except NotPinned as error:
            open_ends.append(str(_of_part(section, error)))
        except (DataError, ParamsError) as error:
            raise _of_part(section, error) from error
    if open_ends:
        raise NotPinned("; ".join(open_ends))


def _of_part(section: PartDataset, error: PodiumError) -> PodiumError:
    """The same error, naming the part of the merge it comes from."""
    return type(error)(f"part {section.name!r} of the merge: {error}")


def _open(stack: ExitStack, layout: Layout, section: PartDataset, fetch: Fetch) -> list[Part]:
    """The parts of one section, open as long as `stack`: one, of a snapshot one for each of its sources."""
    if isinstance(section, SnapshotDataset):
        from podium.sources.packed import open_snapshot

        path = get_file(layout, section, fetch)
        packed = stack.enter_context(open_snapshot(path, section, fetch, layout.work / "scratch"))
        return [_chosen(part, section) for part in packed]
    source = stack.enter_context(_source(layout, section, fetch))
    origin = Origin(
        name=section.name or source.listing.name,
        kind=section.source,
        location=_where(layout, section),
        sha256=source.listing.sha256,
        licence=section.licence,
    )
    return [_chosen(Part(origin, source, source.listing.images, source.listing.skipped), section)]


def _where(layout: Layout, section: PartDataset) -> str:
    """Where a source lies; of a table also where its images do, when it is said."""
    images = section.images if isinstance(section, CsvDataset) else None
    place = record_location(layout, section.location)
    return f"{place}, images in {record_location(layout, images)}" if images else place


def _chosen(part: Part, section: PartDataset) -> Part:
    """A part with what its section says of labels, groups, splits and the number of images."""
    images = list(part.images)
    if not isinstance(section, OpenImagesDataset):  # its labels choose what is listed at all
        images = mapped(part.origin.name, images, section.labels)
    images = limited(_kept_splits(grouped(images, section.groups), section), section.limit_per_class)
    return replace(part, images=tuple(images))


def _kept_splits(images: Sequence[SourceImage], section: Labelled) -> tuple[SourceImage, ...]:
    """The images with the splits their source gave, or without where all are to be drawn."""
    return tuple(replace(image, split="") for image in images) if section.splits == "draw" else tuple(images)


def _source(layout: Layout, section: PartDataset, fetch: Fetch) -> AbstractContextManager[Source]:
    """The source a section describes, not entered yet. Its module is imported here: some are heavy."""
    scratch = layout.work / "scratch"
    match section:
        case SampleDataset():
            from podium.sources.sample import open_sample

            path = watched_path(layout, section.source, section.location)
            return open_sample(path, section.sha256, fetch, scratch)
        case FolderDataset():
            from podium.sources.folder import open_folder

            return open_folder(watched_path(layout, section.source, section.location))
        case ArchiveDataset():
            from podium.sources.archive import open_archive

            return open_archive(get_file(layout, section, fetch), section.sha256, fetch, scratch)
        case CsvDataset():
            from podium.sources.table import open_table

            return open_table(layout, section, fetch)
        case KaggleDataset():
            from podium.sources.kaggle import open_kaggle

            return open_kaggle(section, fetch, downloads_folder(layout))
        case OpenImagesDataset():
            from podium.sources.openimages import open_openimages

            if not is_address(section.location):
                folder = watched_path(layout, section.source, section.location)
                section = section.model_copy(update={"location": str(folder)})
            return open_openimages(section, fetch, downloads_folder(layout))
        case _:
            raise ParamsError(f"dataset.source {section.source!r} cannot be opened here: choose another kind")
