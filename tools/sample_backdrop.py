"""Surfaces the objects lie on, the clutter of busy ones, and the things that hide an object."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from sample_objects import hsv
from sample_renderer import Light, Mask, dome, noise_field, shade
from sample_shapes import Points, Skin, petal_outline, swept_outline, turned
from scipy import ndimage

Rgb = NDArray[np.float32]


@dataclass
class Canvas:
    """The picture being painted.

    Attributes:
        colour: float32 RGB, shape (size, size, 3), about 0..1.
        clutter: float32 mask of the clutter, shape (size, size).
    """

    colour: Rgb
    clutter: Mask

    def paint(self, colour: Rgb, cover: Mask) -> None:
        """Lay a colour over the canvas where `cover` (0..1) says so."""
        self.colour = self.colour * (1 - cover[..., None]) + colour * cover[..., None]


def backdrop(rng: np.random.Generator, size: int) -> Canvas:
    """Return an empty surface of a random sort.

    Args:
        rng: source of the sort, colour and texture.
        size: side in pixels.

    Returns:
        A canvas without clutter.
    """
    sorts: tuple[Callable[[np.random.Generator, int], Rgb], ...] = (_plain, _studio, _wood, _cloth, _stone)
    colour = sorts[int(rng.choice(len(sorts), p=[0.22, 0.22, 0.24, 0.18, 0.14]))](rng, size)
    falloff = 1 + 0.06 * noise_field(rng, (size, size), 2)
    return Canvas((colour * falloff[..., None]).astype(np.float32), np.zeros((size, size), dtype=np.float32))


def _surface_colour(rng: np.random.Generator) -> Rgb:
    """Return a colour for a table, wall or cloth: mostly pale or grey, sometimes strong."""
    if rng.uniform() < 0.7:
        return np.array(hsv(rng.uniform(0, 1), rng.uniform(0.02, 0.22), rng.uniform(0.45, 0.93)), dtype=np.float32)
    return np.array(hsv(rng.uniform(0, 1), rng.uniform(0.3, 0.65), rng.uniform(0.25, 0.8)), dtype=np.float32)


def _plain(rng: np.random.Generator, size: int) -> Rgb:
    """Return a painted table top."""
    light = 1 + 0.02 * noise_field(rng, (size, size), 40) + 0.05 * noise_field(rng, (size, size), 3)
    return (_surface_colour(rng) * light[..., None]).astype(np.float32)


def _studio(rng: np.random.Generator, size: int) -> Rgb:
    """Return a wall that turns into a table at a soft horizon."""
    y = np.linspace(0, 1, size, dtype=np.float32)[:, None]
    horizon, soft = rng.uniform(0.25, 0.6), rng.uniform(0.01, 0.15)
    floor = (1 / (1 + np.exp(-(y - horizon) / soft)))[..., None]
    wall, table = _surface_colour(rng), _surface_colour(rng)
    shade_of = (0.85 + 0.25 * y)[..., None]
    return (np.broadcast_to((wall * (1 - floor) + table * floor) * shade_of, (size, size, 3))).astype(np.float32)


def _wood(rng: np.random.Generator, size: int) -> Rgb:
    """Return planks with grain, along or across the picture."""
    planks = int(rng.integers(2, 6))
    across = np.arange(size) * planks / size + rng.uniform(0, 1)
    plank = np.floor(across).astype(int)
    grain = noise_field(rng, (size, size), 5)
    streaks = np.repeat(noise_field(rng, (size, 8), 70)[:, 3:4], size, axis=1)
    rings = np.sin(
        across[:, None] * 34 + 2.4 * grain + np.repeat(rng.uniform(0, 9, planks + 2)[plank][:, None], size, 1)
    )
    tone = 1 + rng.normal(0, 0.09, planks + 2)[plank][:, None] + 0.06 * rings + 0.05 * streaks
    gap = np.minimum(across % 1, 1 - across % 1)[:, None] < 0.02
    tone = np.where(gap, 0.45, tone)
    base = np.array(hsv(rng.uniform(0.05, 0.11), rng.uniform(0.2, 0.6), rng.uniform(0.35, 0.82)), dtype=np.float32)
    surface = base * tone[..., None]
    return (surface if rng.uniform() < 0.6 else surface.swapaxes(0, 1)).astype(np.float32)


def _cloth(rng: np.random.Generator, size: int) -> Rgb:
    """Return woven cloth with folds, plain or with checks."""
    y, x = np.mgrid[0:size, 0:size].astype(np.float32)
    fold = noise_field(rng, (size, size), 4)
    thread = rng.uniform(1.6, 2.6)
    weave = np.sin(x / thread + fold) * np.sin(y / thread - fold)
    tone = 1 + 0.045 * weave + 0.1 * fold
    surface = _surface_colour(rng) * tone[..., None]
    if rng.uniform() < 0.35:
        second, width = _surface_colour(rng), size / rng.uniform(4, 9)
        checks = ((x + 5 * fold) // width % 2 + (y + 5 * fold) // width % 2)[..., None] / 2
        surface = surface * (1 - 0.45 * checks) + second * tone[..., None] * 0.45 * checks
    cloth: Rgb = surface.astype(np.float32)
    return cloth


def _stone(rng: np.random.Generator, size: int) -> Rgb:
    """Return a speckled stone top."""
    veins = np.abs(noise_field(rng, (size, size), 6)) < 0.12
    specks = noise_field(rng, (size, size), size / 3)
    tone = 1 + 0.1 * np.sign(specks) * (np.abs(specks) > 1.2) + 0.06 * noise_field(rng, (size, size), 9)
    tone = tone - 0.1 * ndimage.gaussian_filter(veins.astype(np.float32), 1.0)
    stone: Rgb = (_surface_colour(rng) * tone[..., None]).astype(np.float32)
    return stone


def add_clutter(rng: np.random.Generator, canvas: Canvas, light: Light) -> None:
    """Strew crumbs, tiles, sticks, paper and discs over the canvas and mark them as clutter.

    Args:
        rng: source of number, place and look.
        canvas: changed in place.
        light: the light that shades the pieces.
    """
    size = canvas.clutter.shape[0]
    count = int(rng.integers(22, 70))
    palette = [hsv(rng.uniform(0, 1), rng.uniform(0.1, 0.9), rng.uniform(0.2, 0.95)) for _ in range(6)]
    picture = Image.new("RGB", (size, size))
    pen = ImageDraw.Draw(picture)
    cover = Image.new("L", (size, size), 0)
    stencil = ImageDraw.Draw(cover)
    rims = Image.new("L", (size, size), 0)
    edges = ImageDraw.Draw(rims)
    for _ in range(count):
        outline = _scrap(rng) * size * rng.uniform(0.045, 0.15) + rng.uniform(0, size, 2)
        corners = [(float(x), float(y)) for x, y in outline]
        colour = np.array(palette[int(rng.integers(6))]) * rng.uniform(0.75, 1.2)
        red, green, blue = (int(channel) for channel in np.clip(colour * 255, 0, 255))
        pen.polygon(corners, fill=(red, green, blue))
        stencil.polygon(corners, fill=255)
        edges.polygon(corners, fill=255)
        edges.line([*corners, corners[0]], fill=0, width=1)
    mask = (np.asarray(cover, dtype=np.float32) / 255).astype(np.float32)
    relief = dome((np.asarray(rims, dtype=np.float32) / 255).astype(np.float32), 0.5, 0.03)
    relief = relief + 0.5 * noise_field(rng, (size, size), 30)
    lit = shade((np.asarray(picture, dtype=np.float32) / 255).astype(np.float32), relief, light, 0.15)
    shadow = ndimage.gaussian_filter(mask, 0.012 * size)
    canvas.colour = canvas.colour * (1 - 0.35 * shadow[..., None])
    canvas.paint(lit, ndimage.gaussian_filter(mask, 0.6))
    canvas.clutter = np.maximum(canvas.clutter, mask)


def _scrap(rng: np.random.Generator) -> Points:
    """Return the outline of one piece of clutter in a square of about -1..1."""
    sort = int(rng.integers(5))
    turn = float(rng.uniform(0, 2 * np.pi))
    if sort == 0:
        corners = int(rng.integers(3, 7))
        angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
        return np.stack([np.cos(angles), np.sin(angles)], axis=1)
    if sort == 1:
        angles = np.linspace(0, 2 * np.pi, 28, endpoint=False)
        return turned(np.stack([np.cos(angles), rng.uniform(0.5, 1.0) * np.sin(angles)], axis=1), turn)
    if sort == 2:
        return turned(swept_outline(rng, length=3.2, width=0.22, bend=rng.normal(0, 0.8), top=0.1, bottom=0.1), turn)
    if sort == 3:
        return petal_outline(2.0, rng.uniform(0.4, 0.8), 0.8, turn)
    high = rng.uniform(0.4, 1.0)
    return turned(np.array([[-1.0, -high], [1.0, -high], [1.0, high], [-1.0, high]]), turn)


def occluder_polygons(rng: np.random.Generator) -> tuple[str, tuple[Points, ...]]:
    """Return something that can lie in front of an object.

    Args:
        rng: source of the sort and its shape.

    Returns:
        Its name (hand, leaf, box or band) and its outlines in a frame where it comes in from the top.
    """
    name = ("hand", "leaf", "box", "band")[int(rng.integers(4))]
    if name == "hand":
        fingers = [
            swept_outline(rng, length=rng.uniform(0.75, 1.0), width=0.13, bend=rng.normal(0, 0.15), top=0.02,
                          bottom=0.12, wobble=0.04, origin=(x, -0.75), angle=np.pi + x * -0.25)
            for x in (-0.4, -0.14, 0.13, 0.38)
        ]  # fmt: skip
        palm = swept_outline(rng, length=1.7, width=0.56, bend=0.1, top=0.02, bottom=0.15, wobble=0.03,
                             origin=(0.0, -2.3), angle=np.pi)  # fmt: skip
        return name, (palm, *fingers)
    if name == "leaf":
        return name, tuple(
            swept_outline(rng, length=rng.uniform(1.2, 1.7), width=rng.uniform(0.25, 0.42), bend=rng.normal(0, 0.5),
                          top=0.4, bottom=0.7, wobble=0.06, origin=(x, -1.2), angle=np.pi + rng.normal(0, 0.35))
            for x in rng.uniform(-0.4, 0.4, int(rng.integers(2, 4)))
        )  # fmt: skip
    if name == "box":
        wide = rng.uniform(0.55, 1.1)
        slant = rng.normal(0, 0.12)
        return name, (np.array([[-wide, -2.0], [wide, -2.0], [wide, slant], [-wide, -slant]]),)
    half = rng.uniform(0.14, 0.3)
    return name, (np.array([[-3.0, -half], [3.0, -half], [3.0, half], [-3.0, half]]),)


def occluder_skin(rng: np.random.Generator, name: str) -> Skin:
    """Return the surface of an occluder of the given name; an unknown name looks like a band."""
    if name == "hand":
        tone = hsv(rng.uniform(0.03, 0.075), rng.uniform(0.28, 0.6), rng.uniform(0.35, 0.9))
        return Skin(tone, tone, mottle=0.15, rough=0.1, gloss=0.1)
    if name == "leaf":
        tone = hsv(rng.uniform(0.22, 0.36), rng.uniform(0.4, 0.7), rng.uniform(0.25, 0.55))
        return Skin(tone, tone, mottle=0.25, stripes=0.4, gloss=0.25)
    if name == "box":
        tone = hsv(rng.uniform(0.06, 0.1), rng.uniform(0.2, 0.5), rng.uniform(0.5, 0.8))
        return Skin(tone, tone, mottle=0.1, rings=0.4, rough=0.15, gloss=0.05)
    tone = hsv(rng.uniform(0, 1), rng.uniform(0.0, 0.8), rng.uniform(0.3, 0.95))
    return Skin(tone, tone, mottle=0.1, rough=0.05, gloss=0.4)
