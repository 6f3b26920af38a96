"""Source `csv`: what every row becomes, and that tables and images anywhere are found, kept and pinned."""

import hashlib
import io
import sys
from pathlib import Path
from typing import Any

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps
from pydantic import TypeAdapter

from podium.config.dataset import CsvDataset, Dataset, Fetch
from podium.core.errors import DataError, ParamsError
from podium.core.layout import Layout
from podium.data.decode import decode
from podium.sources.datasets import describe_sources, open_dataset, prepare_part
from podium.sources.source import WHOLE, Box, SourceImage
from podium.sources.table import TableSource, open_table, read_rows
from tests.data.hard_tables import HARD_ROWS, HARD_TABLES, HardRow, HardTable
from tests.site import Site

BOX = {"left": "l", "top": "t", "right": "r", "bottom": "b"}
FETCH = Fetch(retries=0, connections=3)


def picture(width: int = 40, height: int = 20, orientation: int = 1, kind: str = "JPEG") -> bytes:
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (width, height), "red").save(stream, kind, exif=exif)
    return stream.getvalue()


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    (tmp_path / "data").mkdir()
    return Layout(tmp_path)


def lay(layout: Layout, table: str | bytes, *names: str) -> None:
    """Writes data/photos.csv and images beside it."""
    (layout.data / "photos.csv").write_bytes(table.encode() if isinstance(table, str) else table)
    for name in names:
        path = layout.data / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture() + name.encode())


def section(**keys: Any) -> CsvDataset:
    return CsvDataset(**({"location": "data/photos.csv", "licence": "CC0-1.0"} | keys))


def ready(source: TableSource) -> tuple[list[SourceImage], dict[str, str]]:
    """Images after `prepare`, and all reasons by path."""
    prepared = source.prepare(source.listing.images)
    return list(prepared.images), {s.path: s.reason for s in (*source.listing.skipped, *prepared.skipped)}


# --- rows ----------------------------------------------------------------------------------------------------------


def test_every_column_reaches_its_image(layout: Layout) -> None:
    lay(
        layout,
        "file,class,set,kind,licence,l,t,r,b,author,stars,share\n"
        "a/1.jpg, lemon ,Training,fruit,CC-BY,0.1,0.2,0.5,1,Ann,3,0.5\n"
        "a/1.jpg,leek,valid,vegetable,,,,,,Ann,-2,1e-3\n",
        "a/1.jpg",
    )
    columns = {"path": "file", "label": "class", "split": "set", "group": "kind", "licence": "licence", "box": BOX}
    source = open_table(
        layout, section(columns=columns, extras={"author": "text", "stars": "int", "share": "float"}), FETCH
    )
    images, skipped = ready(source)
    assert source.read("a/1.jpg").endswith(b"a/1.jpg")
    assert (source.listing.name, source.listing.sha256) == (
        "photos",
        digest((layout.data / "photos.csv").read_bytes()),
    )
    found = [(i.label, i.split, i.group, i.licence, i.box, dict(i.extras)) for i in images]
    assert found == [
        ("leek", "val", "vegetable", "", WHOLE, {"author": "Ann", "stars": -2, "share": 0.001}),
        ("lemon", "train", "fruit", "CC-BY", Box(0.1, 0.2, 0.5, 1.0), {"author": "Ann", "stars": 3, "share": 0.5}),
    ]
    assert not skipped


def test_a_column_says_what_stays_together_and_a_row_without_a_value_is_left_out(layout: Layout) -> None:
    lay(layout, "path,label,patient\n1.jpg,x, p7\n2.jpg,y,p7\n3.jpg,x,\n", "1.jpg", "2.jpg", "3.jpg")
    images, skipped = ready(open_table(layout, section(keep_together={"column": "patient"}), FETCH))
    assert [(image.path, image.keep_together) for image in images] == [("1.jpg", "p7"), ("2.jpg", "p7")]
    assert skipped == {"3.jpg": "line 4: no patient"}
    with pytest.raises(DataError, match=r"no column 'patent' \(dataset.keep_together.column\); did you mean 'patient'"):
        open_table(layout, section(keep_together={"column": "patent"}), FETCH)


