"""Source `csv`: a table with a row an image, or a row a box, and the images it names, here or at an address.

The table is below data/ or pinned by its sha256. Images at an address are downloaded once, side by side, and kept under
the table's digest.
"""

import codecs
import hashlib
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

from podium.config.dataset import CsvDataset, Fetch
from podium.core.errors import DataError, ParamsError
from podium.core.layout import Layout
from podium.records.fetch import SkippedFile
from podium.sources.download import download_many, get_file
from podium.sources.image_headers import read_upright_size
from podium.sources.locations import (
    WEB,
    address,
    check_digest,
    downloads_folder,
    is_address,
    local_path,
    watched_path,
)
from podium.sources.names import source_name
from podium.sources.source import FileSource, Listing, Prepared, SourceImage, check_box
from podium.sources.table_rows import RowImage, TableRows, read_rows


class TableSource(FileSource):
    """A table's images as files in a folder; `addresses` of those that have to be downloaded to it first, by path."""

    def __init__(
        self, listing: Listing, folder: Path, files: Mapping[str, Path], addresses: Mapping[str, str], fetch: Fetch
    ) -> None:
        super().__init__(listing, files)
        self._folder = folder
        self._addresses = addresses
        self._fetch = fetch

    def prepare(self, images: Sequence[SourceImage]) -> Prepared:
        """Downloads photographs that are not here yet, and turns boxes in pixels into fractions."""
        refused = self._download(sorted({image.path for image in images}))
        skipped = [SkippedFile(path=path, reason=reason, image=True) for path, reason in refused.items()]
        sizes: dict[str, tuple[int, int] | None] = {}
        found: list[SourceImage] = []
        for image in images:
            if image.path in refused:
                continue
            if image.path not in sizes and isinstance(image, RowImage) and image.corners is not None:
                sizes[image.path] = read_upright_size(self._files[image.path])
            try:
                found.append(_to_fractions(image, sizes.get(image.path)))
            except ValueError as bad:
                skipped.append(SkippedFile(path=image.path, reason=str(bad), image=True))
        kept, left_out = _unique(found)
        return Prepared(tuple(kept), (*skipped, *left_out))

    def _download(self, paths: Sequence[str]) -> dict[str, str]:
        """Brings photographs here; returns a reason for each that cannot be had."""
        wanted = [path for path in paths if path in self._addresses]
        if not wanted:
            return {}
        names = {self._files[path].relative_to(self._folder).as_posix(): path for path in wanted}
        refused = download_many(
            [(name, self._addresses[path]) for name, path in names.items()], self._folder, self._fetch
        )
        return {names[name]: reason for name, reason in refused.items()}


def open_table(layout: Layout, dataset: CsvDataset, fetch: Fetch) -> TableSource:
    """Opens a table.

    Args:
        layout: the project's paths.
        dataset: where the table and its images lie, and which column holds what.
        fetch: limits of downloading.

    Returns:
        The source; its name is the table's without its ending.

    Raises:
        ParamsError: the table is not pinned, its images lie where DVC does not watch, or the encoding is unknown.
        DataError: the table is missing, has another digest, or cannot be used.
    """
    table = get_file(layout, dataset, fetch)
    digest = check_digest(table, dataset.sha256)
    base = _base(layout, dataset)
    rows = _read(table, dataset, base if is_address(base) else "")
    if is_address(base):
        folder = downloads_folder(layout) / digest[:16] / "images"
        files = {path: folder / _file_name(path) for path in rows.written}
        addresses = {path: _address(base, path, written) for path, written in rows.written.items()}
    else:
        folder, addresses = Path(base), {}
        rows, files = _on_disk(rows, folder)
    listing = Listing(source_name(table.name).removesuffix(".csv"), digest, rows.images, rows.skipped)
    return TableSource(listing, folder, files, addresses, fetch)


def _base(layout: Layout, dataset: CsvDataset) -> str:
    """Where the images lie: an address without a slash at its end, or an absolute path below data/."""
    if dataset.images is not None:
        if is_address(dataset.images):
            return dataset.images.rstrip("/")
        return str(watched_path(layout, dataset.source, dataset.images, key="images"))
    if is_address(dataset.location):
        return dataset.location.partition("?")[0].rpartition("/")[0]
    table = local_path(layout, dataset.location)
    return str(watched_path(layout, dataset.source, str(table.parent), key="images"))


