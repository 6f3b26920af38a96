"""Which names inside a source are safe, which are images, and which are left out and why.

Names come from strangers: an unsafe one in an archive is refused, never repaired.
"""

import re
import unicodedata
from typing import Final, NamedTuple

from podium.config.base import Split
from podium.core.errors import DataError

_COMMON = frozenset(("jpg", "jpeg", "jpe", "jfif", "png", "apng", "webp", "gif", "tif", "tiff", "avif", "heic"))
_RARE = frozenset(("heif", "bmp", "dib", "jp2", "j2k", "ppm", "pgm", "pbm", "pnm"))
IMAGE_SUFFIXES = _COMMON | _RARE
ARCHIVE_SUFFIXES = frozenset(("zip", "tar", "gz", "tgz", "bz2", "tbz2", "xz", "txz", "zst", "tzst", "7z", "rar"))
_NOT_READ: Final = {
    **dict.fromkeys(("tga", "psd", "xcf", "jxl", "ico", "exr", "hdr", "dds"), "convert it to PNG or JPEG"),
    **dict.fromkeys(
        ("cr2", "cr3", "nef", "arw", "dng", "orf", "rw2", "raf"), "a raw photograph: develop it to JPEG or PNG"
    ),
    **dict.fromkeys(("svg", "eps", "pdf", "ai"), "export it as PNG"),
    **dict.fromkeys(("dcm", "nii"), "convert it to PNG with the window that is to be seen"),
    **dict.fromkeys(("mp4", "mov", "avi", "mkv", "webm"), "a video: take the frames out as images"),
    **dict.fromkeys(
        ("parquet", "arrow", "tfrecord", "h5", "hdf5", "npy", "npz", "pkl", "pickle", "mat", "lmdb"),
        "images inside it are not read: write them out as files",
    ),
}
"""Kinds of files that are or hold pictures and are not read, by suffix, with what to do."""
_CODECS: Final = ("cp949", "cp932", "gb18030", "big5", "cp1252", "cp437")  # of file managers, the most telling first
_ENDINGS = (".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst", ".tgz", ".tbz2", ".txz", ".tzst", ".tar", ".zip", ".7z")
_LITTER = frozenset(("thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx"))
_SPLIT_WORDS: Final[dict[Split, tuple[tuple[str, ...], ...]]] = {
    "train": (("train", "training", "trn"),),
    "val": (("val", "valid", "validation", "validate"), ("dev", "devel", "development"), ("eval", "evaluation")),
    "test": (("test", "testing", "tst"), ("holdout", "heldout")),
}
"""What people call a split, in lower case; words that surely mean the same stand together, the plain one first."""
_WORDS: Final = {
    word: (split, words[0]) for split, several in _SPLIT_WORDS.items() for words in several for word in words
}
_FILLING: Final = frozenset(("set", "data", "dataset", "images", "image", "imgs", "img", "pictures", "photos", "files"))
_OTHER_PARTS: Final = frozenset(("fold", "folds", "kfold", "cv", "split", "partition", "subset", "trainval", "unseen"))
_CAMEL: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")
_BETWEEN: Final = re.compile(r"[\W\d_]+")
_DRIVE = re.compile(r"[A-Za-z]:")
_REMEDY = "pack the archive again without it, or get it from a source you trust"


class SplitWord(NamedTuple):
    """The split that a name stands for, and the plain word behind the name: `test` and `holdout` for `Hold-Out 1`."""

    split: Split
    word: str


def split_word(name: str) -> SplitWord | None:
    """The split that the name of a folder, or a word in a table, stands for: `Training`, `val2017`, `1_test_images`.

    Numbers, capitals and words such as `set` and `images` do not count; any other word beside it does: `train_clean`
    and `trains` stand for none.
    """
    words = _words(name)
    meant = "".join(word for word in words if word not in _FILLING)
    for ending in ("", *_FILLING):
        if meant.endswith(ending) and (found := _WORDS.get(meant.removesuffix(ending))):
            return SplitWord(*found)
    return None


def looks_like_split(name: str) -> bool:
    """Whether a name holds a word for a part of a dataset, known (`train_clean`) or not (`fold0`)."""
    return not _OTHER_PARTS.isdisjoint(words := _words(name)) or not _WORDS.keys().isdisjoint(words)


def _words(name: str) -> list[str]:
    """The words of a name in lower case, without numbers."""
    return [word for word in _BETWEEN.split(_CAMEL.sub(" ", name).casefold()) if word]


def source_name(file_name: str) -> str:
    """`flowers` for `flowers.tar.gz`; Unicode NFC."""
    name = unicodedata.normalize("NFC", file_name)
    ending = next((e for e in _ENDINGS if name.casefold().endswith(e)), "")
    return name[: len(name) - len(ending)] or name


