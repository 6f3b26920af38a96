"""What a file is that is no image Podium reads, by its first bytes, and what to do with it.

What a broken download or an unfinished checkout leaves under the name of a picture, an archive or a table is named as
what it is.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

_START: Final = 4096  # bytes that are looked at
HEIF_BRANDS: Final = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")
HEIF_EXTRA: Final = (
    "HEIC, which needs the extra `heif`: pip install -c constraints.txt -e '.[heif]', then `dvc repro -f preprocess`"
)
_CONVERT: Final = "convert it to PNG or JPEG"
_AGAIN: Final = "get it again, signed in where that is needed"
_EXPORT: Final = "images inside a table are not read: write them out as files, with a table of paths and labels"


@dataclass(frozen=True)
class FileKind:
    """What a file is, with its article, and what to do."""

    name: str
    todo: str

    def __str__(self) -> str:
        """Both as a part of a message."""
        return f"{self.name}: {self.todo}"


@dataclass(frozen=True)
class _Rule:
    """Bytes at a place that tell a kind."""

    start: bytes
    kind: FileKind
    at: int = 0


_LFS: Final = FileKind(
    "a Git-LFS pointer, not the file itself", "run `git lfs pull` where it came from and copy it again"
)
_WEB_PAGE: Final = FileKind("a web page (HTML)", f"a download or a log-in failed, {_AGAIN}")
_XML: Final = FileKind("XML", f"an error of a server or annotations; if a picture was meant, {_AGAIN}")
_VOC: Final = FileKind(
    "annotations in the form of Pascal VOC (XML)", "write a table with a row a box (source `csv`, columns.box)"
)
_SVG: Final = FileKind("a drawing (SVG)", "export it as PNG")
_COCO: Final = FileKind(
    "annotations in the form of COCO (JSON)", "write a table with a row a box (source `csv`, columns.box)"
)
_JSON: Final = FileKind("JSON", "write a table as CSV, one line an image with its path and its class")
_PARQUET: Final = FileKind("a Parquet file", f"{_EXPORT} (pandas.read_parquet(...).to_csv(...) for paths and labels)")

_RULES: Final = (
    _Rule(b"version https://git-lfs.github.com/spec/", _LFS),
    _Rule(b"PAR1", _PARQUET),
    _Rule(b"ARROW1", FileKind("an Arrow (Feather) file", _EXPORT)),
    _Rule(b"\x89HDF\r\n", FileKind("an HDF5 file", _EXPORT)),
    _Rule(b"SQLite format 3\0", FileKind("an SQLite database", _EXPORT)),
    _Rule(b"\x93NUMPY", FileKind("a NumPy array", "write its images out as PNG")),
    _Rule(b"\x80\x04\x95", FileKind("a pickle, which is never opened", "write its images out as PNG")),
    _Rule(b"\x80\x02}", FileKind("a pickle, which is never opened", "write its images out as PNG")),
    _Rule(b"%PDF-", FileKind("a PDF", "export its pictures as PNG")),
    _Rule(b"%!PS", FileKind("a PostScript drawing", "export it as PNG")),
    _Rule(b"8BPS", FileKind("a Photoshop file (PSD)", _CONVERT)),
    _Rule(b"\xff\x0a", FileKind("JPEG XL", _CONVERT)),
    _Rule(b"\0\0\0\x0cJXL ", FileKind("JPEG XL", _CONVERT)),
    _Rule(b"\0\0\1\0", FileKind("an icon (ICO)", _CONVERT)),
    _Rule(b"\x76\x2f\x31\x01", FileKind("OpenEXR", "convert it to PNG with the exposure that is to be seen")),
    _Rule(b"#?RADIANCE", FileKind("Radiance HDR", "convert it to PNG with the exposure that is to be seen")),
    _Rule(b"DICM", FileKind("DICOM", "convert it to PNG with the window that is to be seen"), at=128),
    _Rule(b"\x1aE\xdf\xa3", FileKind("a video (Matroska, WebM)", "take the frames out as images")),
    _Rule(b"AVI LIST", FileKind("a video (AVI)", "take the frames out as images"), at=8),
    _Rule(b"Rar!\x1a\x07", FileKind("a RAR archive", "pack it again as zip, tar or 7z")),
    _Rule(
        b"[Content_Types].xml", FileKind("a spreadsheet or document (Office)", "save its table as CSV (UTF-8)"), at=30
    ),
    _Rule(
        b"PK\x03\x04",
        FileKind("a zip archive (or a document packed as one)", "unpack it, or read it by source `archive`"),
    ),
    _Rule(b"7z\xbc\xaf\x27\x1c", FileKind("a 7z archive", "unpack it, or read it by source `archive`")),
    _Rule(b"\x1f\x8b", FileKind("gzip", "unpack it, or read it by source `archive`")),
)
_MARKUP: Final[tuple[tuple[re.Pattern[bytes], FileKind], ...]] = (
    (re.compile(rb"<!doctype html|<html|<head|<body", re.IGNORECASE), _WEB_PAGE),
    (re.compile(rb"<svg", re.IGNORECASE), _SVG),
    (re.compile(rb"<annotation>"), _VOC),
    (re.compile(rb"<"), _XML),
)
_COCO_KEYS: Final = re.compile(
    rb'"(annotations|categories)"\s*:\s*\[|"iscrowd"|"category_id"|"coco_url"|"images"\s*:\s*\[\s*\{[^}]*"file_name"'
)


def recognise(data: bytes) -> FileKind | None:
    """What a file is that was taken for an image, an archive or a table.

    Args:
        data: its first bytes, a few thousand; more do no harm.

    Returns:
        The kind; None where it is none of those that are known.
    """
    start = data[:_START]
    for rule in _RULES:
        if start[rule.at :].startswith(rule.start):
            return rule.kind
    if is_heif(start):
        return FileKind("HEIC", _CONVERT)
    if start[4:8] == b"ftyp":
        return FileKind("a video (MP4, QuickTime)", "take the frames out as images")
    text = _as_text(start)
    if text.startswith(b"<"):
        return next(kind for pattern, kind in _MARKUP if pattern.search(text))
    if text.startswith((b"{", b"[")):
        return _COCO if _COCO_KEYS.search(text) else _JSON
    return None


def is_heif(data: bytes) -> bool:
    """Whether a file is HEIF by its brand (ISO/IEC 23008-12, annex B): what phones store as HEIC."""
    return data[4:8] == b"ftyp" and data[8:12] in HEIF_BRANDS


def register_heif() -> bool:
    """Teaches Pillow to read HEIF, where the extra `heif` is installed; tells whether it is."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register: Callable[[], None] = register_heif_opener
    register()
    return True


def _as_text(start: bytes) -> bytes:
    """The first bytes without what may stand before markup: a byte order mark, spaces, the zeros of UTF-16."""
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        start = start[2:].replace(b"\0", b"")
    return start.removeprefix(b"\xef\xbb\xbf").lstrip()
