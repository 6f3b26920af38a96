"""Archives built by code: good ones, hostile ones, broken ones."""

import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import py7zr
from backports.zstd import CompressionParameter, compress

CHECKED = {CompressionParameter.checksum_flag: 1}
GOOD = {"flowers/daisy/1.jpg": b"daisy one", "flowers/daisy/2.JPG": b"", "flowers/rose/1.png": b"\0rose" * 300}


def write_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def write_tar(path: Path, members: dict[str, bytes], mode: Any = "w") -> Path:
    if mode == "w:zst":
        path.write_bytes(compress(write_tar(path, members).read_bytes(), options=CHECKED))
        return path
    with tarfile.open(path, mode) as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def write_seven_zip(path: Path, members: dict[str, bytes], **options: Any) -> Path:
    with py7zr.SevenZipFile(path, "w", **options) as archive:
        for name, data in members.items():
            archive.writestr(data, name)
    return path


def seven_zip_named(name: str) -> Callable[[Path], Path]:
    """py7zr refuses such a name, so a stand-in of the same length is replaced in a header that is not packed."""
    stand_in = "".join("x" if character in "./\\:" else character for character in name)

    def write(path: Path) -> Path:
        with py7zr.SevenZipFile(path, "w") as archive:
            archive.set_encoded_header_mode(False)
            for good, data in (GOOD | {stand_in: b"x"}).items():
                archive.writestr(data, good)
        data = path.read_bytes().replace(stand_in.encode("utf-16-le"), name.encode("utf-16-le"))
        (start,) = struct.unpack_from("<Q", data, 12)
        header = data[32 + start :]
        sizes = struct.pack("<QQL", start, len(header), zlib.crc32(header))
        path.write_bytes(data[:8] + struct.pack("<L", zlib.crc32(sizes)) + sizes + data[32:])
        return path

    return write


def seven_zip_with_link(path: Path) -> Path:
    with TemporaryDirectory() as folder:
        rose = Path(folder) / "flowers/rose"
        rose.mkdir(parents=True)
        (rose / "1.png").write_bytes(b"x")
        (rose / "l.jpg").symlink_to("1.png")
        with py7zr.SevenZipFile(path, "w") as archive:
            archive.writeall(Path(folder) / "flowers", "flowers")
    return path


def zip_in(encoding: str, *names: str) -> Callable[[Path], Path]:
    """A zip with names in an old encoding, as Windows writes them: without the flag for UTF-8."""

    def write(path: Path) -> Path:
        stand_ins = {name: f"{number:0{len(name.encode(encoding))}d}" for number, name in enumerate(names)}
        data = write_zip(path, dict.fromkeys(stand_ins.values(), b"x") | GOOD).read_bytes()
        for name, stand_in in stand_ins.items():
            data = data.replace(stand_in.encode(), name.encode(encoding))
        path.write_bytes(data)
        return path

    return write


def write_zip_member(path: Path, info: zipfile.ZipInfo, data: bytes = b"x") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, good in GOOD.items():
            archive.writestr(name, good)
        archive.writestr(info, data)
    return path


def zip_with_mode(name: str, kind: int) -> Callable[[Path], Path]:
    def write(path: Path) -> Path:
        info = zipfile.ZipInfo(name)
        info.create_system, info.external_attr = 3, (kind | 0o777) << 16
        return write_zip_member(path, info, b"/etc/passwd")

    return write


def zip_named(name: str) -> Callable[[Path], Path]:
    """zipfile cuts a name at NUL, so the bytes are replaced afterwards."""
    stand_in = name.replace("\0", "\x01").replace("\\", "\x02")

    def write(path: Path) -> Path:
        write_zip_member(path, zipfile.ZipInfo(stand_in))
        path.write_bytes(path.read_bytes().replace(stand_in.encode(), name.encode()))
        return path

    return write


def zip_encrypted(path: Path) -> Path:
    write_zip(path, GOOD)
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1
    path.write_bytes(data)
    return path


def zip_overlapping(path: Path) -> Path:
    """Two entries of the directory point at the same packed bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, good in GOOD.items():
            archive.writestr(name, good)
        twin = zipfile.ZipInfo("flowers/rose/2.png")
        first = archive.getinfo("flowers/daisy/1.jpg")
        for attribute in ("header_offset", "CRC", "compress_size", "file_size", "compress_type"):
            setattr(twin, attribute, getattr(first, attribute))
        archive.filelist.append(twin)
    return path


def zip_lying_about_size(path: Path) -> Path:
    """The directory says 9 bytes, 900,000 come: whoever trusts it for a limit unpacks them all."""
    write_zip_member(path, zipfile.ZipInfo("flowers/rose/liar.png"), b"0123456789" * 90_000)
    data = path.read_bytes()
    path.write_bytes(data.replace(struct.pack("<L", 900_000), struct.pack("<L", 9)))
    return path


def tar_member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> Callable[[Path], Path]:
    def write(path: Path) -> Path:
        with tarfile.open(path, "w:gz") as archive:
            for good, data in GOOD.items():
                member = tarfile.TarInfo(good)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, link
            archive.addfile(member)
        return path

    return write


def tar_of_negative_size(path: Path) -> Path:
    with path.open("wb") as stream:  # by hand: tarfile itself refuses to write one
        for name in ("a/1.jpg", "b/1.jpg"):
            member = tarfile.TarInfo(name)
            member.size = -1024
            stream.write(member.tobuf(tarfile.GNU_FORMAT))
        stream.write(bytes(2 * tarfile.BLOCKSIZE))
    return path


def tar_with_a_huge_header(path: Path) -> Path:
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo("a/1.jpg")
        member.pax_headers = {"comment": Random(0).randbytes(1_500_000).hex()}
        archive.addfile(member)
    return path


def cut(write: Callable[[Path], Path], keep: Callable[[int], int]) -> Callable[[Path], Path]:
    def write_cut(path: Path) -> Path:
        data = write(path).read_bytes()
        path.write_bytes(data[: keep(len(data))])
        return path

    return write_cut


def zip_of(*names: str) -> Callable[[Path], Path]:
    return lambda path: write_zip(path, GOOD | dict.fromkeys(names, b"x"))