@pytest.mark.parametrize("case", HARD_ROWS, ids=lambda case: case.name)
def test_a_bad_row_is_left_out_with_its_line_and_reason(layout: Layout, case: HardRow) -> None:
    lay(layout, f"path,label,split,l,t,r,b\ngood.jpg,x,,,,,\n{case.row}\n", "good.jpg", "a.jpg")
    source = open_table(layout, section(columns={"split": "split", "box": BOX}), FETCH)
    images, skipped = ready(source)
    assert [image.path for image in images] == ["good.jpg"]
    assert len(skipped) == 1 and case.reason in next(iter(skipped.values()))


def test_rows_that_contradict_each_other_are_all_left_out(layout: Layout) -> None:
    lay(layout, "path,label\na.jpg,x\nb.jpg,x\n./a.jpg,y\n", "a.jpg", "b.jpg")
    source = open_table(layout, section(), FETCH)
    assert [image.path for image in source.listing.images] == ["b.jpg"]
    assert [s.reason for s in source.listing.skipped] == [
        "line 2: label 'x' contradicts line 4",
        "line 4: label 'y' contradicts line 2",
    ]


@pytest.mark.parametrize("case", HARD_TABLES, ids=lambda case: case.name)
def test_a_table_that_cannot_be_used_is_refused_in_one_line(layout: Layout, case: HardTable) -> None:
    lay(layout, case.table, "a.jpg")
    with pytest.raises(DataError) as caught:
        open_table(layout, section(**case.keys), FETCH)
    assert case.message in str(caught.value) and "\n" not in str(caught.value)


FINE = {
    "two classes called 0 and 1": ("path,label\na.jpg,0\nb.jpg,1\n", {}, {"0", "1"}),
    "0 and 1 beside a flag": ("path,label,sex\na.jpg,0,1\nb.jpg,1,1\n", {}, {"0", "1"}),
    "one-hot, but the classes behind 0 and 1 are named": (
        "path,label,no\na.jpg,0,1\nb.jpg,1,0\n",
        {"labels": {"smiling": ["1"], "neutral": ["0"]}},
        {"0", "1"},
    ),
    "a further column of 0 and 1": (
        "path,label,a,b\na.jpg,0,1,1\nb.jpg,1,0,1\n",
        {"extras": {"a": "int", "b": "int"}},
        {"0", "1"},
    ),
    "commas in names": ('path,label\na.jpg,"apple, red"\nb.jpg,"apple, green"\n', {}, {"apple, red", "apple, green"}),
    "a bar in a name that is listed": ("path,label\na.jpg,a|b\nb.jpg,c\n", {"labels": {"ab": ["a|b"]}}, {"a|b", "c"}),
}


@pytest.mark.parametrize(("table", "keys", "labels"), FINE.values(), ids=FINE)
def test_a_table_with_a_class_a_row_is_read_as_it_is(
    layout: Layout, table: str, keys: dict[str, Any], labels: set[str]
) -> None:
    lay(layout, table, "a.jpg", "b.jpg")
    source = open_table(layout, section(**keys), FETCH)
    assert {image.label for image in source.listing.images} == labels


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_encodings_and_byte_order_marks_are_understood(layout: Layout, encoding: str) -> None:
    lay(layout, "path,label\r\nné.jpg,café\r\n".encode(encoding), "né.jpg")
    source = open_table(layout, section(encoding="utf-8" if encoding == "utf-8-sig" else encoding), FETCH)
    assert [(i.path, i.label) for i in source.listing.images] == [("né.jpg", "café")]


def test_an_unknown_encoding_is_a_mistake_in_the_params(layout: Layout) -> None:
    lay(layout, "path,label\n")
    with pytest.raises(ParamsError, match="'utf8000' is not known"):
        open_table(layout, section(encoding="utf8000"), FETCH)


