"""Rows and tables of images that are hard, each with the reason why; the columns are `path,label,split,l,t,r,b`."""

from dataclasses import dataclass, field
from typing import Any

from tests.data.image_files import jpeg


@dataclass(frozen=True)
class HardRow:
    """A row that is left out, below a good one for `good.jpg`; `a.jpg` exists. `reason` is a part of what is said."""

    name: str
    why: str
    row: str
    reason: str


@dataclass(frozen=True)
class HardTable:
    """A table that is refused as a whole; `keys` are further keys of params section `dataset`."""

    name: str
    why: str
    table: bytes
    message: str
    keys: dict[str, Any] = field(default_factory=dict)


HARD_ROWS = [
    HardRow("no label", "an image nobody looked at yet", "a.jpg,,,,,,", "line 3: no label"),
    HardRow("no path", "a hole in a column that was pasted", ",x,,,,,", "line 3: no path"),
    HardRow("dot as path", "a path that names the folder itself", "./,x,,,,,", "line 3: no path"),
    HardRow("out of the folder", "reads what is none of ours", "../a.jpg,x,,,,,", "the path climbs out with `..`"),
    HardRow("absolute", "reads what is none of ours", "/etc/passwd,x,,,,,", "an absolute path"),
    HardRow("a Windows path", "one name here, folders there", "a\\1.jpg,x,,,,,", "a backslash"),
    HardRow("an address", "a download from anywhere", "https://h/a.jpg,x,,,,,", "set dataset.images"),
    HardRow("no such file", "deleted after the table was made", "gone.jpg,x,,,,,", "there is no such file"),
    HardRow(
        "a name longer than a disk takes",
        "asking for it is an error of the operating system",
        f"{'x' * 300}.jpg,x,,,,,",
        "there is no such file",
    ),
    HardRow("unknown split", "words differ", "a.jpg,x,later,,,,", "split 'later' is none of train, val, test"),
    HardRow(
        "half a box",
        "is the rest the whole, or lost?",
        "a.jpg,x,,0.1,0.2,,",
        "a box of 0.1, 0.2, nothing, nothing is not four numbers",
    ),
    HardRow("a box of words", "the columns are shifted", "a.jpg,x,,a,b,c,d", "is not four numbers"),
    HardRow("an inverted box", "left and right are swapped", "a.jpg,x,,0.5,0,0.1,1", "inverted or empty"),
    HardRow("an empty box", "no pixel inside", "a.jpg,x,,0.5,0,0.5,1", "inverted or empty"),
    HardRow("a box outside", "drawn over the edge", "a.jpg,x,,0,0,1.5,1", "reaches out of the photograph (1 x 1)"),
    HardRow("a box before it", "drawn over the other edge", "a.jpg,x,,-0.1,0,1,1", "reaches out of the photograph"),
    HardRow("not a number", "nan compares with nothing", "a.jpg,x,,nan,0,1,1", "not four finite numbers"),
    HardRow("too few fields", "a line that was cut", "a.jpg,x", "2 fields where the header has 7"),
    HardRow("too many fields", "a comma without quotes", "a.jpg,x,,,,,,9", "8 fields where the header has 7"),
    HardRow("the same image twice", "counts double", "good.jpg,x,,,,,", "the same image stands in line 2"),
]

