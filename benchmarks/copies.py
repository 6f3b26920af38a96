"""Changes that make a near duplicate of a picture, as people and web sites make them. Depends on Pillow."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFont, ImageOps

from podium.core.errors import DataError
from podium.data.decode import decode

Change = Callable[[Image.Image], Image.Image]


def encoded(image: Image.Image, kind: str, quality: int = 75) -> Image.Image:
    """The picture after a file of that kind."""
    file = io.BytesIO()
    image.save(file, kind, quality=quality)
    return Image.open(io.BytesIO(file.getvalue())).convert("RGB")


def halved(image: Image.Image) -> Image.Image:
    """Half the width and height."""
    return image.resize((max(1, image.width // 2), max(1, image.height // 2)), Image.Resampling.BICUBIC)


def cropped(image: Image.Image, share: float = 0.05) -> Image.Image:
    """Without a share of the width and height on every side."""
    x, y = round(image.width * share), round(image.height * share)
    return image.crop((x, y, image.width - x, image.height - y))


def watermarked(image: Image.Image, across: float = 0.62, down: float = 0.85) -> Image.Image:
    """With a line of half-transparent text, a third of the width long."""
    layer = Image.new("RGBA", image.size)
    font = ImageFont.load_default(size=max(6, image.width // 14))
    place = (image.width * across, image.height * down)
    ImageDraw.Draw(layer).text(place, "(c) photo", font=font, fill=(255, 255, 255, 180))
    return Image.alpha_composite(image.convert("RGBA"), layer).convert("RGB")


CHANGES: dict[str, Change] = {
    "JPEG quality 30": lambda image: encoded(image, "JPEG", 30),
    "half the size": halved,
    "5 % cropped off every side": cropped,
    "20 % brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
    "20 % darker": lambda image: ImageEnhance.Brightness(image).enhance(0.8),
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "turned by 3 degrees": lambda image: image.rotate(3, Image.Resampling.BICUBIC),
    "watermark": watermarked,
    "WebP": lambda image: encoded(image, "WEBP", 80),
}


def letterboxed(image: Image.Image) -> Image.Image:
    """In the middle of a black square."""
    side = max(image.size)
    return ImageOps.pad(image, (side, side))


def captioned(image: Image.Image) -> Image.Image:
    """Above a white bar of 15 % of the height, with a line of text."""
    bar = round(image.height * 0.15)
    out = ImageOps.expand(image, (0, 0, 0, bar), "white")
    font = ImageFont.load_default(size=max(6, bar // 2))
    ImageDraw.Draw(out).text((8, image.height + bar // 4), "A photograph of a thing", fill="black", font=font)
    return out


def cut_out(image: Image.Image) -> Image.Image:
    """Without a grey rectangle of 40 % of the width and height in the middle."""
    out, (width, height) = image.copy(), image.size
    ImageDraw.Draw(out).rectangle((width * 0.3, height * 0.3, width * 0.7, height * 0.7), fill=(114, 114, 114))
    return out


SQUARE_SYMMETRIES: dict[str, Change] = {
    "quarter turn": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "half turn": lambda image: image.transpose(Image.Transpose.ROTATE_180),
    "three-quarter turn": lambda image: image.transpose(Image.Transpose.ROTATE_270),
    "upside down": lambda image: image.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
    "transposed": lambda image: image.transpose(Image.Transpose.TRANSPOSE),
    "transverse": lambda image: image.transpose(Image.Transpose.TRANSVERSE),
}
LARGE_CHANGES: dict[str, Change] = {
    **SQUARE_SYMMETRIES,
    "greyscale": lambda image: image.convert("L").convert("RGB"),
    "10 % cropped off every side": lambda image: cropped(image, 0.1),
    "15 % cropped off every side": lambda image: cropped(image, 0.15),
    "20 % cropped off every side": lambda image: cropped(image, 0.2),
    "the upper left 70 %": lambda image: image.crop((0, 0, round(image.width * 0.7), round(image.height * 0.7))),
    "white frame": lambda image: ImageOps.expand(image, round(0.08 * max(image.size)), "white"),
    "letterbox": letterboxed,
    "stretched to a square": lambda image: image.resize((max(image.size),) * 2, Image.Resampling.BICUBIC),
    "turned by 10 degrees": lambda image: image.rotate(10, Image.Resampling.BICUBIC),
    "turned by 15 degrees": lambda image: image.rotate(15, Image.Resampling.BICUBIC),
    "caption bar": captioned,
    "square cut out": cut_out,
}


def pictures(archive: Path, count: int = 0, side: int | None = None) -> tuple[list[str], list[Image.Image]]:
    """Readable pictures of an archive and their names.

    Args:
        archive: a zip; its JPEG files count.
        count: how many are drawn, always the same; all of them by default.
        side: pixels that the longer side is shrunk to.
    """
    with zipfile.ZipFile(archive) as source:
        names = sorted(name for name in source.namelist() if name.lower().endswith((".jpg", ".jpeg")))
        if 0 < count < len(names):
            names = sorted(np.random.default_rng(0).choice(names, count, replace=False).tolist())
        kept, images = [], []
        for name in names:
            try:
                image = decode(source.read(name), 50_000_000).image
            except DataError:
                continue
            if side is not None:
                image.thumbnail((side, side))
            images.append(image)
            kept.append(name)
    return kept, images
