"""What decoding made of images, kept from one run of `preprocess` to the next, so that only new images are decoded.

Rows of the arrays stay where they are, and `readings.jsonl` says what lies in which. None of it is the truth: a line
counts if its own digest is right, its row has the bytes that were written there, and all was made with the same code,
libraries, instructions and params; else the image is decoded again. A line is added once its row is written, so a run
that was killed goes on where it was. Deleting the folder costs nothing but time.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from podium.config.preprocess import Preprocess
from podium.core.files import replacing
from podium.core.identity import fingerprint, module_code
from podium.core.layout import READINGS
from podium.core.machine import Machine
from podium.curation.decoding import Reading, content_sha256
from podium.curation.temporary_arrays import TemporaryArrays, release_pages

_GIB = 2**30
_CHECKED_AT_ONCE = 256  # images
_DECIDING = {"train", "val", "test", "split_seed", "duplicates", "train_placement"}  # what decoding does not look at


class _Line(NamedTuple):
    """An image by its key, and what came of it."""

    key: str
    reading: Reading


class DecodeCache:
    """Rows of the arrays for the images of one run, those that were decoded before filled already.

    Attributes:
        arrays: with a row for every image.
        rows: of each image.
        readings: what came of each image; None where it is not known yet.
    """

    def __init__(self, folder: Path, root: Path, preprocess: Preprocess, keys: Sequence[str]) -> None:
        """Looks images up; what was kept with other code or params goes.

        Args:
            folder: where everything is kept, `Layout.decoded`.
            root: the project's folder.
            preprocess: the section in force.
            keys: of the images, as `image_keys` gives them.
        """
        self._folder, self._keys = folder / _identity(root, preprocess)[:16], keys
        for other in folder.iterdir() if folder.is_dir() else ():
            if other.is_dir() and other != self._folder:
                shutil.rmtree(other)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._file = self._folder / READINGS
        self.readings: list[Reading | None] = [None] * len(keys)
        old = TemporaryArrays.found(self._folder, preprocess.image_size)
        for number, reading in self._known(old):
            self.readings[number] = reading
        taken = {reading.row for reading in self.readings if reading}
        self.arrays = TemporaryArrays(self._folder, max(len(keys), old.count), preprocess.image_size)
        self.arrays.allocate()
        free = (row for row in range(self.arrays.count) if row not in taken)
        self.rows = [next(free) if reading is None else reading.row for reading in self.readings]

    def add(self, numbers: Sequence[int], readings: Sequence[Reading]) -> None:
        """Keeps what came of some images, by their numbers; their rows are written."""
        for number, reading in zip(numbers, readings, strict=True):
            self.readings[number] = reading
        with self._file.open("a", encoding="utf-8") as stream:
            stream.writelines(_lines(zip((self._keys[number] for number in numbers), readings, strict=True)))

    def finish(self) -> pd.DataFrame:
        """Once all images are known: a `Reading` a row, in their order; no other images' lines are kept."""
        table = pd.DataFrame(self.readings)
        with replacing(self._file) as temporary, temporary.open("w", encoding="utf-8") as stream:
            stream.writelines(_lines((key, of) for key, of in zip(self._keys, self.readings, strict=True) if of))
        self.readings.clear()
        return table

    def limit(self, gib: float) -> None:
        """Shortens the arrays to so many GiB; 0 gives all of the disk back."""
        rows = int(gib * _GIB) // self.arrays.row_bytes
        if rows:
            TemporaryArrays(self._folder, min(rows, self.arrays.count), self.arrays.image_size).allocate()
        else:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _known(self, arrays: TemporaryArrays) -> Iterator[tuple[int, Reading]]:
        """Numbers of the images that are kept whole, each with a row of its own."""
        if not arrays.count or not self._file.is_file():
            return
        numbers, taken = {key: number for number, key in enumerate(self._keys)}, set[int]()
        pixels, signatures, measures = arrays.pixels.read(), arrays.signatures.read(), arrays.measures.read()
        for key, reading in _read(self._file):
            row, size = reading.row, reading.content_width * reading.content_height * 3
            if key not in numbers or row in taken or row >= arrays.count:
                continue
            there = pixels[row, :size], signatures[row], measures[row]
            if reading.rejection or content_sha256(*there) == reading.content_sha256:
                taken.add(row)
                yield numbers.pop(key), reading
            if len(taken) % _CHECKED_AT_ONCE == 0:
                release_pages(pixels)


def image_keys(raw: pd.DataFrame) -> list[str]:
    """Of each row of the raw manifest: the photograph's digest, the part taken, and which copy of these it is."""
    what = ["photo_sha256", "box_left", "box_top", "box_right", "box_bottom"]
    rows = raw[what].assign(copy=raw.groupby(what).cumcount())
    return [
        f"{sha256} {left:.17g} {top:.17g} {right:.17g} {bottom:.17g} {copy}"
        for sha256, left, top, right, bottom, copy in rows.itertuples(index=False, name=None)
    ]


def _identity(root: Path, preprocess: Preprocess) -> str:
    """What decides, beside an image, what is made of it."""
    machine = Machine.here()
    return fingerprint(
        {
            "code": module_code(root, __name__).json(),
            "machine": [machine.python, machine.processor, machine.instructions],
            "preprocess": preprocess.model_dump(mode="json", exclude=_DECIDING),
        }
    )


def _lines(entries: Iterable[tuple[str, Reading]]) -> Iterator[str]:
    """A line of text an entry, its digest first."""
    for entry in entries:
        text = json.dumps(entry, ensure_ascii=False)
        yield f"{_digest(text)} {text}\n"


def _read(file: Path) -> Iterator[_Line]:
    """The entries of a file; lines that are damaged, or were half written, are passed over."""
    with file.open(encoding="utf-8", errors="replace") as stream:
        for line in stream:
            digest, _, text = line.rstrip("\n").partition(" ")
            if digest == _digest(text):
                key, values = json.loads(text)
                reading = Reading(*values)
                yield _Line(key, reading._replace(fill=tuple(reading.fill)))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
