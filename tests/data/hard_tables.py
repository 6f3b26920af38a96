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
