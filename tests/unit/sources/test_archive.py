"""Archives from strangers: good ones are unpacked, hostile and broken ones are refused with the member's name."""

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.config.dataset import Fetch
from podium.core.errors import DataError
from podium.core.layout import Layout
from podium.sources.names import safe_member, source_name
from podium.sources.unpacking import unpack
from tests.data.archive_files import GOOD, write_tar, write_zip
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


@pytest.mark.parametrize("kind", ["zip", "w", "w:gz", "w:bz2", "w:xz"])
def test_every_kind_of_archive_gives_the_same_images(kind: str, tmp_path: Path) -> None:
    members = {f"./{name}": data for name, data in GOOD.items()} | {"./flowers/inner.zip": b"PK"}
    path = tmp_path / "flowers.bin"
    archive = write_zip(path, members) if kind == "zip" else write_tar(path, members, kind)
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
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_limits_of_params_are_kept(limits: Fetch, message: str, kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{kind}"
    write_zip(path, GOOD) if kind == "zip" else write_tar(path, GOOD)
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
    given_names = ["flowers.tar.gz", "CIFAR-10.ZIP", "v1.2.tgz", ".zip", "plain"]
    assert [source_name(n) for n in given_names] == ["flowers", "CIFAR-10", "v1.2", ".zip", "plain"]


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
