"""Archives from strangers: good ones are read in place, hostile and broken ones are refused with the member's name."""

import hashlib
import io
import stat
import struct
import tarfile
import unicodedata
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from podium.core.config.dataset import Fetch
from podium.core.errors import DataError
from podium.sources.archive import name_of, open_archive
from podium.sources.names import safe_member

GOOD = {"flowers/daisy/1.jpg": b"daisy one", "flowers/daisy/2.JPG": b"", "flowers/rose/1.png": b"\0rose" * 300}


def write_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def write_tar(path: Path, members: dict[str, bytes], mode: Any = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


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
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        for name in ("a/1.jpg", "b/1.jpg"):
            member = tarfile.TarInfo(name)
            member.size = -1024
            archive.addfile(member)
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


NFD = unicodedata.normalize("NFD", "flowers/rosé/1.jpg")
HOSTILE: dict[str, tuple[Callable[[Path], Path], str]] = {
    # zipfile strips `..` and `/` without a word, so the file would land under another name.
    "zip climbs out": (zip_named("../evil.jpg"), "'../evil.jpg' climbs out"),
    "zip climbs out in the middle": (zip_named("flowers/rose/../../../evil.jpg"), "climbs out"),
    "zip absolute": (zip_named("/etc/evil.jpg"), "'/etc/evil.jpg' has an absolute path"),
    # Separators and drives of Windows: harmless here, an escape there.
    "zip backslash": (zip_named("..\\evil.jpg"), "has a backslash"),
    "zip drive": (zip_named("C:/evil.jpg"), "starts with a drive letter"),
    # zipfile shows `evil.jpg`; other programs see `.exe`.
    "zip NUL": (zip_named("flowers/rose/evil.jpg\0.exe"), "has a NUL character"),
    # A link is stored as a small text file with a mode; some programs make a link of it.
    "zip link": (zip_with_mode("flowers/rose/l.jpg", stat.S_IFLNK), "'flowers/rose/l.jpg' is a link or a device"),
    "zip device": (zip_with_mode("flowers/rose/d.jpg", stat.S_IFCHR), "is a link or a device"),
    "zip pipe": (zip_with_mode("flowers/rose/p.jpg", stat.S_IFIFO), "is a link or a device"),
    "zip encrypted": (zip_encrypted, "'flowers/daisy/1.jpg' is encrypted"),
    # On disks that ignore case or Unicode form one file would silently replace the other.
    "zip twice up to case": (zip_of("flowers/Rose/1.PNG"), "'flowers/rose/1.png' and 'flowers/Rose/1.PNG'"),
    "zip twice up to Unicode form": (zip_of("flowers/rosé/1.jpg", NFD), "same name up to case or Unicode form"),
    "zip twice up to dots": (zip_of("flowers//rose/./1.png"), "same name"),
    # Sharing packed bytes makes petabytes of a few megabytes while every single ratio looks harmless.
    "zip overlapping": (zip_overlapping, "'flowers/rose/2.png' overlaps"),
    # 1000:1, the most deflate can do.
    "zip bomb": (
        lambda path: write_zip(path, GOOD | {"flowers/rose/b.bmp": b"\0" * 10**7}),
        "'flowers/rose/b.bmp' unpacks",
    ),
    "zip lying about its size": (zip_lying_about_size, "'flowers/rose/liar.png'"),
    "tar climbs out": (tar_member("../evil.jpg"), "climbs out"),
    "tar absolute": (tar_member("/etc/evil.jpg"), "absolute path"),
    "tar backslash": (tar_member("a\\evil.jpg"), "backslash"),
    "tar drive": (tar_member("c:evil.jpg"), "drive letter"),
    # tarfile's data filter lets links inside the archive pass; a later member can write through one.
    "tar link": (tar_member("flowers/rose/l.jpg", tarfile.SYMTYPE, "/etc/passwd"), "'flowers/rose/l.jpg' is a link"),
    "tar link inside": (tar_member("flowers/rose/l.jpg", tarfile.SYMTYPE, "1.png"), "is a link"),
    "tar hard link": (tar_member("flowers/rose/h.jpg", tarfile.LNKTYPE, "flowers/rose/1.png"), "is a link"),
    "tar device": (tar_member("flowers/rose/d.jpg", tarfile.BLKTYPE), "a device"),
    "tar pipe": (tar_member("flowers/rose/p.jpg", tarfile.FIFOTYPE), "a device"),
    # The last one wins in tarfile; which one is the image?
    "tar twice": (tar_member("flowers/rose/1.png"), "same name"),
    "tar bomb": (lambda path: write_tar(path, GOOD | {"flowers/rose/b.bmp": b"\0" * 10**8}, "w:gz"), "fetch.max_ratio"),
    # The next header would be the one before: some versions of tarfile never come back.
    "tar of negative size": (tar_of_negative_size, "member 'a/1.jpg' (its size is negative)"),
    # Headers are read into memory whole, whatever the limits on members say.
    "tar with a huge header": (tar_with_a_huge_header, "a header claims 3,000,"),
    # A cut archive must never pass for a small one.
    "zip cut": (cut(zip_of(), lambda size: size // 2), "truncated or damaged"),
    "zip cut at the end": (cut(zip_of(), lambda size: size - 3), "truncated or damaged"),
    "tar cut in a member": (cut(lambda p: write_tar(p, GOOD), lambda _: 2_700), "truncated or damaged"),
    # Between two members: it reads like a complete archive with fewer members.
    "tar cut between members": (cut(lambda p: write_tar(p, GOOD), lambda _: 1_024), "truncated or damaged"),
    "tar.gz cut": (cut(lambda p: write_tar(p, GOOD, "w:gz"), lambda size: size - 9), "truncated or damaged"),
    "tar.bz2 cut": (cut(lambda p: write_tar(p, GOOD, "w:bz2"), lambda size: size - 9), "truncated or damaged"),
    "tar.xz cut": (cut(lambda p: write_tar(p, GOOD, "w:xz"), lambda size: size - 9), "truncated or damaged"),
    "a web page": (lambda p: [p.write_text("<html>Sign in</html>"), p][1], "neither a zip nor a tar"),
    "an empty file": (lambda p: [p.write_bytes(b""), p][1], "neither a zip nor a tar"),
}


@pytest.mark.parametrize(("write", "message"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_or_broken_archive_is_refused(write: Callable[[Path], Path], message: str, tmp_path: Path) -> None:
    archive = write(tmp_path / "given")
    with pytest.raises(DataError) as caught, open_archive(archive, None, Fetch(), tmp_path / "scratch") as source:
        for image in source.listing.images:
            source.read(image.path)
    assert message in str(caught.value)
    assert "given" in str(caught.value) and "\n" not in str(caught.value)
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["given"]


@pytest.mark.parametrize("kind", ["zip", "w", "w:gz", "w:bz2", "w:xz"])
def test_every_kind_of_archive_gives_the_same_images(kind: str, tmp_path: Path) -> None:
    members = {f"./{name}": data for name, data in GOOD.items()} | {"./flowers/inner.zip": b"PK"}
    path = tmp_path / "flowers.bin"
    archive = write_zip(path, members) if kind == "zip" else write_tar(path, members, kind)
    with open_archive(archive, None, Fetch(), tmp_path / "scratch") as source:
        assert {i.path: source.read(i.path) for i in source.listing.images} == GOOD
        assert [i.label for i in source.listing.images] == ["daisy", "daisy", "rose"]
        assert [(s.path, s.reason) for s in source.listing.skipped] == [
            ("flowers/inner.zip", "an archive inside the source is not opened")
        ]
        assert source.listing.sha256 == hashlib.sha256(archive.read_bytes()).hexdigest()
    assert list((tmp_path / "scratch").rglob("*")) == [] if kind.startswith("w:") else True


def test_a_name_in_utf8_without_the_flag_is_read_as_macos_meant_it(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"사과/1.jpg": b"x", "배/1.jpg": b"y"})
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 7), (b"PK\x01\x02", 9)):
        at = -1
        while (at := data.find(signature, at + 1)) >= 0:
            data[at + offset] &= ~0x08
    path.write_bytes(data)
    with open_archive(path, None, Fetch(), tmp_path) as source:
        assert [i.label for i in source.listing.images] == ["배", "사과"]
        assert source.read("사과/1.jpg") == b"x"


def test_an_empty_class_folder_of_an_archive_is_named(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", GOOD | {"flowers/tulip/": b""})
    with (
        pytest.raises(DataError, match="class folder 'flowers/tulip' holds no images"),
        open_archive(path, None, Fetch(), tmp_path),
    ):
        pass


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (Fetch(max_files=2), "more than 2 members .fetch.max_files."),
        (Fetch(max_bytes=1000), "'flowers/rose/1.png' brings the unpacked size above 1,000 bytes .fetch.max_bytes."),
    ],
)
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_limits_of_params_are_kept(limits: Fetch, message: str, kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{kind}"
    write_zip(path, GOOD) if kind == "zip" else write_tar(path, GOOD)
    with pytest.raises(DataError, match=message), open_archive(path, None, limits, tmp_path):
        pass


def test_another_digest_is_refused_with_both_shown(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", GOOD)
    real = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(DataError, match=f"{real}.*{'0' * 64}"), open_archive(path, "0" * 64, Fetch(), tmp_path):
        pass
    with open_archive(path, real, Fetch(), tmp_path) as source:
        assert source.listing.name == "a"


def test_a_missing_archive_and_a_folder_say_what_to_do(tmp_path: Path) -> None:
    with (
        pytest.raises(DataError, match="does not exist.*dvc pull"),
        open_archive(tmp_path / "a", None, Fetch(), tmp_path),
    ):
        pass
    with (
        pytest.raises(DataError, match="set dataset.source to `folder`"),
        open_archive(tmp_path, None, Fetch(), tmp_path),
    ):
        pass


def test_the_name_of_a_source_is_the_file_without_its_ending() -> None:
    given_names = ["flowers.tar.gz", "CIFAR-10.ZIP", "v1.2.tgz", ".zip", "plain"]
    assert [name_of(n) for n in given_names] == ["flowers", "CIFAR-10", "v1.2", ".zip", "plain"]


@given(st.text(st.sampled_from("ab./\\:C\0é \ud800"), max_size=12))
def test_a_name_that_passes_stays_inside(name: str) -> None:
    try:
        safe = safe_member("it", name)
    except DataError as refused:
        assert str(refused).startswith("it: member ") and str(refused).encode("utf-8")
        return
    inside = Path("/top") / safe
    assert inside.resolve().is_relative_to("/top")
    assert safe_member("it", safe) == safe
    assert not set(safe) & set("\0\\\ud800")


BYTES: dict[str, bytes] = {}


@pytest.fixture(scope="module", autouse=True)
def _bytes(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("good")
    BYTES["zip"] = write_zip(folder / "a.zip", GOOD).read_bytes()
    BYTES["tar"] = write_tar(folder / "a.tar", GOOD).read_bytes()[:6_000]
    BYTES["gz"] = write_tar(folder / "a.gz", GOOD, "w:gz").read_bytes()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(["zip", "tar", "gz"]),
    damage=st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), max_size=4),
)
def test_damage_anywhere_is_an_error_in_one_line_or_harmless(
    kind: str, damage: list[tuple[float, int]], tmp_path: Path
) -> None:
    data = bytearray(BYTES[kind])
    for where, change in damage:
        data[int(where * (len(data) - 1))] ^= change
    path = tmp_path / "a"
    path.write_bytes(data)
    try:
        with open_archive(path, None, Fetch(), tmp_path / "scratch") as source:
            for image in source.listing.images:
                source.read(image.path)
    except DataError as error:
        assert "\n" not in str(error)