def test_a_file_is_found_in_either_unicode_form(layout: Layout) -> None:
    lay(layout, "path,label\ne\u0301.jpg,x\nu\u0308/1.jpg,y\n", "\u00e9.jpg", "u\u0308/1.jpg")
    source = open_table(layout, section(), FETCH)
    assert [image.path for image in source.listing.images] == ["\u00e9.jpg", "\u00fc/1.jpg"]
    assert all(source.read(image.path) for image in source.listing.images)


def test_a_link_out_of_the_folder_is_left_out(layout: Layout) -> None:
    lay(layout, "path,label\na.jpg,x\nout.jpg,y\n", "a.jpg")
    (layout.root / "secret").write_bytes(b"s")
    (layout.data / "out.jpg").symlink_to(layout.root / "secret")
    source = open_table(layout, section(), FETCH)
    assert [(s.path, s.reason) for s in source.listing.skipped] == [("out.jpg", "a link that leaves the folder")]


def test_a_link_into_the_cache_of_dvc_is_followed(layout: Layout) -> None:
    lay(layout, "path,label\na.jpg,x\nkept.jpg,y\n", "a.jpg")
    kept = layout.root / ".dvc/cache/files/md5/ab" / ("c" * 30)
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"kept")
    (layout.data / "kept.jpg").symlink_to(kept)
    source = open_table(layout, section(), FETCH)
    assert [image.path for image in source.listing.images] == ["a.jpg", "kept.jpg"] and not source.listing.skipped


cells = st.one_of(
    st.sampled_from(["", "0", "0.5", "1", "-1", "nan", "1e400", "a.jpg", "../a", "x", "train", '"', "\0", "é"]),
    st.text(max_size=6),
)


@given(st.lists(st.lists(cells, max_size=8), max_size=6), st.sampled_from(["path,label,split,l,t,r,b\n", ""]))
def test_any_text_is_read_or_refused(rows: list[list[str]], header: str) -> None:
    text = header + "\n".join(",".join(row) for row in rows)
    try:
        read, _ = read_rows("t.csv", io.StringIO(text, newline=""), section(columns={"split": "split", "box": BOX}), "")
    except DataError as refused:
        assert "\n" not in str(refused)
        return
    assert len({image.key for image in read.images}) == len(read.images) > 0
    for image in read.images:
        assert 0 <= image.box.left < image.box.right <= 1 and 0 <= image.box.top < image.box.bottom <= 1
        assert image.label and image.split in ("", "train", "val", "test")
        assert ".." not in image.path.split("/") and not image.path.startswith("/")


# --- boxes in pixels -----------------------------------------------------------------------------------------------