def safe_member(archive: str, name: str) -> str:
    """The normal form of a member's name, once it is known to stay inside the archive.

    Args:
        archive: name of the archive, for the message.
        name: the member's name as stored, before any repair by a library.

    Returns:
        Parts joined by `/`, Unicode NFC; empty for the archive's own top (`./`).

    Raises:
        DataError: the name is absolute, climbs with `..`, is not Unicode, or holds a backslash, a NUL or a drive.
    """
    rule = broken_rule(name)
    if rule:
        raise DataError(f"{archive}: member {printable(name)!r} {rule}: {_REMEDY}")
    return normal_path(name)


def normal_path(name: str) -> str:
    """A path without empty parts and `.`, Unicode NFC; empty for the top."""
    return unicodedata.normalize("NFC", "/".join(part for part in name.split("/") if part not in ("", ".")))


def broken_rule(name: str) -> str:
    """Why a name would leave its archive or folder, or cannot be trusted to stay; empty for a safe one."""
    if "\0" in name:
        return "has a NUL character in its name"
    if "\\" in name:
        return "has a backslash in its name"
    if name.startswith("/"):
        return "has an absolute path"
    if _DRIVE.match(name):
        return "starts with a drive letter"
    if ".." in name.split("/"):
        return "climbs out with `..`"
    if not is_unicode(name):
        return "has a name that is not UTF-8"
    return ""


def foreign_name(archive: str, raw: bytes, encoding: str | None) -> str:
    """A member's name that is not UTF-8.

    Args:
        archive: name of the archive, for the message.
        raw: the name's bytes.
        encoding: what `dataset.encoding` says; None where it says nothing.

    Returns:
        The name.

    Raises:
        DataError: no encoding is given, or the name is none of that encoding; the message shows how it may read.
    """
    try:
        if encoding is not None:
            return raw.decode(encoding)
    except UnicodeDecodeError as error:
        shown = raw.decode("utf-8", "backslashreplace")
        raise DataError(f"{archive}: member {shown!r} is no name in {encoding}: correct dataset.encoding") from error
    shown = raw.decode("utf-8", "backslashreplace")
    raise DataError(f"{archive}: member {shown!r} has a name that is not UTF-8: set dataset.encoding ({readings(raw)})")


def readings(raw: bytes) -> str:
    """How a name that is not UTF-8 reads in the encodings of file managers: `cp949 reads '사과', cp1252 'Ž§úŽ'`."""
    found: dict[str, str] = {}
    for codec in _CODECS:
        try:
            text = raw.decode(codec)
        except UnicodeDecodeError:
            continue
        if text.isprintable():
            found.setdefault(text, codec)
    return ", ".join(f"{codec} reads {text!r}" for text, codec in found.items()) or "no common one reads it"


def collision_key(path: str) -> str:
    """What two names share when a file system that ignores case or Unicode form would take them for one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def is_unicode(name: str) -> bool:
    """Whether a name read from a disk or an archive was valid UTF-8 (undecodable bytes become lone surrogates)."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def printable(name: str) -> str:
    """A name that can be written to any UTF-8 file, undecodable bytes as hexadecimal escapes."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def reason_to_skip(path: str) -> str:
    """Why a file is not taken, judged by its name.

    Args:
        path: path inside the source, forward slashes.

    Returns:
        The reason; empty for the name of an image.
    """
    parts = path.split("/")
    if any(part.startswith(".") for part in parts):
        return "hidden file"
    if any(part.casefold() in _LITTER for part in parts):
        return "left behind by an operating system"
    stem, dot, suffix = parts[-1].rpartition(".")
    if not dot or not stem:
        return "not an image file (no extension)"
    if suffix.casefold() in ARCHIVE_SUFFIXES:
        return "an archive inside the source is not opened"
    if remedy := _NOT_READ.get(suffix.casefold()):
        return f"not an image file that is read (.{suffix.casefold()}): {remedy}"
    if suffix.casefold() not in IMAGE_SUFFIXES:
        return f"not an image file (.{suffix.casefold()})"
    return ""


def is_litter(name: str) -> bool:
    """Whether a folder or file name is hidden or left behind by an operating system."""
    return name.startswith(".") or name.casefold() in _LITTER


def litter_in(path: str) -> bool:
    """Whether a part of a path is hidden or left behind by an operating system (`__MACOSX`, ...)."""
    return any(is_litter(part) for part in path.split("/"))


def folder_name(folder: str) -> str:
    """What a folder is called, without those above it."""
    return folder.rpartition("/")[2]


def parent(path: str) -> str:
    """The folder a path lies in; the top is the empty path."""
    return path.rpartition("/")[0]


def upwards(folder: str) -> list[str]:
    """A folder and all above it, the top (empty) last."""
    found = [folder]
    while folder:
        folder = parent(folder)
        found.append(folder)
    return found
