"""Archives from strangers: good ones are unpacked, hostile and broken ones are refused with the member's name."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.config.dataset import ArchiveDataset, Fetch
from podium.core.errors import DataError
from podium.core.layout import Layout
from podium.sources.archive import unpack
from podium.sources.names import safe_member, source_name
from tests.data.archive_files import GOOD, tar_member, write_seven_zip, write_tar, write_zip, zip_in, zip_of
from tests.data.hard_archives import HARD_ARCHIVES, HardArchive
from tests.unit.sources.archives import read_archive


@pytest.mark.parametrize("case", HARD_ARCHIVES, ids=lambda case: case.name)
def test_a_hostile_or_broken_archive_is_refused(case: HardArchive, tmp_path: Path) -> None:
    archive = case.write(tmp_path / "given")
    with pytest.raises(DataError) as caught:
        read_archive(archive, Fetch(), tmp_path)
    assert case.message in str(caught.value)
    assert "given" in str(caught.value) and "\n" not in str(caught.value)
    assert [p.name for p in tmp_path.rglob("*") if p.is_file() and p.suffix != ".lock"] == ["given"]


@pytest.mark.parametrize("kind", ["zip", "7z", "w", "w:gz", "w:bz2", "w:xz", "w:zst"])
def test_every_kind_of_archive_gives_the_same_images(kind: str, tmp_path: Path) -> None:
    members = {f"./{name}": data for name, data in GOOD.items()} | {"./flowers/inner.zip": b"PK"}
    path = tmp_path / "flowers.bin"
    writers = {"zip": write_zip, "7z": write_seven_zip}
    archive = writers[kind](path, members) if kind in writers else write_tar(path, members, kind)
    source = read_archive(archive, Fetch(), tmp_path)
    assert {i.path: source.read(i.path) for i in source.listing.images} == GOOD
    assert [i.label for i in source.listing.images] == ["daisy", "daisy", "rose"]
    assert [(s.path, s.reason) for s in source.listing.skipped] == [
        ("flowers/inner.zip", "an archive inside the source is not opened")
    ]
    assert source.listing.sha256 == hashlib.sha256(archive.read_bytes()).hexdigest()


def test_an_unpacked_archive_is_used_again_only_as_it_was(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", GOOD)
    layout = Layout(tmp_path)
    folder, digest = unpack(layout, path, None, Fetch())
    first = (folder / "flowers/rose/1.png").stat().st_ino
    assert unpack(layout, path, digest, Fetch()) == (folder, digest)
    assert folder == layout.unpacked / digest[:16]
    assert (folder / "flowers/rose/1.png").stat().st_ino == first
    for change in (
        lambda: (folder / "flowers/rose/1.png").write_bytes(b"another rose"),
        lambda: (folder / "flowers/rose/2.png").write_bytes(b"one more"),
        lambda: (folder / "flowers/rose/1.png").unlink(),
    ):
        change()
        unpack(layout, path, digest, Fetch())
        found = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        assert found == GOOD


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("flowers/rose/" + "x" * 256 + ".jpg", "has a name that this disk cannot hold (File name too long)"),
        ("flowers/rose/1.png/2.png", "is a file and a folder at once"),
    ],
)
def test_a_name_that_no_file_can_have_is_refused_and_nothing_is_kept(name: str, said: str, tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", GOOD | {name: b"x"})
    with pytest.raises(DataError) as caught:
        read_archive(path, Fetch(), tmp_path)
    assert f"a.zip: member {name!r} {said}: pack the archive again" in str(caught.value)
    assert [p for p in Layout(tmp_path).unpacked.rglob("*") if p.suffix != ".lock"] == []


def test_a_name_in_utf8_without_the_flag_is_read_as_macos_meant_it(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"사과/1.jpg": b"x", "배/1.jpg": b"y"})
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 7), (b"PK\x01\x02", 9)):
        at = -1
        while (at := data.find(signature, at + 1)) >= 0:
            data[at + offset] &= ~0x08
    path.write_bytes(data)
    source = read_archive(path, Fetch(), tmp_path)
    assert [i.label for i in source.listing.images] == ["배", "사과"]
    assert source.read("사과/1.jpg") == b"x"


@pytest.mark.parametrize(
    ("encoding", "write", "path"),
    [
        ("cp949", zip_in("cp949", "사과/1.jpg"), "사과/1.jpg"),
        ("cp1252", zip_in("cp1252", "größe/1.jpg"), "größe/1.jpg"),
        ("shift_jis", zip_in("cp932", "梨/1.jpg"), "梨/1.jpg"),
        ("cp949", tar_member("배/1.jpg".encode("cp949").decode("utf-8", "surrogateescape")), "배/1.jpg"),
    ],
)
def test_names_in_an_old_encoding_are_read_where_it_is_given(
    encoding: str, write: Callable[[Path], Path], path: str, tmp_path: Path
) -> None:
    archive = write(tmp_path / "a")
    source = read_archive(archive, Fetch(), tmp_path, encoding=encoding)
    listed = {image.path for image in source.listing.images} | {file.path for file in source.listing.skipped}
    assert path in listed

    with pytest.raises(DataError, match="set dataset.encoding"):
        read_archive(archive, Fetch(), tmp_path)  # what was unpacked under an encoding is not taken for it
    with pytest.raises(DataError, match="is no name in ascii: correct dataset.encoding"):
        read_archive(archive, Fetch(), tmp_path, encoding="ascii")


def test_an_encoding_that_is_not_known_is_refused_with_the_params(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="encoding 'utf8000' is not known: try cp949"):
        ArchiveDataset(location="a.zip", licence="CC0-1.0", encoding="utf8000")


def test_names_that_differ_in_case_only_are_two_files(tmp_path: Path) -> None:
    source = read_archive(zip_of("flowers/rose/1.PNG")(tmp_path / "a.zip"), Fetch(), tmp_path)
    assert {"flowers/rose/1.PNG", "flowers/rose/1.png"} <= {image.path for image in source.listing.images}


def test_on_a_disk_that_ignores_case_they_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("podium.sources.archive._ignores_case", lambda _: True)
    for number, twin in enumerate(("flowers/rose/1.PNG", "flowers/Rose/2.png")):
        with pytest.raises(DataError, match=r"have the same name .* up to case on a disk that ignores it"):
            read_archive(zip_of(twin)(tmp_path / f"{number}.zip"), Fetch(), tmp_path)


def test_backslashes_separate_folders_where_a_zip_has_no_slash(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"daisy\\1.jpg": b"one", "rose\\2.jpg": b"two", "rose\\": b""})
    source = read_archive(path, Fetch(), tmp_path)
    assert {image.path: image.label for image in source.listing.images} == {
        "daisy/1.jpg": "daisy",
        "rose/2.jpg": "rose",
    }


def test_an_empty_class_folder_of_an_archive_is_named(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", GOOD | {"flowers/tulip/": b""})
    with pytest.raises(DataError, match="class folder 'flowers/tulip' holds no images"):
        read_archive(path, Fetch(), tmp_path)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (Fetch(max_files=2), "more than 2 members .fetch.max_files."),
        (Fetch(max_bytes=1000), "'flowers/rose/1.png' brings the unpacked size above 1,000 bytes .fetch.max_bytes."),
    ],
)
@pytest.mark.parametrize("kind", ["zip", "tar", "7z"])
def test_limits_of_params_are_kept(limits: Fetch, message: str, kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{kind}"
    {"zip": write_zip, "tar": write_tar, "7z": write_seven_zip}[kind](path, GOOD)
    with pytest.raises(DataError, match=message):
        read_archive(path, limits, tmp_path)


def test_another_digest_is_refused_with_both_shown(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", GOOD)
    real = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(DataError, match=f"{real}.*{'0' * 64}"):
        read_archive(path, Fetch(), tmp_path, "0" * 64)
    source = read_archive(path, Fetch(), tmp_path, real)
    assert source.listing.name == "a"


def test_a_missing_archive_and_a_folder_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist.*dvc pull"):
        read_archive(tmp_path / "a", Fetch(), tmp_path)
    with pytest.raises(DataError, match="set dataset.source to `folder`"):
        read_archive(tmp_path, Fetch(), tmp_path)


def test_the_name_of_a_source_is_the_file_without_its_ending() -> None:
    given_names = ["flowers.tar.gz", "CIFAR-10.ZIP", "v1.2.tgz", ".zip", "plain", "a.tar.zst", "a.7z"]
    assert [source_name(n) for n in given_names] == [*("flowers", "CIFAR-10", "v1.2", ".zip", "plain", "a", "a")]


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