HARD_TABLES = [
    HardTable("0 bytes", "an export that failed", b"", "photos.csv is empty"),
    HardTable("a blank line", "not 0 bytes, and still nothing", b"\n\n", "photos.csv is empty"),
    HardTable("a header only", "columns, but no image", b"path,label\n", "lists no image that can be used"),
    HardTable(
        "no such column",
        "a slip of the pen",
        b"path,lable\na.jpg,x\n",
        "no column 'label' (dataset.columns.label); did you mean 'lable'?",
    ),
    HardTable(
        "a named column is missing",
        "params and table do not belong together",
        b"path,label\n",
        "'set' (dataset.columns.split)",
        {"columns": {"split": "set"}},
    ),
    HardTable(
        "a further column is missing",
        "params and table do not belong together",
        b"path,label\n",
        "(dataset.extras.author)",
        {"extras": {"author": "text"}},
    ),
    HardTable("a column twice", "which one is meant?", b"path,label,label\n", "has two columns 'label'"),
    HardTable(
        "another delimiter",
        "spreadsheets of half of Europe write `;`",
        b"path;label\na.jpg;x\n",
        "is ';' its delimiter? set dataset.delimiter",
    ),
    HardTable("another encoding", "what Windows writes", b"path,label\na.jpg,caf\xe9\n", "photos.csv is not utf-8"),
    HardTable(
        "UTF-16",
        "what spreadsheets write as Unicode",
        "path,label\na.jpg,x\n".encode("utf-16"),
        "photos.csv is not utf-8",
    ),
    HardTable("an open quote", "swallows the rest of the table", b'path,label\n"a.jpg,x\n', "is not a CSV (line 2"),
    HardTable("an image", "the wrong file", jpeg(), "photos.csv"),
    *(
        HardTable(name, "another file under the name of a table", table, f"photos.csv is no CSV but {message}")
        for name, table, message in (
            ("Parquet", b"PAR1\x15\x04\x15" + bytes(40), "a Parquet file"),
            (
                "COCO",
                b'{"info": {}, "images": [], "annotations": [{"category_id": 1}]}',
                "annotations in the form of COCO",
            ),
            ("VOC", b"<annotation><folder>a</folder></annotation>", "annotations in the form of Pascal VOC"),
            ("JSON lines", b'{"file": "a.jpg", "label": "x"}\n', "JSON: write a table as CSV"),
            ("a log-in page", b"<!DOCTYPE html><html>", "a web page (HTML)"),
            ("a Git-LFS pointer", b"version https://git-lfs.github.com/spec/v1\n", "a Git-LFS pointer"),
            ("a spreadsheet", b"PK\x03\x04" + bytes(26) + b"[Content_Types].xml", "a spreadsheet or document"),
            ("NumPy", b"\x93NUMPY\x01\0", "a NumPy array"),
        )
    ),
    HardTable(
        "one-hot without a column of labels",
        "a column a class",
        b"path,cat,dog\na.jpg,1,0\n",
        "has it a column a class (one-hot)? write the name of the class in one column",
    ),
    HardTable(
        "one-hot",
        "its first column would become the classes 0 and 1",
        b"path,cat,dog,bird\na.jpg,1,0,0\nb.jpg,0,1,0\nc.jpg,0,0,1\n",
        "columns 'cat', 'dog', 'bird' hold nothing but 0 and 1, so it looks one-hot",
        {"columns": {"label": "cat"}},
    ),
    HardTable(
        "one-hot of floats",
        "as DataFrames write it",
        b"path,cat,dog\na.jpg,1.0,0.0\nb.jpg,0.0,1.0\n",
        "looks one-hot",
        {"columns": {"label": "dog"}},
    ),
    HardTable(
        "several columns of 0 and 1",
        "several classes an image",
        b"path,cat,dog,bird\na.jpg,1,1,0\nb.jpg,0,0,0\n",
        "looks multi-label",
        {"columns": {"label": "cat"}},
    ),
    *(
        HardTable(f"multi-label, {name}", "combined classes", table, f"label {label!r} looks like several classes")
        for name, table, label in (
            ("bars", b"path,label\na.jpg,cat|dog\nb.jpg,cat\n", "cat|dog"),
            ("semicolons", b"path,label\na.jpg,cat;dog\nb.jpg,cat\nc.jpg,dog\n", "cat;dog"),
            ("spaces", b"path,label\na.jpg,cat dog\nb.jpg,cat\nc.jpg,dog\n", "cat dog"),
            ("commas", b'path,label\na.jpg,"cat, dog"\nb.jpg,cat\nc.jpg,dog\n', "cat, dog"),
            ("lists", b"path,label\na.jpg,\"['cat', 'dog']\"\nb.jpg,['cat']\n", "['cat', 'dog']"),
        )
    ),
    HardTable(
        "no file that exists",
        "the images lie elsewhere",
        b"path,label\nb.jpg,x\nc.jpg,y\n",
        "none of the 2 images lies below",
    ),
    HardTable(
        "only bad rows",
        "each row is left out, and nothing is left",
        b"path,label\n../b.jpg,x\n",
        "no image that can be used (first: '../b.jpg', line 2",
    ),
]
