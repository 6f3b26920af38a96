"""Draw one object as a shaded picture: outlines to relief, relief to light, light to pixels.

The relief of a part is the distance of each pixel from its rim, bent into a dome; its slope gives the shading.
Everything is drawn at twice the size of the finished picture and averaged down by the scene.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from sample_shapes import Part, Points, Skin, turned
from scipy import ndimage

Field = NDArray[np.float32]
Mask = NDArray[np.float32]


@dataclass(frozen=True)
class Light:
    """Where the light comes from, and how much of it is everywhere.

    Attributes:
        x: towards the light, to the right.
        y: towards the light, downwards.
        z: towards the camera; x, y and z have length 1 together.
        ambient: light that reaches every surface, 0..1.
    """

    x: float
    y: float
    z: float
    ambient: float


@dataclass(frozen=True)
class Frame:
    """Place of an object in the picture.

    Attributes:
        x: centre in pixels from the left.
        y: centre in pixels from the top.
        scale: pixels for one unit of the object.
        angle: turn in radians, clockwise.
        squash: factor on the object's axis; below 1 it is seen at a slant.
    """

    x: float
    y: float
    scale: float
    angle: float
    squash: float = 1.0

    def to_pixels(self, points: Points) -> Points:
        """Return object coordinates, shape (n, 2), as pixels of the same shape."""
        slanted = points * np.array([1.0, self.squash])
        placed: Points = turned(slanted, self.angle) * self.scale + np.array([self.x, self.y])
        return placed

    def to_object(self, x: Field, y: Field) -> tuple[Field, Field]:
        """Return pixel coordinates, any shape, as object coordinates of the same shape."""
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        dx, dy = (x - self.x) / self.scale, (y - self.y) / self.scale
        u = dx * cos + dy * sin
        v = (-dx * sin + dy * cos) / self.squash
        return u.astype(np.float32), v.astype(np.float32)


def noise_field(rng: np.random.Generator, shape: tuple[int, int], cells: float) -> Field:
    """Return smooth noise.

    Args:
        rng: source of the noise.
        shape: rows and columns of the result.
        cells: about how many bumps fit along the longer side, 1 or more.

    Returns:
        float32 array of the given shape, mean about 0 and standard deviation about 1.
    """
    longer = max(shape)
    rows = max(2, round(shape[0] / longer * cells) + 1)
    columns = max(2, round(shape[1] / longer * cells) + 1)
    coarse = rng.standard_normal((rows, columns)).astype(np.float32)
    image = Image.fromarray(coarse).resize((shape[1], shape[0]), Image.Resampling.BICUBIC)
    return np.asarray(image, dtype=np.float32) * np.float32(1.4)


def polygon_mask(shape: tuple[int, int], polygons: tuple[Points, ...]) -> Mask:
    """Return which pixels lie in any of the polygons.

    Args:
        shape: rows and columns of the result.
        polygons: outlines in pixels, each of shape (n, 2).

    Returns:
        float32 array of the given shape, 0 or 1.
    """
    image = Image.new("L", (shape[1], shape[0]), 0)
    pen = ImageDraw.Draw(image)
    for points in polygons:
        pen.polygon([(float(x), float(y)) for x, y in points], fill=255)
    return (np.asarray(image, dtype=np.float32) / 255).astype(np.float32)


def dome(solid: Mask, roundness: float, soften: float = 0.1) -> Field:
    """Return a relief that rises from the rim of a mask like an inflated sheet.

    Args:
        solid: float32 mask, 0 or 1.
        roundness: 1 for a full dome, near 0 for a flat sheet with a rounded rim.
        soften: how far ridges are smoothed, as a share of the largest distance from the rim.

    Returns:
        float32 array of the same shape: height in pixels.
    """
    depth: Field = ndimage.distance_transform_edt(solid > 0.5).astype(np.float32)
    top = float(depth.max())
    if top <= 0:
        return depth
    radius = max(top * max(roundness, 0.1), 1.0)
    inside = radius - np.minimum(depth, radius)
    height = np.sqrt(np.maximum(radius**2 - inside**2, 0))
    smooth: Field = ndimage.gaussian_filter(height, max(0.8, soften * top)).astype(np.float32)
    return smooth


def _tint_field(shape: tuple[int, int], outlines: tuple[Points, ...], rng: np.random.Generator, spread: float) -> Field:
    """Return a brightness for each pixel, constant within a polygon."""
    image = Image.new("F", (shape[1], shape[0]), 1.0)
    pen = ImageDraw.Draw(image)
    for points in outlines:
        level = float(np.clip(1 + spread * rng.normal(), 0.6, 1.4))
        pen.polygon([(float(x), float(y)) for x, y in points], fill=level)
    return np.asarray(image, dtype=np.float32)


def _relief_mask(shape: tuple[int, int], outlines: tuple[Points, ...], seams: tuple[Points, ...], split: bool) -> Mask:
    """Return the mask of a part with its seams (and the rims between its polygons) cut out."""
    image = Image.new("L", (shape[1], shape[0]), 0)
    pen = ImageDraw.Draw(image)
    for points in outlines:
        corners = [(float(x), float(y)) for x, y in points]
        pen.polygon(corners, fill=255)
        if split:
            pen.line([*corners, corners[0]], fill=0, width=1)
    for points in seams:
        pen.line([(float(x), float(y)) for x, y in points], fill=0, width=1)
    return (np.asarray(image, dtype=np.float32) / 255).astype(np.float32)


def _albedo(
    rng: np.random.Generator, skin: Skin, u: Field, v: Field, grain: float
) -> tuple[NDArray[np.float32], Field]:
    """Return the colour of each pixel, shape (rows, columns, 3), and the relief of its texture in pixels."""
    shape = (u.shape[0], u.shape[1])
    soft, fine = noise_field(rng, shape, 5), noise_field(rng, shape, max(4.0, grain))
    mix = np.clip(skin.blend * (0.5 + 0.9 * v) + 0.35 * skin.blend * soft, 0, 1)[..., None]
    colour = np.asarray(skin.colour, dtype=np.float32) * (1 - mix) + np.asarray(skin.end, dtype=np.float32) * mix
    light = 1 + skin.mottle * 0.45 * soft + 0.035 * fine
    bump = skin.rough * 1.1 * noise_field(rng, shape, 11) + 0.05 * fine
    if skin.pores > 0.05:
        holes = np.maximum(noise_field(rng, shape, max(8.0, grain * 1.5)) - 0.5, 0)
        light = light - 0.13 * skin.pores * holes
        bump = bump - 0.6 * skin.pores * holes
    if skin.rings > 0.05:
        wave = np.sin(v * rng.uniform(16, 26) + 1.6 * soft + 2.0 * u)
        light = light + 0.13 * skin.rings * wave
        bump = bump + 0.5 * skin.rings * wave
    if skin.stripes > 0.05:
        around = np.arctan2(u, 1.3 - np.abs(v) * 0.6)
        light = light + 0.16 * skin.stripes * np.sin(around * rng.uniform(14, 24) + soft)
    colour = colour * np.clip(light, 0.3, 1.6)[..., None]
    if skin.spots > 0.03:
        marks = np.clip((noise_field(rng, shape, 13) - (2.6 - 2.2 * skin.spots)) * 2.5, 0, 0.85)[..., None]
        colour = colour * (1 - marks) + np.asarray([0.22, 0.14, 0.07], dtype=np.float32) * marks
    return colour.astype(np.float32), bump.astype(np.float32)


def shade(colour: NDArray[np.float32], height: Field, light: Light, gloss: float) -> NDArray[np.float32]:
    """Return a surface lit from one side.

    Args:
        colour: float32 RGB in 0..1, shape (rows, columns, 3).
        height: float32 relief in pixels, shape (rows, columns).
        light: the light.
        gloss: strength of the highlight, 0..1.

    Returns:
        float32 RGB of the same shape, 0 and up (highlights may pass 1).
    """
    slope_y, slope_x = np.gradient(height)
    length = np.sqrt(slope_x**2 + slope_y**2 + 1)
    facing = (-slope_x * light.x - slope_y * light.y + light.z) / length
    diffuse = light.ambient + (1 - light.ambient) * 1.4 * np.maximum(facing, 0)
    # Half way between the light and the camera, which looks along z.
    halfway = np.sqrt(2 + 2 * light.z)
    mirror = (-slope_x * light.x - slope_y * light.y + light.z + 1) / (halfway * length)
    shine = gloss * 0.75 * np.clip(mirror, 0, 1) ** (18 + 40 * gloss)
    lit: NDArray[np.float32] = (colour * diffuse[..., None] + shine[..., None]).astype(np.float32)
    return lit


@dataclass
class Layer:
    """A drawn object: RGB of shape (size, size, 3) and its cover of shape (size, size), float32 in 0..1."""

    colour: NDArray[np.float32]
    cover: Mask


def draw_object(rng: np.random.Generator, parts: tuple[Part, ...], frame: Frame, light: Light, size: int) -> Layer:
    """Return an object drawn on an empty square.

    Args:
        rng: source of the texture.
        parts: the parts from back to front.
        frame: where the object lies.
        light: the light.
        size: side of the square in pixels.

    Returns:
        The layer; parts of the object outside the square are cut off.
    """
    layer = Layer(np.zeros((size, size, 3), dtype=np.float32), np.zeros((size, size), dtype=np.float32))
    for part in parts:
        _draw_part(rng, part, frame, light, layer)
    return layer


def _draw_part(rng: np.random.Generator, part: Part, frame: Frame, light: Light, layer: Layer) -> None:
    """Draw one part into the layer, working only on the box around it."""
    size = layer.cover.shape[0]
    outlines = tuple(frame.to_pixels(points) for points in part.polygons)
    corners = np.concatenate(outlines)
    left, top = (int(max(np.floor(edge) - 3, 0)) for edge in corners.min(axis=0))
    right, bottom = (int(min(np.ceil(edge) + 4, size)) for edge in corners.max(axis=0))
    if right - left < 2 or bottom - top < 2:
        return
    shape, offset = (bottom - top, right - left), np.array([left, top])
    outlines = tuple(points - offset for points in outlines)
    seams = tuple(frame.to_pixels(points) - offset for points in part.seams)
    soften = 0.04 if part.split else 0.12
    height = dome(_relief_mask(shape, outlines, (), part.split), part.roundness, soften)
    if seams:
        # Ribs and veins are shallow folds of the dome, not cuts through it.
        height = 0.62 * height + 0.38 * dome(_relief_mask(shape, outlines, seams, part.split), part.roundness, 0.08)
    y, x = np.mgrid[top:bottom, left:right].astype(np.float32)
    u, v = frame.to_object(x, y)
    colour, bump = _albedo(rng, part.skin, u, v, grain=max(shape) / 4.5)
    if part.tint > 0:
        colour = colour * _tint_field(shape, outlines, rng, part.tint)[..., None]
    lit = shade(colour, height + bump * (size / 192), light, part.skin.gloss)
    cover = ndimage.gaussian_filter(polygon_mask(shape, outlines), 0.6)
    window = (slice(top, bottom), slice(left, right))
    # A part darkens what lies just below it; without this, sepals and petals look pasted on.
    near = ndimage.gaussian_filter(cover, 0.02 * size)
    layer.colour[window] *= (1 - 0.35 * near * (1 - cover))[..., None]
    layer.colour[window] = layer.colour[window] * (1 - cover[..., None]) + lit * cover[..., None]
    layer.cover[window] = np.maximum(layer.cover[window], cover)
