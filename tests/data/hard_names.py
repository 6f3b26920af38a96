"""Files whose names, places or kinds are hard, in a folder of two classes, each with the reason why.

`write` lays them down. Every one of them ends as an image under `listed` or as a row with `reason`; one of a class that
looks like an image by its name counts as rejected (`counts`).
"""

import os
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.raw_images import picture, png

LONG = "x" * 246 + ".jpg"
ACCENTS = "é ñ ộ ㄱ.jpg"
NOT_UTF8 = os.fsdecode(b"\xff.jpg")


@dataclass(frozen=True)
class HardFile:
    """One entry of the folder.

    Attributes:
        path: inside the folder, forward slashes.
        why: it is hard.
        reason: why it is left out; empty for an image.
        listed: the path it is known by, where that is not `path`.
        make: writes it at a path; a photograph of its own by default.
    """

    path: str
    why: str
    reason: str = ""
    listed: str = ""
    make: Callable[[Path], object] | None = None

    @property
    def known_as(self) -> str:
        """The path it is known by."""
        return self.listed or self.path

    @property
    def counts(self) -> bool:
        """Whether it is an image of a class by its name that cannot be used."""
        return self.reason not in ("", *NO_IMAGE) and not self.reason.startswith("not an image file")


NO_IMAGE = (
    "hidden file",
    "left behind by an operating system",
    "an archive inside the source is not opened",
    "lies in no class folder",
)


def link_to(target: str) -> Callable[[Path], object]:
    """Makes a symbolic link."""
    return lambda path: path.symlink_to(target)


IMAGES = [
    HardFile("apple/1.JPG", "cameras shout"),
    HardFile("apple/2.jpeg", "the other spelling"),
    HardFile("apple/3.webp", "a PNG under another name: the first bytes decide"),
    HardFile("apple/two words.jpg", "commands split names at spaces"),
    HardFile("apple/two\nlines.jpg", "breaks every list of one name a line"),
    HardFile("apple/carriage\rreturn.jpg", "ends a line of a table, though few writers quote it"),
    HardFile("apple/tab\tand bell\a.jpg", "control characters reach terminals"),
    HardFile('apple/a,b;"c".jpg', "breaks every table that does not quote"),
    HardFile("apple/-rf.jpg", "commands take it for an option"),
    HardFile("apple/$HOME `id` %s {0}.jpg", "templates and shells fill it in"),
    HardFile("apple/[bold]x[/bold].jpg", "markup of terminals and pages"),
    HardFile("apple/<b>x&amp;.jpg", "markup of pages"),
    HardFile("apple/🍐 👩🏽‍🌾.jpg", "beyond the first 65,536 characters, and joined"),
    HardFile("apple/تفاح.jpg", "right-to-left text"),
    HardFile("apple/\u202egpj.exe.jpg", "an override that shows the name backwards"),
    HardFile(
        f"apple/{unicodedata.normalize('NFD', ACCENTS)}",
        "combining accents, as disks of macOS hand them out: one image_id everywhere",
        listed=f"apple/{ACCENTS}",
    ),
    HardFile(f"apple/{LONG}", "250 characters: nothing can be added to the name"),
    HardFile("apple/deep/er/still/1.jpg", "folders below a class belong to it"),
    HardFile("apple/test/1.jpg", "a folder called like a split, below a class"),
    HardFile("apple/a.tar.jpg", "two endings: the last one counts"),
    HardFile("배 🍐/1.jpg", "a class name that few fonts have"),
    HardFile("배 🍐/link.jpg", "a link inside the folder is as good as a copy", make=link_to("../apple/1.JPG")),
]

LEFT_OUT = [
    HardFile("apple/.hidden.jpg", "editors keep copies so", "hidden file"),
    HardFile("__MACOSX/apple/._1.jpg", "macOS keeps attributes so; it even ends like an image", "hidden file"),
    HardFile("__MACOSX/apple/1.jpg", "the folder as a whole is no class", "left behind by an operating system"),
    HardFile("apple/Thumbs.db", "Windows keeps previews so", "left behind by an operating system"),
    HardFile("apple/notes.txt", "people keep notes beside pictures", "not an image file (.txt)"),
    HardFile("apple/picture", "no ending, although a picture", "not an image file (no extension)"),
    HardFile("apple/more.zip", "an archive in the source", "an archive inside the source is not opened"),
    HardFile("cover.jpg", "belongs to no class", "lies in no class folder"),
    HardFile(
        "apple/dead\r.jpg", "the same name in a row of reasons", "a link that leads nowhere", make=link_to("gone.jpg")
    ),
    HardFile("apple/dead.jpg", "a link whose target is gone", "a link that leads nowhere", make=link_to("gone.jpg")),
    HardFile("apple/loop.jpg", "a link to itself", "a link that leads nowhere", make=link_to("loop.jpg")),
    HardFile("apple/again.jpg", "a loop: a folder in itself", "a link to a folder is not followed", make=link_to("..")),
    HardFile("apple/out.jpg", "a link out of the tree", "a link that leaves the folder", make=link_to("/etc/passwd")),
    HardFile("apple/pipe.jpg", "reading it would wait for ever", "not a regular file", make=os.mkfifo),
    HardFile(
        f"apple/{NOT_UTF8}",
        "from a disk of the nineties",
        "its name is not UTF-8 (cp1252 reads 'ÿ.jpg'): rename it",
        listed="apple/\\udcff.jpg",
    ),
    HardFile(
        f"apple/{ACCENTS}",
        "the same name in another Unicode form: one image to macOS, two to Linux",
        "another file has the same name in a different Unicode form",
    ),
]


def write(folder: Path, files: list[HardFile]) -> None:
    """Lays the files down; each photograph is another one."""
    for number, file in enumerate(files):
        path = folder / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        if file.make is None:
            path.write_bytes(png(picture(file.path.partition("/")[0], number)))
        else:
            file.make(path)
