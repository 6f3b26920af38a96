"""Any bytes give a listing or a DataError in one line: never another exception, a hang, or a file outside."""

import io
import stat
import tarfile
import zipfile
from pathlib import Path

import py7zr
from backports.zstd import compress
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.config.dataset import Fetch
from podium.core.errors import DataError
from podium.core.layout import Layout
from tests.damage import damaged, no_longer_than
from tests.unit.sources.archives import read_archive

LIMITS = Fetch(max_files=100, max_bytes=10_000_000)
SMALL = {"a/1.jpg": b"one" * 50, "a/2.png": b"", "b/é 🍐.webp": b"\0two" * 200}
FUZZ = settings(max_examples=200)


def packed_zip(method: int) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in SMALL.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return out.getvalue()


def packed_tar(mode: str, form: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode, format=form) as archive:
        for name, data in SMALL.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue().rstrip(b"\0") + b"\0" * 1024 if mode == "w" else out.getvalue()


def packed_seven_zip(plain_header: bool = False) -> bytes:
    out = io.BytesIO()
    with py7zr.SevenZipFile(out, "w") as archive:
        archive.set_encoded_header_mode(not plain_header)
        for name, data in SMALL.items():
            archive.writestr(data, name)
    return out.getvalue()


ARCHIVES = [
    *(packed_zip(method) for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)),
    *(packed_tar(mode) for mode in ("w", "w:gz", "w:bz2", "w:xz")),
    packed_tar("w", tarfile.GNU_FORMAT),
    packed_tar("w", tarfile.USTAR_FORMAT),
    compress(packed_tar("w")),
    packed_seven_zip(),
    packed_seven_zip(plain_header=True),
]
MAGIC = [
    b"",
    b"PK\x03\x04",
    b"PK\x05\x06",
    b"\x1f\x8b\x08",
    b"BZh9",
    b"\xfd7zXZ\0",
    b"7z\xbc\xaf\x27\x1c",
    b"\x28\xb5\x2f\xfd",
    b"\0" * 257 + b"ustar",
]


def open_and_read(data: bytes, folder: Path) -> dict[str, bytes]:
    """All images of an archive by path; none where it is refused. Nothing may be left outside, or half-unpacked."""
    path = folder / "given"
    path.write_bytes(data)
    try:
        with no_longer_than(20):
            source = read_archive(path, LIMITS, folder)
            found = {image.path: source.read(image.path) for image in source.listing.images}
            assert all(skipped.reason for skipped in source.listing.skipped)
    except DataError as refused:
        assert str(refused).startswith("given")
        assert "\n" not in str(refused)
        assert str(refused).encode()
        found = {}
    assert {p.name for p in folder.iterdir()} <= {"given", ".podium"}
    unpacked = Layout(folder).unpacked.glob(".podium-tmp-*")
    assert not list(unpacked)
    return found


@FUZZ
@given(damaged(ARCHIVES))
def test_a_damaged_archive_is_read_or_refused(tmp_path: Path, data: bytes) -> None:
    for name in open_and_read(data, tmp_path):
        assert not name.startswith("/") and ".." not in name.split("/")


@FUZZ
@given(st.sampled_from(MAGIC), st.binary(max_size=600))
def test_bytes_that_only_begin_like_an_archive_are_refused(tmp_path: Path, magic: bytes, rest: bytes) -> None:
    assert open_and_read(magic + rest, tmp_path) == {}


ODD = st.text(st.sampled_from("ab/.\\:\0\n é𝄞\u202e~-"), min_size=1, max_size=12)
NAMES = ODD | st.sampled_from(("a/1.jpg", "b/2.jpg"))
MODES = st.sampled_from((0, stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO, stat.S_IFSOCK))
KINDS = st.sampled_from((tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, b"Z"))


@FUZZ
@given(st.lists(st.tuples(NAMES, MODES, st.binary(max_size=20)), max_size=6))
def test_any_members_of_a_zip_are_listed_inside_or_refused(
    tmp_path: Path, members: list[tuple[str, int, bytes]]
) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for number, (name, mode, data) in enumerate(members):
            info = zipfile.ZipInfo(f"{number:02}{'x' * (len(name.encode()) - 2)}")  # a stand-in: zipfile repairs names
            info.external_attr = mode << 16
            archive.writestr(info, data)
    packed = out.getvalue()
    for number, (name, _, _) in enumerate(members):
        stand_in = f"{number:02}{'x' * (len(name.encode()) - 2)}".encode()
        if len(stand_in) == len(name.encode()):
            packed = packed.replace(stand_in, name.encode())
    given_bytes = {data for _, _, data in members}
    for name, data in open_and_read(packed, tmp_path).items():
        assert data in given_bytes
        assert not name.startswith("/") and ".." not in name.split("/") and not set(name) & set("\\\0")


@FUZZ
@given(st.lists(st.tuples(NAMES, KINDS, st.binary(max_size=20), NAMES), max_size=6))
def test_any_members_of_a_tar_are_listed_inside_or_refused(
    tmp_path: Path, members: list[tuple[str, bytes, bytes, str]]
) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, kind, data, link in members:
            member = tarfile.TarInfo(name.replace("\0", ""))
            member.type, member.linkname = kind, link.replace("\0", "")
            member.size = len(data) if kind in (tarfile.REGTYPE, b"Z") else 0
            archive.addfile(member, io.BytesIO(data))
    given_bytes = {data for _, _, data, _ in members}
    for name, data in open_and_read(out.getvalue(), tmp_path).items():
        assert data in given_bytes
        assert not name.startswith("/") and ".." not in name.split("/") and "\\" not in name
