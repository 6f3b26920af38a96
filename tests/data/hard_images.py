"""Image files that are hard to read, each with the reason why, built by code so that the bytes explain themselves.

Every readable case shows the same scene, 24 x 16 pixels: red on the left half, blue on the right, so that a wrong
orientation, a lost channel or inverted ink is seen at once.
"""

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops

WIDTH, HEIGHT = 24, 16
RED, BLUE, WHITE = (220, 30, 30), (30, 30, 220), (255, 255, 255)
ORIENTATION = 0x0112


@dataclass(frozen=True)
class Readable:
    """A file that must be read: colours at a quarter and three quarters of the width, and what the note says."""

    name: str
    make: Callable[[], bytes]
    left: tuple[int, int, int]
    right: tuple[int, int, int]
    note: str = ""
    tolerance: int = 12


@dataclass(frozen=True)
class Unreadable:
    """A file that must be refused, and a part of the reason."""

    name: str
    make: Callable[[], bytes]
    reason: str


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


def bomb() -> bytes:
    """A PNG of a few bytes that says it has 30,000 x 30,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 999)) + chunk(b"IEND", b"")
    )


GREY_LOW, GREY_HIGH = (0x40,) * 3, (0xC0,) * 3
RED_GREY, BLUE_GREY = (87,) * 3, (52,) * 3  # ITU-R 601 luma

READABLE = [
    Readable("plain JPEG", jpeg, RED, BLUE),
    Readable("PNG", lambda: encoded(scene(), "PNG"), RED, BLUE, tolerance=0),
    Readable("BMP", lambda: encoded(scene(), "BMP"), RED, BLUE, tolerance=0),
    Readable("TIFF with LZW", lambda: encoded(scene(), "TIFF", compression="tiff_lzw"), RED, BLUE, tolerance=0),
    Readable("WebP", lambda: encoded(scene(), "WEBP", lossless=True), RED, BLUE, tolerance=0),
    Readable("JPEG 2000", lambda: encoded(scene(), "JPEG2000"), RED, BLUE),
    Readable("AVIF", lambda: encoded(scene(), "AVIF", quality=95, subsampling="4:4:4"), RED, BLUE),
    # one channel: a model wants three
    Readable("grey", lambda: encoded(scene().convert("L"), "PNG"), RED_GREY, BLUE_GREY, tolerance=1),
    # one bit a pixel: True must become 255, not 1
    Readable(
        "1 bit",
        lambda: encoded(Image.eval(scene().convert("L"), lambda v: 255 * (v > 60)).convert("1"), "PNG"),
        WHITE,
        (0, 0, 0),
        tolerance=0,
    ),
    # 16 bits: Pillow's own conversion clips everything above 255 to white
    Readable("16-bit grey", grey_ramp_16_bits, GREY_LOW, GREY_HIGH, "16 bits to 8", 1),
    # ink stored inverted, as Adobe does; a plain conversion is right
    Readable("CMYK with Adobe marker", lambda: jpeg(scene().convert("CMYK")), RED, BLUE, "CMYK"),
    # plain ink without the marker: every decoder takes it for inverted and shows the negative
    Readable(
        "CMYK without Adobe marker",
        lambda: without_adobe_marker(jpeg(ImageChops.invert(scene().convert("CMYK")))),
        RED,
        BLUE,
        "CMYK without Adobe marker",
    ),
    Readable("CMYK TIFF", lambda: encoded(scene().convert("CMYK"), "TIFF"), RED, BLUE, "CMYK", 1),
    # transparency: dropping alpha shows the colours hidden under it
    Readable("RGBA", lambda: encoded(half_transparent(), "PNG"), RED, WHITE, "alpha on white", 0),
    Readable("RGBA, opaque", lambda: encoded(scene().convert("RGBA"), "PNG"), RED, BLUE, tolerance=0),
    Readable(
        "grey with alpha",
        lambda: encoded(half_transparent().convert("LA"), "PNG"),
        RED_GREY,
        WHITE,
        "alpha on white",
        1,
    ),
    Readable("palette", lambda: encoded(scene().quantize(4), "PNG"), RED, BLUE, tolerance=2),
    Readable("palette with transparency", transparent_palette, RED, WHITE, "alpha on white", 0),
    # several frames: the first is the picture
    Readable("animated GIF", lambda: animation("GIF"), RED, BLUE, "first of 3 frames", 2),
    Readable("animated PNG", lambda: animation("PNG"), RED, BLUE, "first of 3 frames", 0),
    Readable("animated WebP", lambda: animation("WEBP"), RED, BLUE, "first of 3 frames", 0),
    Readable("TIFF of three pages", lambda: animation("TIFF"), RED, BLUE, "first of 3 frames", 0),
    # cameras store the sensor's rows and say in EXIF how to turn them
    Readable("EXIF orientation 1", lambda: oriented(1), RED, BLUE),
    *(
        Readable(f"EXIF orientation {n}", lambda n=n: oriented(n), RED, BLUE, f"EXIF orientation {n}")
        for n in range(2, 9)
    ),
    # broken EXIF is not a broken picture
    Readable("garbage for EXIF", lambda: jpeg(exif=b"Exif\0\0garbage"), RED, BLUE),
]

UNREADABLE = [
    Unreadable("empty file", lambda: b"", "the file is empty"),
    # an interrupted copy: decoders can be told to fill up with grey; a training set must not contain that
    Unreadable("truncated JPEG", lambda: jpeg()[:-40], "truncated"),
    Unreadable("JPEG without its last two bytes", lambda: jpeg()[:-2], "truncated"),
    Unreadable("truncated PNG", lambda: encoded(scene(), "PNG")[:-30], "unreadable"),
    Unreadable("truncated WebP", lambda: encoded(scene(), "WEBP")[:-20], "unreadable"),
    # what a failed download leaves under the name of a picture
    Unreadable("HTML named .jpg", lambda: b"<!doctype html><title>404</title>", "not an image of a known format"),
    Unreadable("header only", lambda: b"\xff\xd8\xff\xe0", "unreadable"),
    # few bytes that unpack to gigabytes
    Unreadable("decompression bomb", bomb, "unreadable"),
    # floating point: nobody knows which value is white
    Unreadable(
        "float TIFF",
        lambda: encoded(Image.fromarray(np.linspace(0, 1, 384, dtype=np.float32).reshape(HEIGHT, WIDTH)), "TIFF"),
        "no fixed range",
    ),
    Unreadable(
        "32-bit integer TIFF",
        lambda: encoded(Image.fromarray(np.arange(384, dtype=np.int32).reshape(HEIGHT, WIDTH)), "TIFF"),
        "no fixed range",
    ),
    # a format whose decoder runs another program
    Unreadable("EPS", lambda: encoded(scene(), "EPS"), "not an image of a known format"),
]