def test_boxes_in_pixels_are_of_the_upright_photograph(layout: Layout) -> None:
    lay(
        layout,
        "path,label,l,t,r,b\na.jpg,x,10,5,40,20\nturned.jpg,y,0,0,20,40\na.jpg,y,,,,\nbad.jpg,y,0,0,5,5\n",
        "a.jpg",
    )
    (layout.data / "turned.jpg").write_bytes(picture(40, 20, orientation=6))
    (layout.data / "bad.jpg").write_bytes(b"no image")
    source = open_table(layout, section(columns={"box": BOX}, box_units="pixels"), FETCH)
    images, skipped = ready(source)
    assert {(i.path, i.label): i.box for i in images} == {
        ("a.jpg", "x"): Box(0.25, 0.25, 1.0, 1.0),
        ("a.jpg", "y"): WHOLE,
        ("turned.jpg", "y"): WHOLE,
    }
    assert list(skipped) == ["bad.jpg"] and "its size cannot be read" in skipped["bad.jpg"]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_box_in_pixels_is_of_the_photograph_as_it_is_decoded(layout: Layout, kind: str, orientation: int) -> None:
    data = picture(40, 20, orientation, kind)
    with Image.open(io.BytesIO(data)) as opened:
        width, height = ImageOps.exif_transpose(opened).size
    lay(layout, f"path,label,l,t,r,b\na.{kind},x,0,0,{width},{height}\nb.jpg,y,0,0,10,5\n", "b.jpg")
    (layout.data / f"a.{kind}").write_bytes(data)
    source = open_table(layout, section(columns={"box": BOX}, box_units="pixels"), FETCH)
    images, skipped = ready(source)
    assert {image.label: image.box for image in images} == {"x": WHOLE, "y": Box(0, 0, 0.25, 0.25)}
    assert not skipped


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_box_in_pixels_on_heic_is_of_the_photograph_as_it_is_decoded(layout: Layout, orientation: int) -> None:
    from pillow_heif import from_pillow

    exif = Image.Exif()
    exif[0x0112] = orientation
    lay(layout, "path,label,l,t,r,b\na.heic,x,0,0,32,64\nb.jpg,y,0,0,10,5\n", "b.jpg")
    upright = Image.new("RGB", (64, 32) if orientation == 6 else (32, 64), "red")
    from_pillow(upright).save(layout.data / "a.heic", exif=exif.tobytes())
    decoded = decode((layout.data / "a.heic").read_bytes(), 10**6)
    assert (decoded.width, decoded.height) == (32, 64)

    images, skipped = ready(open_table(layout, section(columns={"box": BOX}, box_units="pixels"), FETCH))

    assert {image.label: image.box for image in images} == {"x": WHOLE, "y": Box(0, 0, 0.25, 0.25)}
    assert not skipped


