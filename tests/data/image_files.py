"""Image files built by code: one scene in many formats, whole and broken.

The scene is 24 x 16 pixels, red on the left half, blue on the right, so that a wrong orientation, a lost channel or
inverted ink is seen at once.
"""

import io
import struct
import zlib

import numpy as np
from PIL import Image, ImageChops

WIDTH, HEIGHT = 24, 16
RED, BLUE, WHITE = (220, 30, 30), (30, 30, 220), (255, 255, 255)
ORIENTATION = 0x0112


def scene() -> Image.Image:
    pixels = np.empty((HEIGHT, WIDTH, 3), dtype=np.uint8)
    pixels[:, : WIDTH // 2], pixels[:, WIDTH // 2 :] = RED, BLUE
    return Image.fromarray(pixels)


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def jpeg(image: Image.Image | None = None, **options: object) -> bytes:
    return encoded(image or scene(), "JPEG", quality=95, subsampling=0, **options)


def oriented(orientation: int) -> bytes:
    """The scene stored turned, with the EXIF tag that turns it back."""
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stored = scene().transpose(undo[orientation]) if orientation in undo else scene()
    return jpeg(stored, exif=exif)


def without_adobe_marker(data: bytes) -> bytes:
    """Drops the APP14 segment of a JPEG."""
    at = data.index(b"\xff\xee")
    (length,) = struct.unpack(">H", data[at + 2 : at + 4])
    return data[:at] + data[at + 2 + length :]


def ycck() -> bytes:
    """A JPEG of ink in luma and chroma. Pillow writes plain CMYK only, so the channels are turned by hand."""
    cyan, magenta, yellow, black = scene().convert("CMYK").split()
    luma = Image.merge("RGB", (cyan, magenta, yellow)).convert("YCbCr").split()
    data = bytearray(jpeg(Image.merge("CMYK", (*map(ImageChops.invert, luma), black))))
    data[data.index(b"Adobe") + 11] = 2  # the marker's transform: YCCK
    return bytes(data)


def sixteen_bit_colour() -> bytes:
    """A PNG of 16 bits a channel; Pillow cannot write one, and reads it with 8."""
    pixels = np.asarray(scene()).astype(">u2") * 257
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    return png_of(struct.pack(">IIBBBBB", WIDTH, HEIGHT, 16, 2, 0, 0, 0), zlib.compress(rows))


def multi_picture() -> bytes:
    """A JPEG with a second picture behind it, as phones write for depth and stereo cameras for the other eye."""
    other = Image.new("RGB", (WIDTH, HEIGHT), WHITE)
    return encoded(scene(), "MPO", quality=95, subsampling=0, save_all=True, append_images=[other])


def wide_gamut(profile: bytes) -> bytes:
    """Pure sRGB red and blue as Display P3 writes them (CSS Color 4: 234 51 35 and 0 0 245)."""
    pixels = np.empty((HEIGHT, WIDTH, 3), dtype=np.uint8)
    pixels[:, : WIDTH // 2], pixels[:, WIDTH // 2 :] = (234, 51, 35), (0, 0, 245)
    return encoded(Image.fromarray(pixels), "PNG", icc_profile=profile)


def grey_ramp_16_bits() -> bytes:
    values = np.full((HEIGHT, WIDTH), 0x4000, dtype=np.uint16)
    values[:, WIDTH // 2 :] = 0xC000
    return encoded(Image.fromarray(values), "PNG")


def half_transparent() -> Image.Image:
    """Red and blue everywhere, but the right half is fully transparent: its hidden blue must not show."""
    image = scene().convert("RGBA")
    alpha = Image.new("L", image.size, 255)
    alpha.paste(0, (WIDTH // 2, 0, WIDTH, HEIGHT))
    image.putalpha(alpha)
    return image


def transparent_palette() -> bytes:
    indices = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    indices[:, WIDTH // 2 :] = 1
    image = Image.fromarray(indices, "P")
    image.putpalette([*RED, *BLUE])
    return encoded(image, "PNG", transparency=1)


def animation(form: str) -> bytes:
    frames = [scene(), scene().transpose(Image.Transpose.FLIP_LEFT_RIGHT), Image.new("RGB", (WIDTH, HEIGHT), WHITE)]
    options = {"lossless": True} if form == "WEBP" else {}
    return encoded(frames[0], form, save_all=True, append_images=frames[1:], duration=50, **options)


def png_of(header: bytes, data: bytes) -> bytes:
    """A PNG with this IHDR and this IDAT."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def bomb() -> bytes:
    """A PNG of a few bytes that says it has 30,000 x 30,000 pixels."""
    return png_of(struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0), zlib.compress(b"\0" * 999))


def lying_png() -> bytes:
    """A PNG whose header promises more rows than its data has."""
    return png_of(struct.pack(">IIBBBBB", WIDTH, HEIGHT * 100, 8, 2, 0, 0, 0), zlib.compress(b"\0" * 999))
