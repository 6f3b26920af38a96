"""What the header of a photograph says of its size and of how it is to be turned; pixels are not decoded.

Boxes in pixels and boxes drawn on the stored picture need it before they are fractions of the upright photograph.
"""

import struct
import warnings
from pathlib import Path
from typing import Final

from PIL import Image

from podium.data.file_kinds import HEIF_EXTRA, is_heif, register_heif
from podium.sources.source import WHOLE, Box, Unusable

_ORIENTATION: Final = 0x0112  # EXIF tag
_BRAND_ENDS: Final = 12  # bytes of a file that tell HEIC
_ON_ITS_SIDE: Final = (5, 6, 7, 8)
# What Pillow was seen to raise on damaged headers; preprocess decodes the same file and says what is wrong.
_HEADER_ERRORS: Final = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    RuntimeError,
    EOFError,
    struct.error,
    Image.DecompressionBombError,
)


def read_upright_size(file: Path) -> tuple[int, int]:
    """Width and height of a photograph in pixels, after EXIF orientation.

    Raises:
        Unusable: there is no telling, or it is HEIC and the extra is missing.
    """
    with file.open("rb") as stream:
        if is_heif(stream.read(_BRAND_ENDS)) and not register_heif():
            raise Unusable(HEIF_EXTRA)
    header = _header(file)
    if header is None:
        raise Unusable("its size cannot be read, and its box is in pixels: is it a photograph?")
    return header[0]


def read_orientation(file: Path) -> int:
    """A photograph's EXIF orientation, 1 to 8; 1 (upright) where it says none or cannot be read."""
    return header[1] if (header := _header(file)) else 1


def turn_box(box: Box, orientation: int) -> Box:
    """A box on the stored picture as a box on the upright one.

    Args:
        box: fractions of the stored picture's width and height.
        orientation: 1 to 8, as in TIFF 6.0 and EXIF 2.32, section 4.6.4: where the stored first row and column lie.

    Returns:
        Fractions of the upright photograph, rounded to 10 digits where a side was counted from the other end.
    """
    if box == WHOLE or orientation not in range(2, 9):
        return box
    left, top, right, bottom = box.left, box.top, box.right, box.bottom
    if orientation in _ON_ITS_SIDE:  # 5 mirrors about the main diagonal; 6, 7 and 8 are 5 and then 2, 3 or 4
        left, top, right, bottom = top, left, bottom, right
    if orientation in (2, 3, 6, 7):
        left, right = round(1 - right, 10), round(1 - left, 10)
    if orientation in (3, 4, 7, 8):
        top, bottom = round(1 - bottom, 10), round(1 - top, 10)
    return Box(left, top, right, bottom)


def _header(file: Path) -> tuple[tuple[int, int], int] | None:
    """Upright size and orientation."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a decompression bomb is preprocess's to refuse
            with Image.open(file) as image:
                said = image.getexif().get(_ORIENTATION, 1)
                # Pillow turns the size of a TIFF when it opens it, that of other formats when pixels are turned.
                on_its_side = said in _ON_ITS_SIDE and image.format != "TIFF"
                return (image.height, image.width) if on_its_side else image.size, said
    except _HEADER_ERRORS:
        return None
