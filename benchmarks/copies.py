"""Changes that make a near duplicate of a picture, as people and web sites make them. Depends on Pillow."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFont

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


def pictures(archive: Path, count: int = 0) -> tuple[list[str], list[Image.Image]]:
    """Readable pictures of an archive and their names, all of them or a fixed draw of `count`."""
    with zipfile.ZipFile(archive) as source:
        names = sorted(name for name in source.namelist() if name.endswith(".jpg"))
        if 0 < count < len(names):
            names = sorted(np.random.default_rng(0).choice(names, count, replace=False).tolist())
        kept, images = [], []
        for name in names:
            try:
                images.append(decode(source.read(name), 50_000_000).image)
            except DataError:
                continue
            kept.append(name)
    return kept, images
