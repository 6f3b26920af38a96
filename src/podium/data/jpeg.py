"""Whether a JPEG holds all of its picture: decoders fill up what is missing with grey and say nothing of it.

A file that was cut and closed by an end marker, or whose end is zeros, is found in three steps, the first of which is
all that an ordinary file costs: does its last corner have the grey that libjpeg fills in, does its data end in zeros,
is it progressive? Only then is the picture decoded once more with other bytes behind its data. What a whole picture
shows does not depend on what comes behind it.
"""

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Final

from PIL import Image

_END: Final = b"\xff\xd9"
_FILLING: Final = range(127, 130)  # libjpeg's mid-grey, in every channel, give or take the rounding of a colour matrix
_CORNER: Final = 8  # pixels a side: one block, or more of them in a picture decoded at a reduced size
_ZEROS: Final = 64  # bytes at the end of the data that are worth a second look
_OTHER: Final = bytes(range(1, 127)) * 2  # what is put behind the data: no marker, no zeros
_MARKER: Final = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # but for stuffed bytes, fill bytes and restarts
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SCAN: Final = 0xDA
_COEFFICIENTS: Final = range(64)  # of a block


def find_damage(data: bytes, image: Image.Image, decode_again: Callable[[bytes], bytes]) -> str:
    """What a JPEG lacks that was decoded without complaint.

    Args:
        data: the file.
        image: it, loaded, in its own mode.
        decode_again: the pixels of another file in the same mode and size.

    Returns:
        What is wrong; empty for a whole picture.
    """
    progressive = "progression" in image.info
    closed = data.endswith(_END)
    if closed and not progressive and not _ends_in_grey(image) and data[-_ZEROS - 2 : -2].strip(b"\0"):
        return ""
    layout = _read_layout(data)
    if layout is None:
        return ""
    if progressive and layout.lacks_scans:
        return "its last scans are missing: the file was cut"
    pixels = image.tobytes()
    end = layout.end

    def whole_without(count: int) -> bool:
        """Whether the picture stays as it is when other bytes take the place of the last `count` of its data."""
        return decode_again(data[: end - count] + _OTHER + _END + data[end + 2 :]) == pixels

    if _ends_in_grey(image) and not whole_without(0):
        return "the end of its pixels is missing: the file was cut"
    zeros = end - len(data[:end].rstrip(b"\0"))
    if zeros >= _ZEROS and whole_without(_ZEROS // 2) and not whole_without(zeros):
        return "zeros stand where the end of its pixels was: the copy was interrupted"
    return ""


def _ends_in_grey(image: Image.Image) -> bool:
    """Whether the last corner of a picture is what a decoder fills in."""
    width, height = image.size
    last = image.getpixel((width - 1, height - 1))
    if (last[0] if isinstance(last, tuple) else last) not in _FILLING:  # nearly always, and soon told
        return False
    corner = image.crop((max(0, width - _CORNER), max(0, height - _CORNER), width, height))
    bands = corner.getextrema()
    ranges = bands if isinstance(bands[0], tuple) else (bands,)
    return all(low in _FILLING and high in _FILLING for low, high in ranges)


@dataclass(frozen=True)
class _Layout:
    """Where the data of the last scan ends, and whether progressive scans leave a coefficient unsaid."""

    end: int
    lacks_scans: bool


def _read_layout(data: bytes) -> _Layout | None:
    """The layout of the first picture in a file (ITU-T T.81, annex B); None where no scan is found."""
    components, end = 0, None
    precision: dict[tuple[int, int], int] = {}
    for marker, start in _segments(data):
        if marker in _FRAMES and start + 8 <= len(data):
            components = data[start + 7]
        elif marker == _SCAN and start + 6 + 2 * data[start + 2] <= len(data):
            count = data[start + 2]
            chosen = data[start + 3 : start + 3 + 2 * count : 2]
            first, last, bits = data[start + 3 + 2 * count : start + 6 + 2 * count]
            for key in product(chosen, range(first, last + 1)):
                precision[key] = bits & 0x0F
            found = _MARKER.search(data, start + 6 + 2 * count)
            end = found.start() if found else len(data)
    if end is None:
        return None
    of_component = {component for component, _ in precision}
    said = all(precision.get(key) == 0 for key in product(of_component, _COEFFICIENTS))
    return _Layout(end, len(of_component) < components or not said)


def _segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Markers up to the end of the first picture, each with the place of its length; entropy-coded data is passed."""
    at = 2
    while (found := _MARKER.search(data, at)) and found.group() != _END:
        start = found.end()
        yield found.group()[1], start
        if start + 2 > len(data):
            return
        at = start + struct.unpack_from(">H", data, start)[0]
