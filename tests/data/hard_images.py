"""Image files that are hard to read, each with the reason why.

The tables `READABLE`, `SIZED` and `UNREADABLE` are what `data/decode.py` promises; files with hard names are in
`hard_names`, archives in `hard_archives`. Every readable file shows the scene of `image_files`.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops

from tests.data.colour_profiles import display_p3, grey, ink
from tests.data.image_files import (
    BLUE,
    DISPLAY_P3,
    HEIGHT,
    RED,
    SRGB,
    WHITE,
    WIDTH,
    animation,
    bomb,
    closed,
    deep_png,
    deep_tiff,
    encoded,
    grey_ramp_16_bits,
    half_transparent,
    jpeg,
    lying_png,
    multi_picture,
    oriented,
    scene,
    sixteen_bit_colour,
    textured,
    transparent_palette,
    wide_gamut,
    with_gamma,
    with_primaries,
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


def ink_patches() -> Image.Image:
    """Full cyan on the left, full magenta on the right."""
    image = Image.new("CMYK", (WIDTH, HEIGHT), (255, 0, 0, 0))
    image.paste((0, 255, 0, 0), (WIDTH // 2, 0, WIDTH, HEIGHT))
    return image


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
    *(
        Readable(f"{name} of {bits} bits in 16", "read as 16 bits it is nearly black", make, *colours, note, 4)
        for bits, name, make, colours, note in (
            (12, "grey PNG", lambda: deep_png(12, grey=True), (RED_GREY, BLUE_GREY), "12 of 16 bits to 8"),
            (10, "grey PNG", lambda: deep_png(10, grey=True), (RED_GREY, BLUE_GREY), "10 of 16 bits to 8"),
            (14, "grey PNG", lambda: deep_png(14, grey=True), ((87,) * 3, (52,) * 3), "14 of 16 bits to 8"),
            (12, "colour PNG", lambda: deep_png(12), (RED, BLUE), "12 of 16 bits to 8"),
            (12, "PNG with alpha", lambda: deep_png(12, alpha=True), (RED, BLUE), "12 of 16 bits to 8"),
            (12, "grey TIFF", lambda: deep_tiff(12), (RED_GREY, BLUE_GREY), "12 of 16 bits to 8"),
            (12, "colour TIFF", lambda: deep_tiff(12, grey=False), (RED, BLUE), "12 of 16 bits to 8"),
        )
    ),
    Readable(
        "a dark grey PNG that declares 12 bits (sBIT)",
        "its largest value would fit in 10: what the file says counts",
        lambda: deep_png(10, grey=True, declared=12),
        (22,) * 3,
        (13,) * 3,
        "12 of 16 bits to 8",
        1,
    ),
    Readable(
        "a dark grey PNG that declares 16 bits (sBIT)",
        "a night shot stays dark",
        lambda: deep_png(13, grey=True, declared=16),
        (11,) * 3,
        (6,) * 3,
        "16 bits to 8",
        1,
    ),
    Readable(
        "a dark TIFF with a largest value (MaxSampleValue)",
        "what the file says counts",
        lambda: deep_tiff(10, tags={281: 4095}),
        (22,) * 3,
        (13,) * 3,
        "12 of 16 bits to 8",
        1,
    ),
    Readable(
        "a TIFF of 12 packed bits",
        "three bytes hold two values",
        lambda: deep_tiff(12, stored=12),
        RED_GREY,
        BLUE_GREY,
        "12 of 16 bits to 8",
        1,
    ),
    Readable(
        "a PGM of 12 bits",
        "its header says which value is white",
        lambda: b"P5 24 16 4095\n" + (np.asarray(scene().convert("L")).astype("u2") << 4).astype(">u2").tobytes(),
        RED_GREY,
        BLUE_GREY,
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
        "CMYK with a profile",
        "ink is what the press makes of it: the plain formula shows cyan as (0, 255, 255)",
        lambda: jpeg(ink_patches(), icc_profile=ink()),
        (0, 151, 221),
        (214, 2, 129),
        "CMYK, colour profile to sRGB",
        6,
    ),
    Readable(
        "CMYK TIFF with a profile",
        "not inverted, the same profile",
        lambda: encoded(ink_patches(), "TIFF", icc_profile=ink()),
        (0, 151, 221),
        (214, 2, 129),
        "CMYK, colour profile to sRGB",
        6,
    ),
    Readable(
        "CMYK with a profile of other values",
        "the plain formula, and a word about it",
        lambda: jpeg(scene().convert("CMYK"), icc_profile=display_p3()),
        note="CMYK, colour profile ignored",
    ),
    Readable(
        "grey with a profile",
        "scans for printing have a curve of their own",
        lambda: encoded(scene().convert("L"), "PNG", icc_profile=grey(1.0)),
        (158,) * 3,
        (125,) * 3,
        "colour profile to sRGB",
        3,
    ),
    Readable(
        "linear PNG (gAMA 1)",
        "renderers write light itself: read as sRGB it is far too dark",
        lambda: with_gamma(1.0),
        note="gamma 1 to sRGB",
        tolerance=8,
    ),
    Readable(
        "PNG of an old Macintosh (gAMA 0.56)", "too pale", lambda: with_gamma(1 / 1.8), note="gamma 0.55556 to sRGB"
    ),
    Readable("PNG with gAMA 0.4545", "what sRGB writes", lambda: with_gamma(1 / 2.2), tolerance=1),
    Readable(
        "PNG with gAMA and sRGB",
        "sRGB outranks gAMA",
        lambda: with_gamma(1.0, says_srgb=True),
        (184, 2, 2),
        (2, 2, 184),
        tolerance=2,
    ),
    Readable(
        "PNG with gAMA and a profile",
        "a profile outranks gAMA",
        lambda: with_gamma(1 / 2.2, stated=1.0, profile=display_p3()),
        (241, 0, 0),
        (24, 24, 230),
        "colour profile to sRGB",
    ),
    Readable(
        "PNG with the primaries of Display P3 (cHRM, gAMA)",
        "the chunks say what a profile would",
        lambda: with_primaries(DISPLAY_P3),
        PURE_RED,
        PURE_BLUE,
        "colour profile to sRGB",
    ),
    *(
        Readable(f"PNG with cHRM, {what}", why, make, (234, 51, 35), (0, 0, 245), tolerance=1)
        for what, why, make in (
            ("of sRGB", "what most programs write", lambda: with_primaries(SRGB)),
            ("and sRGB", "sRGB outranks cHRM", lambda: with_primaries(DISPLAY_P3, says_srgb=True)),
            ("alone", "without gAMA it counts for nothing, as in browsers", lambda: with_primaries(DISPLAY_P3, 0)),
            ("of zeros", "damaged", lambda: with_primaries((0.0,) * 8)),
            ("of one colour", "no triangle", lambda: with_primaries((0.3127, 0.329) + (0.4, 0.3) * 3)),
        )
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

LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"4d" * 32 + b"\nsize 12345\n"


def _photograph(grey: bool = False, **options: bool) -> bytes:
    """A photograph with detail everywhere."""
    colour = textured(**options)
    return encoded(Image.open(io.BytesIO(colour)).convert("L"), "JPEG", quality=85) if grey else colour


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
        "a web page (HTML): a download or a log-in failed",
    ),
    *(
        Unreadable(name, "what stands under the name of a picture is named as what it is", lambda b=data: b, reason)
        for name, data, reason in (
            ("Git-LFS pointer", LFS_POINTER, "a Git-LFS pointer, not the file itself: run `git lfs pull`"),
            ("log-in page", b"\xef\xbb\xbf\n <HTML><head>", "a web page (HTML)"),
            ("error of a bucket", b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "XML"),
            ("JSON error", b'{"message": "Not Found"}', "JSON"),
            ("SVG", b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "a drawing (SVG): export it"),
            ("PDF", b"%PDF-1.7\n", "a PDF"),
            ("Photoshop", b"8BPS\0\1" + bytes(20), "a Photoshop file (PSD)"),
            ("JPEG XL", b"\xff\x0a" + bytes(20), "JPEG XL: convert it"),
            ("MP4", b"\0\0\0\x18ftypisom" + bytes(16), "a video (MP4, QuickTime)"),
            ("DICOM", bytes(128) + b"DICM" + bytes(20), "DICOM"),
            ("zip", b"PK\x03\x04" + bytes(20), "a zip archive"),
        )
    ),
    *(
        Unreadable(f"{kind}, {what}", "decoders fill up with grey and say nothing", make, reason)
        for kind, options in (("JPEG", {}), ("optimised JPEG", {"optimize": True}), ("grey JPEG", {"grey": True}))
        for what, make, reason in (
            ("half, closed", lambda o=options: closed(_photograph(**o), 0.5), "missing: the file was cut"),
            ("most, closed", lambda o=options: closed(_photograph(**o), 0.97), "missing: the file was cut"),
            ("half zeros", lambda o=options: closed(_photograph(**o), 0.5)[:-2] + bytes(4000), "truncated"),
            ("half zeros, closed", lambda o=options: closed(_photograph(**o), 0.5, zeros=True), "unreadable"),
        )
    ),
    Unreadable(
        "progressive JPEG, half, closed",
        "coarse, and coarser still in its lower half",
        lambda: closed(textured(progressive=True), 0.5),
        "its last scans are missing: the file was cut",
    ),
    Unreadable(
        "progressive JPEG, half zeros, closed",
        "the same with zeros",
        lambda: closed(textured(progressive=True), 0.5, zeros=True),
        "its last scans are missing",
    ),
    Unreadable("random bytes", "nothing is known of them", lambda: b"\x17" * 99, "not an image of a known format"),
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
        "a PostScript drawing: export it as PNG",
    ),
    Unreadable(
        "damaged HEIC",
        "what phones store: Pillow has no decoder for it",
        lambda: b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 64,
        "unreadable",
    ),
]