def _read(table: Path, dataset: CsvDataset, base: str) -> TableRows:
    """The rows of the table.

    Raises:
        ParamsError: the encoding is not known.
        DataError: the table cannot be used.
    """
    try:
        codec = codecs.lookup(dataset.encoding).name
    except LookupError as error:
        raise ParamsError(f"dataset.encoding {dataset.encoding!r} is not known: try utf-8, cp1252 or utf-16") from error
    # Spreadsheets put a byte order mark before UTF-8; it is no part of the first column's name.
    with table.open(encoding="utf-8-sig" if codec == "utf-8" else codec, newline="") as stream:
        return read_rows(table.name, stream, dataset, base)


def _on_disk(rows: TableRows, base: Path) -> tuple[TableRows, dict[str, Path]]:
    """The rows whose file lies below `base`, and the files; the others become rows left out.

    Raises:
        DataError: the folder is not there, or holds none of them.
    """
    if not base.is_dir():
        raise DataError(f"folder {base} does not exist: put the images there, or correct dataset.images")
    root = base.resolve()
    files: dict[str, Path] = {}
    missing: dict[str, str] = {}
    for path, written in rows.written.items():
        forms = dict.fromkeys((written, path, unicodedata.normalize("NFD", path)))
        file = next((base / form for form in forms if _is_file(base / form)), None)
        if file is None:
            missing[path] = "there is no such file"
        elif not file.resolve().is_relative_to(root):
            missing[path] = "a link that leaves the folder"
        else:
            files[path] = file
    images = tuple(image for image in rows.images if image.path in files)
    left_out = [SkippedFile(path=path, reason=reason, image=True) for path, reason in missing.items()]
    if not images:
        raise DataError(
            f"none of the {len(rows.written):,} images lies below {base} (first: {left_out[0].path!r}, "
            f"{left_out[0].reason}): correct dataset.images"
        )
    skipped = tuple(sorted([*rows.skipped, *left_out], key=lambda file: (file.path, file.reason)))
    return replace(rows, images=images, skipped=skipped), files


def _is_file(path: Path) -> bool:
    """Whether there is such a file; a name that the disk cannot hold is none."""
    try:
        return path.is_file()
    except OSError:  # a name too long for this disk
        return False


def _file_name(path: str) -> str:
    """A short, safe name for a downloaded photograph, in one of 256 folders."""
    digest = hashlib.sha256(path.encode()).hexdigest()
    return f"{digest[:2]}/{digest[2:34]}"


def _address(base: str, path: str, written: str) -> str:
    """Where a photograph is downloaded from: the whole address in the row, or its path below `base` with its query."""
    if is_address(written):
        return written
    if address(base).scheme not in WEB:
        return f"{base}/{path}"
    _, mark, query = written.partition("?")
    return f"{base}/{quote(path)}{mark}{query}"


def _to_fractions(image: SourceImage, size: tuple[int, int] | None) -> SourceImage:
    """An image with its box in fractions.

    Raises:
        ValueError: the box needs the photograph's size and there is none, or it is no part of it.
    """
    if not isinstance(image, RowImage) or image.corners is None:
        return image
    if size is None:
        raise ValueError("its size cannot be read, and its box is in pixels: is it a photograph?")
    return replace(image, box=check_box(image.corners, *size), corners=None)


def _unique(images: Sequence[SourceImage]) -> tuple[list[SourceImage], list[SkippedFile]]:
    """One image a key: pixels may turn out to be the box another row has; the rule is that of `table_rows`."""
    by_key: dict[tuple[str, str], list[SourceImage]] = {}
    for image in images:
        by_key.setdefault(image.key, []).append(image)
    kept, skipped = [], []
    for same in by_key.values():
        labels = ", ".join(repr(label) for label in sorted({image.label for image in same}))
        agree = len({image.label for image in same}) == 1
        kept += same[:1] if agree else []
        for image in same[1:] if agree else same:
            box = f"the box {image.box.text}" if image.box.text else "the whole photograph"
            reason = f"{box} stands in another row" if agree else f"{box} has contradicting labels: {labels}"
            skipped.append(SkippedFile(path=image.path, reason=reason, image=True))
    return kept, skipped
