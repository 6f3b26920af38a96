"""Image files that are hard to read, each with the reason why.

The tables `READABLE`, `SIZED` and `UNREADABLE` are what `data/decode.py` promises; files with hard names are in
`hard_names`, archives in `hard_archives`. Every readable file shows the scene of `image_files`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops

from tests.data.colour_profiles import display_p3
from tests.data.image_files import (
    BLUE,
    HEIGHT,
    RED,
    WHITE,
    WIDTH,
    animation,
    bomb,
    encoded,
    grey_ramp_16_bits,
    half_transparent,
    jpeg,
    lying_png,
    multi_picture,
    oriented,
    scene,
    sixteen_bit_colour,
    transparent_palette,
    wide_gamut,
    without_adobe_marker,
    ycck,
)


@dataclass(frozen=True)
class Readable:
    """A file that must be read: colours at a quarter and three quarters of the width, and what the note says."""

    name: str
    why: str
    make: Callable[[], bytes]
    left: tuple[int, int, int] = RED
    right: tuple[int, int, int] = BLUE
    note: str = ""
    tolerance: int = 12


@dataclass(frozen=True)
class Sized:
    """A file of an odd size that must be read; `content` is its size after fitting into 12 x 12 pixels."""

    name: str
    why: str
    size: tuple[int, int]
    content: tuple[int, int]


@dataclass(frozen=True)
class Unreadable:
    """A file that must be refused, and a part of the reason."""

    name: str
    why: str
    make: Callable[[], bytes]
    reason: str


GREY_LOW, GREY_HIGH = (0x40,) * 3, (0xC0,) * 3
RED_GREY, BLUE_GREY = (87,) * 3, (52,) * 3  # ITU-R 601 luma
PURE_RED, PURE_BLUE = (255, 0, 0), (0, 0, 255)

READABLE = [
    Readable("plain JPEG", "the common case", jpeg),
    Readable("progressive JPEG", "its rows come several times", lambda: jpeg(progressive=True)),
    Readable("PNG", "the common case", lambda: encoded(scene(), "PNG"), tolerance=0),
    Readable("BMP", "no compression, rows from below", lambda: encoded(scene(), "BMP"), tolerance=0),
    Readable(
        "TIFF with LZW",
        "a container of many codecs",
        lambda: encoded(scene(), "TIFF", compression="tiff_lzw"),
        tolerance=0,
    ),
    Readable("WebP", "another codec", lambda: encoded(scene(), "WEBP", lossless=True), tolerance=0),
    Readable("JPEG 2000", "another codec", lambda: encoded(scene(), "JPEG2000")),
    Readable("AVIF", "another codec", lambda: encoded(scene(), "AVIF", quality=95, subsampling="4:4:4")),
    Readable(
        "grey",
        "one channel: a model wants three",
        lambda: encoded(scene().convert("L"), "PNG"),
        RED_GREY,
        BLUE_GREY,
        tolerance=1,
    ),
    Readable(
        "1 bit",
        "one bit a pixel: True must become 255, not 1",
        lambda: encoded(Image.eval(scene().convert("L"), lambda v: 255 * (v > 60)).convert("1"), "PNG"),
        WHITE,
        (0, 0, 0),
        tolerance=0,
    ),
    Readable(
        "16-bit grey",
        "Pillow's own conversion clips everything above 255 to white",
        grey_ramp_16_bits,
        GREY_LOW,
        GREY_HIGH,
        "16 bits to 8",
        1,
    ),
    Readable("16-bit colour", "twice the bytes a channel, upper ones first", sixteen_bit_colour, tolerance=0),
    Readable(
        "CMYK with Adobe marker",
        "ink stored inverted, as Adobe does: a plain conversion is right",
        lambda: jpeg(scene().convert("CMYK")),
        note="CMYK",
    ),
    Readable("YCCK", "ink in luma and chroma, inverted as well", ycck, note="CMYK"),
    Readable(
        "CMYK without Adobe marker",
        "plain ink: every decoder takes it for inverted and shows the negative",
        lambda: without_adobe_marker(jpeg(ImageChops.invert(scene().convert("CMYK")))),
        note="CMYK without Adobe marker",
    ),
    Readable(
        "CMYK TIFF",
        "plain ink, but not a JPEG: nothing is inverted",
        lambda: encoded(scene().convert("CMYK"), "TIFF"),
        note="CMYK",
        tolerance=1,
    ),
    Readable(
        "RGBA",
        "dropping alpha shows the colours hidden under it",
        lambda: encoded(half_transparent(), "PNG"),
        RED,
        WHITE,
        "alpha on white",
        0,
    ),
    Readable(
        "RGBA, opaque",
        "an alpha channel that hides nothing is no remark worth",
        lambda: encoded(scene().convert("RGBA"), "PNG"),
        tolerance=0,
    ),
    Readable(
        "grey with alpha",
        "two channels",
        lambda: encoded(half_transparent().convert("LA"), "PNG"),
        RED_GREY,
        WHITE,
        "alpha on white",
        1,
    ),
    Readable("palette", "numbers of colours, not colours", lambda: encoded(scene().quantize(4), "PNG"), tolerance=2),
    Readable(
        "palette with transparency",
        "alpha as one entry of the palette",
        transparent_palette,
        RED,
        WHITE,
        "alpha on white",
        0,
    ),
    *(
        Readable(name, "several frames: the first is the picture", make, note=f"first of {frames} frames", tolerance=2)
        for name, make, frames in (
            ("animated GIF", lambda: animation("GIF"), 3),
            ("animated PNG", lambda: animation("PNG"), 3),
            ("animated WebP", lambda: animation("WEBP"), 3),
            ("TIFF of three pages", lambda: animation("TIFF"), 3),
        )
    ),
    Readable(
        "MPO",
        "a JPEG with a second picture behind it; its name and first bytes are a JPEG's",
        multi_picture,
        note="first of 2 frames",
    ),
    *(
        Readable(
            f"EXIF orientation {n}",
            "cameras store the sensor's rows and say in EXIF how to turn them",
            lambda n=n: oriented(n),
            note=f"EXIF orientation {n}" if n > 1 else "",
        )
        for n in range(1, 9)
    ),
    Readable("garbage for EXIF", "broken EXIF is not a broken picture", lambda: jpeg(exif=b"Exif\0\0garbage")),
    Readable(
        "wide gamut",
        "phones store Display P3: without its profile all colours are paler",
        lambda: wide_gamut(display_p3()),
        PURE_RED,
        PURE_BLUE,
        "colour profile to sRGB",
    ),
    Readable(
        "garbage for a colour profile",
        "a broken profile is not a broken picture",
        lambda: jpeg(icc_profile=b"no profile at all"),
        note="colour profile ignored",
    ),
    Readable(
        "bytes behind the end",
        "a JPEG that is a zip as well; decoders stop at the end marker",
        lambda: jpeg() + b"PK\x05\x06" + b"\0" * 18,
    ),
]

SIZED = [
    Sized("a single pixel", "nothing to resize", (1, 1), (12, 12)),
    Sized("one pixel wide", "its width would round to nothing", (1, 500), (1, 12)),
    Sized("one pixel high", "its height would round to nothing", (500, 1), (12, 1)),
    Sized("a strip", "a panorama or a scanned rule: 4,000 times as wide as high", (40_000, 10), (12, 1)),
    Sized("an odd rest", "cannot be centred to the pixel", (24, 13), (12, 6)),
]

UNREADABLE = [
    Unreadable("empty file", "a copy that never began", lambda: b"", "the file is empty"),
    Unreadable(
        "truncated JPEG",
        "an interrupted copy: decoders can be told to fill up with grey, which must not be learned",
        lambda: jpeg()[:-40],
        "truncated",
    ),
    Unreadable("JPEG without its last two bytes", "the end marker alone is lost", lambda: jpeg()[:-2], "truncated"),
    Unreadable("truncated PNG", "an interrupted copy", lambda: encoded(scene(), "PNG")[:-30], "unreadable"),
    Unreadable("truncated WebP", "an interrupted copy", lambda: encoded(scene(), "WEBP")[:-20], "unreadable"),
    Unreadable("PNG with too few rows", "the header promises 100 times what comes", lying_png, "truncated"),
    Unreadable(
        "HTML named .jpg",
        "what a failed download leaves under the name of a picture",
        lambda: b"<!doctype html><title>404</title>",
        "not an image of a known format",
    ),
    Unreadable("header only", "a JPEG that ends where it begins", lambda: b"\xff\xd8\xff\xe0", "unreadable"),
    Unreadable("decompression bomb", "few bytes that unpack to gigabytes", bomb, "could be decompression bomb"),
    Unreadable(
        "float TIFF",
        "floating point: nobody knows which value is white",
        lambda: encoded(Image.fromarray(np.linspace(0, 1, 384, dtype=np.float32).reshape(HEIGHT, WIDTH)), "TIFF"),
        "no fixed range",
    ),
    Unreadable(
        "32-bit integer TIFF",
        "nobody knows which value is white",
        lambda: encoded(Image.fromarray(np.arange(384, dtype=np.int32).reshape(HEIGHT, WIDTH)), "TIFF"),
        "no fixed range",
    ),
    Unreadable(
        "EPS",
        "a format whose decoder runs another program",
        lambda: encoded(scene(), "EPS"),
        "not an image of a known format",
    ),
    Unreadable(
        "HEIC",
        "what phones store: Pillow has no decoder for it",
        lambda: b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 64,
        "not an image of a known format",
    ),
]
