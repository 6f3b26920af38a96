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


def deep_png(bits: int, *, declared: int = 0, grey: bool = False, alpha: bool = False) -> bytes:
    """The scene in a PNG of 16 bits a channel of which only the lower `bits` are in use; `declared` is in its sBIT."""
    pixels = np.asarray(scene().convert("L" if grey else "RGB")).astype(">u2")
    pixels = pixels.reshape(HEIGHT, WIDTH, -1) << (bits - 8)
    if alpha:
        pixels = np.dstack([pixels, np.full((HEIGHT, WIDTH), 0xFFFF, ">u2")])
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    colour_type = {(True, False): 0, (False, False): 2, (True, True): 4, (False, True): 6}[grey, alpha]
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 16, colour_type, 0, 0, 0)
    significant = bytes([declared] * pixels.shape[2])
    return png_of(header, zlib.compress(rows), {b"sBIT": significant} if declared else {})


def deep_tiff(bits: int, *, stored: int = 16, tags: dict[int, int] | None = None, grey: bool = True) -> bytes:
    """The scene in a TIFF of `stored` bits a channel of which the lower `bits` are in use; 12 are packed."""
    pixels = np.asarray(scene().convert("L" if grey else "RGB")).astype("<u2") << (bits - 8)
    channels = 1 if grey else 3
    flat = pixels.ravel()
    if stored == 12:
        pairs = zip(flat[::2].tolist(), flat[1::2].tolist(), strict=True)
        body = b"".join(bytes([a >> 4, (a & 15) << 4 | b >> 8, b & 255]) for a, b in pairs)
    else:
        body = flat.astype("<u2").tobytes()
    places = 8 + len(body)
    entries = {
        256: (3, 1, WIDTH),
        257: (3, 1, HEIGHT),
        258: (3, channels, stored if grey else places),
        259: (3, 1, 1),
        262: (3, 1, 1 if grey else 2),
        273: (4, 1, 8),
        277: (3, 1, channels),
        278: (3, 1, HEIGHT),
        279: (4, 1, len(body)),
        **{tag: (3, 1, value) for tag, value in (tags or {}).items()},
    }
    table = struct.pack("<H", len(entries)) + b"".join(
        struct.pack("<HHII", tag, *entry) for tag, entry in sorted(entries.items())
    )
    depths = struct.pack("<4H", stored, stored, stored, 0)
    return b"II*\0" + struct.pack("<I", places + 8) + body + depths + table + bytes(4)


SRGB = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
DISPLAY_P3 = (0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)


def with_primaries(primaries: tuple[float, ...], gamma: float = 1 / 2.2, *, says_srgb: bool = False) -> bytes:
    """The picture of `wide_gamut` in a PNG with these x and y of white, red, green and blue (cHRM), and a gamma."""
    pixels = np.asarray(Image.open(io.BytesIO(wide_gamut(b""))).convert("RGB"))
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    chunks = {b"sRGB": b"\0"} if says_srgb else {}
    chunks[b"cHRM"] = struct.pack(">8I", *(round(value * 100_000) for value in primaries))
    if gamma:
        chunks[b"gAMA"] = struct.pack(">I", round(gamma * 100_000))
    return png_of(struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 0), zlib.compress(rows), chunks)


def with_gamma(gamma: float, *, stated: float = 0, says_srgb: bool = False, profile: bytes = b"") -> bytes:
    """The scene in a PNG whose samples are light ** gamma, as chunk gAMA says unless another one is `stated`."""
    light = (np.asarray(scene()) / 255) ** 2.2
    rows = b"".join(b"\0" + row.tobytes() for row in (255 * light**gamma).round().astype(np.uint8))
    chunks = {b"sRGB": b"\0"} if says_srgb else {b"iCCP": b"p\0\0" + zlib.compress(profile)} if profile else {}
    chunks[b"gAMA"] = struct.pack(">I", round((stated or gamma) * 100_000))
    return png_of(struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 0), zlib.compress(rows), chunks)


def textured(form: str = "JPEG", bottom: int | None = None, **options: object) -> bytes:
    """A picture with detail everywhere, unless its lower half has one level."""
    pixels = np.random.default_rng(3).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).resize((256, 192), Image.Resampling.BICUBIC)
    if bottom is not None:
        image.paste((bottom,) * 3, (0, 96, 256, 192))
    return encoded(image, form, **({"quality": 85} if form == "JPEG" else {}) | options)


def closed(data: bytes, share: float, *, zeros: bool = False) -> bytes:
    """The first part of a JPEG with its end marker behind it, and perhaps zeros in place of the rest."""
    keep = int(len(data) * share)
    return data[:keep] + bytes(len(data) - keep - 2) * zeros + data[-2:]


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


def png_of(header: bytes, data: bytes, more: dict[bytes, bytes] | None = None) -> bytes:
    """A PNG with this IHDR, this IDAT and perhaps more chunks between them."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    between = b"".join(chunk(kind, body) for kind, body in (more or {}).items())
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + between + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def bomb() -> bytes:
    """A PNG of a few bytes that says it has 30,000 x 30,000 pixels."""
    return png_of(struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0), zlib.compress(b"\0" * 999))


def lying_png() -> bytes:
    """A PNG whose header promises more rows than its data has."""
    return png_of(struct.pack(">IIBBBBB", WIDTH, HEIGHT * 100, 8, 2, 0, 0, 0), zlib.compress(b"\0" * 999))