def test_a_box_in_pixels_on_heic_needs_the_extra(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    lay(layout, "path,label,l,t,r,b\na.heic,x,0,0,32,64\nb.jpg,y,0,0,10,5\n", "b.jpg")
    (layout.data / "a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)

    _, skipped = ready(open_table(layout, section(columns={"box": BOX}, box_units="pixels"), FETCH))

    assert skipped["a.heic"].startswith("HEIC, which needs the extra `heif`: pip install")


def test_boxes_in_pixels_that_turn_out_to_be_the_same_follow_the_rule_of_rows(layout: Layout) -> None:
    table = "path,label,l,t,r,b\na.jpg,x,0,0,40,20\na.jpg,x,,,,\nb.jpg,x,0,0,40,20\nb.jpg,y,,,,\nc.jpg,y,,,,\n"
    lay(layout, table, "a.jpg", "b.jpg", "c.jpg")
    source = open_table(layout, section(columns={"box": BOX}, box_units="pixels"), FETCH)
    prepared = source.prepare(source.listing.images)
    assert [(image.path, image.label) for image in prepared.images] == [("a.jpg", "x"), ("c.jpg", "y")]
    assert [(s.path, s.reason, s.image) for s in prepared.skipped] == [
        ("a.jpg", "line 2: the same image stands in line 3", True),
        ("b.jpg", "line 5: label 'y' contradicts line 4", True),
        ("b.jpg", "line 4: label 'x' contradicts line 5", True),
    ]


def test_a_box_in_pixels_outside_of_its_photograph_is_left_out_when_its_size_is_known(layout: Layout) -> None:
    lay(layout, "path,label,l,t,r,b\na.jpg,x,0,0,40,20\na.jpg,y,0,0,41,20\n", "a.jpg")
    source = open_table(layout, section(columns={"box": BOX}, box_units="pixels"), FETCH)
    images, skipped = ready(source)
    assert [image.label for image in images] == ["x"]
    assert skipped == {"a.jpg": "box 0, 0, 41, 20 reaches out of the photograph (40 x 20)"}


# --- where tables and images lie -----------------------------------------------------------------------------------


def test_a_table_and_its_images_come_from_a_site_once(layout: Layout, site: Site) -> None:
    table = f"path,label\na b/1.jpg,x\n{site.url}/set/2.jpg?size=big,y\ngone.jpg,y\n".encode()
    site.files = {"/set/t.csv": table, "/set/a%20b/1.jpg": b"one", "/set/2.jpg": b"two"}
    keys = {"location": f"{site.url}/set/t.csv?v=1", "sha256": digest(table)}
    for _ in range(2):
        source = open_table(layout, section(**keys), FETCH)
        images, skipped = ready(source)
        assert {image.path: source.read(image.path) for image in images} == {
            "a b/1.jpg": b"one",
            "2.jpg": b"two",
        }
    assert skipped == {"gone.jpg": "the server answered 404 Not Found"}
    assert sorted(site.asked()) == ["/set/2.jpg", "/set/a%20b/1.jpg", "/set/gone.jpg", "/set/gone.jpg", "/set/t.csv"]


def test_secrets_in_addresses_reach_the_server_and_nothing_else(layout: Layout, site: Site) -> None:
    site.files = {"/set/11": b"one", "/set/12.jpg": b"two", "/set/C%23.jpg": b"three"}
    rows = (
        f"{site.url}/set/11?token=5ecret,x\n12.jpg?token=5ecret,y\nC#.jpg,y\n{site.url}/set/13#5ecret,y\n"
        "https://me:5ecret@host/1.jpg?5ecret,x\n../14?5ecret,x\n"
    )
    lay(layout, "path,label\n" + rows)
    source = open_table(layout, section(images=f"{site.url}/set"), FETCH)
    prepared = source.prepare(source.listing.images)
    assert {image.path: source.read(image.path) for image in prepared.images} == {
        "11": b"one",
        "12.jpg": b"two",
        "C#.jpg": b"three",
    }
    assert "5ecret" not in repr((source.listing, prepared))
    assert {s.path for s in (*source.listing.skipped, *prepared.skipped)} == {"13", "https://host/1.jpg", "../14"}
    assert {"/set/11?token=5ecret", "/set/12.jpg?token=5ecret"} <= {path for _, path, _ in site.log}


def test_rows_whose_addresses_differ_after_the_question_mark_only_are_never_mixed_up(layout: Layout) -> None:
    table = "path,label,l,t,r,b\nget?id=1,x,,,,\nget?id=2,x,,,,\nget?id=3,x,0,0,1,0.5\nput?id=1,x,,,,\nput?id=2,y,,,,\n"
    lay(layout, table + "a.jpg,y,,,,\n")
    source = open_table(layout, section(images="https://host/set", columns={"box": BOX}), FETCH)
    assert [image.path for image in source.listing.images] == ["a.jpg", "get"]
    assert [(s.path, s.reason) for s in source.listing.skipped] == [
        ("get", "line 3: its address is that of another row up to `?` or `#`"),
        ("get", "line 4: its address is that of another row up to `?` or `#`"),
        ("put", "line 5: label 'x' contradicts line 6"),
        ("put", "line 6: label 'y' contradicts line 5"),
    ]


def test_every_row_that_cannot_be_used_counts_as_rejected_whatever_its_name(layout: Layout, site: Site) -> None:
    site.files = {f"/images/{n}": picture() for n in range(0, 20, 2)}
    lay(layout, "path,label\n" + "".join(f"{site.url}/images/{n},{'xy'[n % 4 // 2]}\n" for n in range(20)) + "20,\n")
    section_ = TypeAdapter(Dataset).validate_python(
        {"source": "csv", "location": "data/photos.csv", "images": f"{site.url}/images", "licence": "CC0-1.0"}
    )
    parts = open_dataset(layout, section_, FETCH)
    record = describe_sources([prepare_part(part) for part in parts]).sources[0]
    assert record.images == 10 and len(record.skipped) == 11 and all(file.image for file in record.skipped)


def test_only_images_that_were_chosen_are_downloaded(layout: Layout, site: Site) -> None:
    site.files = {f"/{i}.jpg": b"%d" % i for i in range(9)}
    lay(layout, "path,label\n" + "".join(f"{i}.jpg,x\n" for i in range(9)))
    source = open_table(layout, section(images=site.url), FETCH)
    source.prepare(source.listing.images[2:4])
    assert sorted(site.asked()) == ["/2.jpg", "/3.jpg"]


def test_an_interrupted_download_goes_on_with_what_is_missing(layout: Layout, site: Site) -> None:
    site.files = {f"/{i}.jpg": picture() for i in range(6)}
    site.cuts = {"/4.jpg": [100, 0]}  # an attempt that brings bytes is not counted, the next one is
    lay(layout, "path,label\n" + "".join(f"{i}.jpg,x\n" for i in range(6)))
    one = Fetch(retries=0, connections=1)
    source = open_table(layout, section(images=site.url), one)
    with pytest.raises(DataError, match="4.jpg cannot be downloaded.*the files that came so far are kept"):
        source.prepare(source.listing.images)
    assert len(source.prepare(source.listing.images).images) == 6
    assert {source.read(f"{i}.jpg") for i in range(6)} == {picture()}
    assert sorted(site.asked()) == [f"/{i}.jpg" for i in (0, 1, 2, 3, 4, 4, 4, 5)]


def test_a_site_that_is_busy_is_asked_again(layout: Layout, site: Site) -> None:
    site.files, site.statuses = {"/0.jpg": b"x"}, {"/0.jpg": [503]}
    lay(layout, "path,label\n0.jpg,x\n")
    source = open_table(layout, section(images=site.url), Fetch(retries=1, connections=1))
    assert len(source.prepare(source.listing.images).images) == 1


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_tables_and_images_lie_anywhere_fsspec_reaches(layout: Layout, tmp_path: Path, kind: str) -> None:
    base = "memory://bucket/set" if kind == "memory" else f"file://{tmp_path}/elsewhere"
    table = b"path,label\na b.jpg,x\ngone.jpg,y\n"
    for name, data in (("t.csv", table), ("a b.jpg", b"one")):
        with fsspec.open(f"{base}/{name}", "wb", auto_mkdir=True) as stream:
            stream.write(data)
    source = open_table(layout, section(location=f"{base}/t.csv", sha256=digest(table)), FETCH)
    images, skipped = ready(source)
    assert [source.read(image.path) for image in images] == [b"one"]
    assert list(skipped) == ["gone.jpg"]
    assert not list(layout.downloads.rglob(".podium-tmp-a*"))


REFUSED: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "an address without digest": ({"location": "https://h/t.csv"}, ParamsError, "dataset.sha256 is missing"),
    "a bucket without digest": ({"location": "memory://h/t.csv"}, ParamsError, "dataset.sha256 is missing"),
    "nothing at an address": ({"location": "memory://h/t.csv", "sha256": "0" * 64}, DataError, "cannot be downloaded"),
    "another digest": ({"location": "memory://other/t.csv", "sha256": "0" * 64}, DataError, "has sha256"),
    "a local table of another digest": ({"sha256": "0" * 64}, DataError, "asks for 000"),
    "an unknown protocol": ({"location": "nope://h/t.csv", "sha256": "0" * 64}, DataError, "cannot be opened"),
    "a table outside of data": ({"location": "t.csv"}, ParamsError, "lies outside data/"),
    "images outside of data": ({"images": "photos"}, ParamsError, "dataset.images 'photos' lies outside data/"),
    "no such folder": ({"images": "data/nowhere"}, DataError, "correct dataset.images"),
    "no such table": ({"location": "data/t.csv"}, DataError, "does not exist"),
    "a folder": ({"location": "data"}, DataError, "is a folder, not a file"),
}


@pytest.mark.parametrize(("keys", "error", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_pinned_or_not_there_is_refused(
    layout: Layout, keys: dict[str, Any], error: type[Exception], message: str
) -> None:
    lay(layout, "path,label\na.jpg,x\n", "a.jpg")
    fsspec.filesystem("memory").pipe_file("/other/t.csv", b"path,label\n")
    with pytest.raises(error) as caught:
        open_table(layout, section(**keys), FETCH)
    assert message in str(caught.value) and "\n" not in str(caught.value)
