"""A folder on disk: links, odd entries and odd names. Which folders are classes is tested in test_class_folders."""

import os
import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest

from podium.core.errors import DataError
from podium.sources.folder import read_folder
from podium.sources.source import Listing


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    for name in ("apple/1.jpg", "apple/-2.JPG", "배 🍐/ㅂ 1.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


def listing(root: Path) -> Listing:
    source = read_folder(root, root.name, title=f"folder {root.name}")
    return source.listing


def reasons(root: Path) -> dict[str, str]:
    return {s.path: s.reason for s in listing(root).skipped}


def test_bytes_come_back_as_they_lie_on_disk(photos: Path) -> None:
    source = read_folder(photos, photos.name, title=f"folder {photos.name}")
    found = {image.path: source.read(image.path).decode() for image in source.listing.images}
    assert found == {name: name for name in ("apple/-2.JPG", "apple/1.jpg", "배 🍐/ㅂ 1.png")}
    assert listing(photos).name == "photos" and listing(photos).sha256 is None


def test_names_in_another_unicode_form_are_read_and_normalised(tmp_path: Path) -> None:
    # Disks of macOS hand out decomposed names: the same folder must give the same image_id everywhere.
    for label in ("사과", "rosé"):
        folder = tmp_path / unicodedata.normalize("NFD", label)
        folder.mkdir()
        (folder / unicodedata.normalize("NFD", "é.jpg")).write_bytes(label.encode())
    source = read_folder(tmp_path, tmp_path.name, title=f"folder {tmp_path.name}")
    assert {i.path: source.read(i.path).decode() for i in source.listing.images} == {
        "rosé/é.jpg": "rosé",
        "사과/é.jpg": "사과",
    }


def test_two_names_that_differ_in_unicode_form_only_are_one_image_and_one_row(photos: Path) -> None:
    for form in ("NFC", "NFD"):
        (photos / "apple" / unicodedata.normalize(form, "é.jpg")).write_bytes(b"")
    assert reasons(photos) == {"apple/é.jpg": "another file has the same name in a different Unicode form"}


def test_links_are_followed_inside_and_refused_outside(photos: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key.jpg").write_bytes(b"secret")
    (photos / "배 🍐" / "inside.jpg").symlink_to("../apple/1.jpg")
    (photos / "apple" / "out.jpg").symlink_to("../../secret/key.jpg")
    (photos / "apple" / "absolute.jpg").symlink_to(secret / "key.jpg")
    (photos / "apple" / "dead.jpg").symlink_to("nowhere.jpg")
    (photos / "out folder").symlink_to(secret)
    # Two loops: a folder that holds itself, and a link to itself.
    (photos / "apple" / "again").symlink_to("..")
    (photos / "apple" / "self.jpg").symlink_to("self.jpg")
    assert reasons(photos) == {
        "apple/absolute.jpg": "a link that leaves the folder",
        "apple/again": "a link to a folder is not followed",
        "apple/dead.jpg": "a link that leads nowhere",
        "apple/out.jpg": "a link that leaves the folder",
        "apple/self.jpg": "a link that leads nowhere",
        "out folder": "a link that leaves the folder",
    }
    source = read_folder(photos, photos.name, title=f"folder {photos.name}")
    assert source.read("배 🍐/inside.jpg") == b"apple/1.jpg"


def test_links_into_the_cache_of_dvc_are_followed(photos: Path, tmp_path: Path) -> None:
    before = listing(photos)
    kept = tmp_path / "shared cache" / "files" / "md5" / "ab" / ("c" * 30)
    kept.parent.mkdir(parents=True)
    (photos / "apple" / "1.jpg").rename(kept)  # `dvc config cache.type symlink`
    (photos / "apple" / "1.jpg").symlink_to(kept)
    assert listing(photos) == before
    assert read_folder(photos, photos.name, title="").read("apple/1.jpg") == b"apple/1.jpg"


def test_a_location_that_is_a_link_itself_is_opened_under_its_own_name(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(photos)
    assert listing(tmp_path / "link") == replace(listing(photos), name="link")


def test_a_class_folder_whose_name_is_not_utf8_is_named_with_how_it_may_read(photos: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(photos) + b"/" + "사과".encode("cp949")))
    folder.mkdir()
    with pytest.raises(DataError, match=r"its name is not UTF-8 \(cp949 reads '사과'.*\): rename it"):
        listing(photos)


def test_entries_that_are_no_files_are_named(photos: Path) -> None:
    os.mkfifo(photos / "apple" / "pipe.jpg")  # reading it would wait for ever
    (photos / "apple" / "Thumbs.db").write_bytes(b"")
    (Path(os.fsdecode(os.fsencode(photos) + b"/apple/\xff.jpg"))).write_bytes(b"")  # not UTF-8: from an old disk
    assert reasons(photos) == {
        "apple/Thumbs.db": "left behind by an operating system",
        "apple/\\udcff.jpg": "its name is not UTF-8 (cp1252 reads 'ÿ.jpg'): rename it",
        "apple/pipe.jpg": "not a regular file",
    }


def test_an_empty_class_folder_is_named(photos: Path) -> None:
    (photos / "grape").mkdir()
    with pytest.raises(DataError, match="class folder 'grape' holds no images: add some or remove it"):
        listing(photos)


def test_a_folder_whose_images_are_all_links_out_says_so(photos: Path, tmp_path: Path) -> None:
    links = tmp_path / "links" / "apple"
    links.mkdir(parents=True)
    (links / "1.jpg").symlink_to(photos / "apple" / "1.jpg")
    with pytest.raises(DataError, match="holds no images .*'apple/1.jpg': a link that leaves the folder"):
        listing(tmp_path / "links")


def test_a_missing_folder_and_a_file_say_what_to_do(photos: Path) -> None:
    with pytest.raises(DataError, match="nowhere does not exist: put the images there, or correct dataset.location"):
        listing(photos / "nowhere")
    with pytest.raises(DataError, match="set dataset.source to `archive`"):
        listing(photos / "apple" / "1.jpg")


def test_a_file_that_vanishes_meanwhile_is_named(photos: Path) -> None:
    source = read_folder(photos, photos.name, title=f"folder {photos.name}")
    (photos / "apple" / "1.jpg").unlink()
    with pytest.raises(DataError, match=r"1\.jpg vanished"):
        source.read("apple/1.jpg")
