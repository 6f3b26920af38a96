"""Reading any archive that a test wrote, pinned by its digest so that it may lie anywhere."""

from pathlib import Path

from podium.config.dataset import ArchiveDataset, Fetch
from podium.core.files import sha256_file
from podium.core.layout import Layout
from podium.sources.archive import open_archive
from podium.sources.source import FileSource


def read_archive(
    path: Path, limits: Fetch, root: Path, sha256: str | None = None, encoding: str | None = None
) -> FileSource:
    """The class folders of an archive, unpacked below the project `root`."""
    pin = sha256 or (sha256_file(path) if path.is_file() else "0" * 64)
    section = ArchiveDataset(location=str(path), sha256=pin, licence="CC0-1.0", encoding=encoding)
    return open_archive(Layout(root), section, limits)
