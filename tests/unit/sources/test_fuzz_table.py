"""Any table gives a listing or a DataError in one line: never another exception, a hang, or a file outside."""

import io
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from podium.config.dataset import CsvDataset, Fetch
from podium.core.errors import DataError
from podium.core.layout import Layout
from podium.sources.table import open_table
from tests.damage import damaged, no_longer_than

BOX = {"left": "l", "top": "t", "right": "r", "bottom": "b"}
COLUMNS = {"split": "split", "box": BOX}
TABLE = (
    "path,label,split,l,t,r,b\n"
    "a.jpg,x,train,0,0,0.5,1\n"
    'a.jpg,x,train,0.5,0,1,"1"\n'
    "é 🍐.jpg,y,val,,,,\n"
    "gone.jpg,y,,,,,\n"
).encode()
FUZZ = settings(max_examples=200)


def open_and_read(data: bytes, root: Path, units: str, encoding: str) -> None:
    """Opens a table of these bytes, prepares and reads its images; a DataError in one line is fine."""
    layout = Layout(root)
    layout.data.mkdir(exist_ok=True)
    (root / "secret.jpg").write_bytes(b"secret")
    for name in ("a.jpg", "é 🍐.jpg"):
        Image.new("RGB", (20, 10), "red").save(layout.data / name)
    (layout.data / "t.csv").write_bytes(data)
    dataset = CsvDataset(location="data/t.csv", licence="CC0-1.0", columns=COLUMNS, box_units=units, encoding=encoding)
    try:
        with no_longer_than(20):
            source = open_table(layout, dataset, Fetch())
            ready = source.prepare(source.listing.images)
            for image in ready.images:
                assert source.read(image.path) != b"secret"
                assert 0 <= image.box.left < image.box.right <= 1 and 0 <= image.box.top < image.box.bottom <= 1
                assert image.label and image.split in ("", "train", "val", "test")
            assert all(s.reason and s.path.encode() is not None for s in (*source.listing.skipped, *ready.skipped))
            assert len({image.key for image in ready.images}) == len(ready.images)
    except DataError as refused:
        assert "\n" not in str(refused) and str(refused).encode()


@FUZZ
@given(damaged([TABLE]), st.sampled_from(("fraction", "pixels")), st.sampled_from(("utf-8", "utf-16", "cp1252")))
@example(TABLE.replace(b"gone", b"x" * 300), "fraction", "utf-8")  # longer than a name can be
@example(TABLE.replace(b"gone.jpg", b"/".join([b"x" * 200] * 30)), "fraction", "utf-8")  # longer than a path can be
@example(TABLE.replace(b"gone.jpg", b"a.jpg/b.jpg"), "fraction", "utf-8")  # a file taken for a folder
@example(TABLE.replace(b"gone.jpg", b"../secret.jpg"), "fraction", "utf-8")
@example(TABLE.replace(b",1\n", b",1e309\n"), "pixels", "utf-8")
@example(TABLE.replace(b"\na.jpg,x", b"\na.jpg,\0x\x1b"), "fraction", "utf-8")
@example(TABLE.replace(b"y,val", b'"' + b"y" * 200_000 + b'",val'), "fraction", "utf-8")  # longer than csv takes
def test_a_damaged_table_is_read_or_refused(tmp_path: Path, data: bytes, units: str, encoding: str) -> None:
    open_and_read(data, tmp_path, units, encoding)


CELLS = st.sampled_from(
    ["", "0", "0.5", "1", "-1", "nan", "1e400", "a.jpg", "./a.jpg", "../secret.jpg", "x", "train", '"', "\0", "é", "\r"]
) | st.text(max_size=8)


@FUZZ
@given(st.lists(st.lists(CELLS, max_size=8), max_size=8), st.sampled_from(("fraction", "pixels")))
def test_any_cells_are_read_or_refused(tmp_path: Path, rows: list[list[str]], units: str) -> None:
    text = io.StringIO()
    text.write("path,label,split,l,t,r,b\n")
    text.writelines(",".join(row) + "\n" for row in rows)
    open_and_read(text.getvalue().encode("utf-8", "surrogatepass"), tmp_path, units, "utf-8")
