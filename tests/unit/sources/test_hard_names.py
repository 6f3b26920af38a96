"""Files with hard names, on disk and in archives: each one is listed under its name, or left out with the reason."""

import tarfile
import zipfile
from pathlib import Path

import pytest

from podium.config.dataset import Fetch
from podium.sources.folder import read_folder
from podium.sources.names import reason_to_skip
from tests.data.hard_names import ACCENTS, IMAGES, LEFT_OUT, HardFile, write
from tests.unit.sources.archives import read_archive


def packed(files: list[HardFile], path: Path, kind: str) -> Path:
    """The plain files among `files` in an archive."""
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for file in files:
                archive.writestr(zipfile.ZipInfo(file.path), file.path)
    else:
        write(path.parent / "files", files)
        with tarfile.open(path, "w") as tar:
            for file in files:
                tar.add(path.parent / "files" / file.path, file.path)
    return path


def test_every_file_of_a_folder_is_listed_or_left_out_with_the_reason(tmp_path: Path) -> None:
    write(tmp_path / "photos", [*IMAGES, *LEFT_OUT])
    source = read_folder(tmp_path / "photos", "photos", title="folder photos")
    assert {image.path for image in source.listing.images} == {file.known_as for file in IMAGES}
    assert {s.path: s.reason for s in source.listing.skipped} == {f.known_as: f.reason for f in LEFT_OUT}
    assert {s.path for s in source.listing.skipped if s.image} == {f.known_as for f in LEFT_OUT if f.counts}
    assert all(source.read(image.path) for image in source.listing.images)
    assert all(image.label == image.path.partition("/")[0] for image in source.listing.images)


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_every_member_of_an_archive_is_listed_or_left_out_with_the_reason(kind: str, tmp_path: Path) -> None:
    plain = [file for file in IMAGES if file.make is None]
    dropped = [file for file in LEFT_OUT if file.make is None and file.path.isascii()]
    source = read_archive(packed([*plain, *dropped], tmp_path / "a", kind), Fetch(), tmp_path)
    assert {image.path for image in source.listing.images} == {file.known_as for file in plain}
    assert {s.path: s.reason for s in source.listing.skipped} == {f.known_as: f.reason for f in dropped}


def test_what_counts_as_rejected_is_what_looks_like_an_image_by_its_name() -> None:
    inside = [f for f in LEFT_OUT if "/" in f.path]
    assert [f.path for f in inside if f.counts] == [f.path for f in inside if not reason_to_skip(f.known_as)]
    assert len(ACCENTS.encode()) > len(ACCENTS)
