"""Compose a picture: surface, clutter, shadow, objects, occluder and camera, and say what is in it.

Every picture is a pure function of (seed, class, index): one `SeedSequence` of these three numbers feeds every
choice, so a picture can be drawn alone and in any order.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sample_backdrop import Canvas, add_clutter, backdrop, occluder_polygons, occluder_skin
from sample_kinds import Kind
from sample_objects import object_parts
from sample_renderer import Frame, Layer, Light, Mask, draw_object, polygon_mask
from sample_shapes import Part, Points
from scipy import ndimage

HARD_MODES = ("occluded", "busy", "rotated", "several")


@dataclass(frozen=True)
class Style:
    """How hard the pictures are.

    Attributes:
        hard_share: share of pictures with at least one of the four hard modes, 0..1.
        second_mode_share: share of these with a second mode, 0..1.
        partner_share: chance that a second object comes from the class this one is confused with, 0..1.
    """

    hard_share: float = 0.24
    second_mode_share: float = 0.3
    partner_share: float = 0.6


@dataclass(frozen=True)
class Truth:
    """What is known about a picture.

    Attributes:
        box: x0, y0, x1, y1 of the whole object in pixels of the finished picture; x1 and y1 exclusive.
        occlusion: share of the object's pixels hidden by something else, 0..1.
        clutter: share of the surface covered by clutter, 0..1.
        objects: number of objects, 1..4.
        view: front or rotated.
        other_label: class of the second object; empty if there is none.
    """

    box: tuple[int, int, int, int]
    occlusion: float
    clutter: float
    objects: int
    view: str
    other_label: str


@dataclass(frozen=True)
class Picture:
    """A finished picture: uint8 RGB (size, size, 3), its truth, and the object's masks (size, size): whole, seen."""

    pixels: NDArray[np.uint8]
    truth: Truth
    mask: NDArray[np.bool_]
    visible: NDArray[np.bool_]


@dataclass(frozen=True)
class _Placed:
    """An object and its place in the picture, before it is drawn."""

    label: str
    parts: tuple[Part, ...]
    frame: Frame


@dataclass(frozen=True)
class _Pose:
    """How an object lies: turn in radians, squash of its axis, larger side and centre of its box in pixels."""

    turn: float
    squash: float
    extent: float
    centre: Points


def picture_rng(seed: int, label: str, index: int) -> np.random.Generator:
    """Return the generator of one picture; it depends on nothing but the three arguments."""
    words = [seed, zlib.crc32(label.encode()), index]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(words)))


def draw_picture(
    seed: int,
    kind: Kind,
    index: int,
    *,
    size: int,
    others: Sequence[Kind],
    partners: dict[str, str] | None = None,
    style: Style | None = None,
) -> Picture:
    """Draw one picture of one class.

    Args:
        seed: seed of the whole set.
        kind: class of the main object.
        index: number of the picture within its class, 0 or more.
        size: side of the picture in pixels, 32 or more.
        others: classes a second object may come from; `kind` itself is left out.
        partners: for each class the one it is most easily confused with.
        style: how hard the pictures are.

    Returns:
        The picture; the same arguments give the same bytes.

    Raises:
        ValueError: `size` is below 32 or `index` is negative.
    """
    if size < 32 or index < 0:
        raise ValueError(f"size must be at least 32 and index at least 0, not {size} and {index}")
    rng = picture_rng(seed, kind.name, index)
    style = style or Style()
    modes = _modes(rng, style)
    full = 2 * size
    light = _light(rng)
    canvas = backdrop(rng, full)
    company = _company(kind, others, (partners or {}).get(kind.name))
    things = _place(rng, (kind, *company), modes, style, full)
    layers = [draw_object(rng, thing.parts, thing.frame, light, full) for thing in things]
    if "busy" in modes:
        add_clutter(rng, canvas, light)
    whole, visible = _compose(rng, canvas, layers, light, occluded="occluded" in modes)
    hidden = 1 - float(visible.sum()) / max(float(whole.sum()), 1.0)
    # Below this only soft edges touch, which nobody would call hidden.
    hidden = hidden if hidden > 0.02 else 0.0
    truth = Truth(
        box=_box(whole, size),
        occlusion=round(hidden, 4),
        clutter=_clutter_share(canvas, whole),
        objects=len(things),
        view="rotated" if "rotated" in modes else "front",
        other_label=things[1].label if len(things) > 1 else "",
    )
    mask = whole.reshape(size, 2, size, 2).max(axis=(1, 3)) > 0.5
    seen = visible.reshape(size, 2, size, 2).mean(axis=(1, 3)) > 0.5
    return Picture(_camera(rng, canvas.colour, size), truth, mask, seen)


def _modes(rng: np.random.Generator, style: Style) -> frozenset[str]:
    """Return the hard modes of a picture; most have none."""
    order = [HARD_MODES[i] for i in rng.permutation(len(HARD_MODES))]
    first, second = rng.uniform(size=2)
    if first >= style.hard_share:
        return frozenset()
    return frozenset(order[: 2 if second < style.second_mode_share else 1])


def _light(rng: np.random.Generator) -> Light:
    """Return a light from above, from any side but mostly from the top of the picture."""
    around = rng.normal(-np.pi / 2, 0.8)
    height = rng.uniform(0.55, 1.15)
    flat = np.cos(height)
    return Light(
        x=float(flat * np.cos(around)),
        y=float(flat * np.sin(around)),
        z=float(np.sin(height)),
        ambient=float(rng.uniform(0.28, 0.55)),
    )


def _company(kind: Kind, others: Sequence[Kind], partner: str | None) -> tuple[Kind, ...]:
    """Return the classes a second object may come from, the partner (if it is among them) first."""
    pool = tuple(other for other in others if other.name != kind.name)
    return (*(other for other in pool if other.name == partner), *pool)


def _put(label: str, parts: tuple[Part, ...], pose: _Pose, full: int) -> _Placed:
    """Return an object placed so that its box has the pose's size and stays inside the picture."""
    loose = Frame(0.0, 0.0, 1.0, pose.turn, pose.squash)
    corners = np.concatenate([loose.to_pixels(points) for part in parts for points in part.polygons])
    low, high = corners.min(axis=0), corners.max(axis=0)
    scale = pose.extent / float((high - low).max())
    half = (high - low) / 2 * scale
    wanted = np.clip(pose.centre, half + 2, np.maximum(full - half - 2, half + 2))
    origin = wanted - (low + high) / 2 * scale
    return _Placed(label, parts, Frame(float(origin[0]), float(origin[1]), float(scale), pose.turn, pose.squash))


def _place(
    rng: np.random.Generator, kinds: tuple[Kind, ...], modes: frozenset[str], style: Style, full: int
) -> list[_Placed]:
    """Return the main object (of the first kind) and, with mode `several`, one to three more."""
    kind, pool = kinds[0], kinds[1:]
    middle = np.array([full / 2, full / 2])
    several = "several" in modes
    turn, squash = _pose(rng, rotated="rotated" in modes)
    away = rng.uniform(0, 2 * np.pi)
    direction = np.array([np.cos(away), np.sin(away)])
    extent = full * (rng.uniform(0.5, 0.64) if several else rng.uniform(0.62, 0.92))
    shift = direction * full * 0.17 if several else rng.normal(0, 0.05, 2) * full
    parts = object_parts(rng, *kind.draw(rng))
    things = [_put(kind.name, parts, _Pose(turn, squash, extent, middle + shift), full)]
    if not several or not pool:
        return things
    # With a partner the pool holds it twice: first, and at its own place.
    paired = pool[0] in pool[1:]
    close = paired and rng.uniform() < style.partner_share
    other = pool[0] if close else pool[paired:][int(rng.integers(len(pool) - paired))]
    for number in range(int(rng.choice(3, p=[0.6, 0.25, 0.15])) + 1):
        extra = other if number == 0 or rng.uniform() < 0.6 else kind
        things.append(_extra(rng, extra, away, full, first=number == 0))
    return things


def _extra(rng: np.random.Generator, kind: Kind, away: float, full: int, *, first: bool) -> _Placed:
    """Return a smaller object on the other side of the picture, the first one straight across."""
    parts = object_parts(rng, *kind.draw(rng))
    angle = away + np.pi + (0 if first else rng.choice([-1, 1]) * rng.uniform(0.8, 1.5))
    spot = full / 2 + np.array([np.cos(angle), np.sin(angle)]) * full * rng.uniform(0.22, 0.3)
    turn, squash = _pose(rng, rotated=False)
    return _put(kind.name, parts, _Pose(turn, squash, full * rng.uniform(0.36, 0.54), spot), full)


def _pose(rng: np.random.Generator, *, rotated: bool) -> tuple[float, float]:
    """Return turn (radians) and squash: near upright, or turned far and seen at a slant."""
    if rotated:
        return float(rng.choice([-1, 1]) * rng.uniform(1.25, np.pi)), float(rng.uniform(0.5, 0.78))
    return float(np.clip(rng.normal(0, 0.3), -0.6, 0.6)), float(rng.uniform(0.9, 1.0))


def _compose(
    rng: np.random.Generator, canvas: Canvas, layers: list[Layer], light: Light, *, occluded: bool
) -> tuple[Mask, Mask]:
    """Put the objects and an occluder on the canvas; return the main object's whole mask and what is seen of it."""
    order = list(range(len(layers)))
    if len(layers) > 1 and rng.uniform() < 0.5:
        order = [*order[1:], 0]
    main = layers[0].cover
    visible = np.zeros_like(main)
    depth, reach = rng.uniform(0.3, 0.6), rng.uniform(0.03, 0.08)
    for position in order:
        layer = layers[position]
        _cast_shadow(canvas, layer.cover, light, depth, reach)
        canvas.paint(layer.colour, layer.cover)
        visible = main.copy() if position == 0 else visible * (1 - layer.cover)
    if occluded:
        visible = visible * (1 - _add_occluder(rng, canvas, main, light))
    return main, visible


def _cast_shadow(canvas: Canvas, cover: Mask, light: Light, depth: float, reach: float) -> None:
    """Darken the canvas beside an object, away from the light, and just below it."""
    size = cover.shape[0]
    offset = (-light.y * reach * size, -light.x * reach * size)
    small = cover[::2, ::2]
    thrown = ndimage.shift(small, (offset[0] / 2, offset[1] / 2), order=1, mode="constant")
    thrown = ndimage.gaussian_filter(thrown, 0.018 * size)
    contact = ndimage.gaussian_filter(small, 0.007 * size)
    dark = np.clip(depth * np.maximum(thrown, 0.8 * contact), 0, 0.85).astype(np.float32)
    wide = Image.fromarray(dark).resize((size, size), Image.Resampling.BILINEAR)
    canvas.colour *= 1 - np.asarray(wide, dtype=np.float32)[..., None]


def _add_occluder(rng: np.random.Generator, canvas: Canvas, cover: Mask, light: Light) -> Mask:
    """Put a hand, leaf, box or band in front of the object, hiding a fifth to three fifths of it."""
    size = cover.shape[0]
    name, polygons = occluder_polygons(rng)
    target = rng.uniform(0.2, 0.6)
    around = float(rng.uniform(0, 2 * np.pi))
    row, column = ndimage.center_of_mass(cover)
    towards, amount = np.array([np.sin(around), -np.cos(around)]), max(float(cover.sum()), 1.0)

    def miss(frame: Frame) -> float:
        """Return how far the share hidden from this frame is from the wanted one."""
        mask = polygon_mask((size, size), tuple(frame.to_pixels(points) for points in polygons))
        return abs(float((mask * cover).sum()) / amount - target)

    spots = [np.array([column, row]) + distance * towards for distance in np.linspace(0.9, 0.0, 13) * size * 0.75]
    frame = min((Frame(float(x), float(y), size * 0.5, around) for x, y in spots), key=miss)
    part = Part(polygons, occluder_skin(rng, name), roundness=0.5 if name in ("hand", "leaf") else 0.12, split=True)
    layer = draw_object(rng, (part,), frame, light, size)
    _cast_shadow(canvas, layer.cover, light, 0.4, 0.04)
    canvas.paint(layer.colour, layer.cover)
    return layer.cover


def _box(cover: Mask, size: int) -> tuple[int, int, int, int]:
    """Return the box of a mask of twice the picture's size, in the picture's pixels."""
    rows, columns = np.flatnonzero(cover.max(axis=1) > 0.5), np.flatnonzero(cover.max(axis=0) > 0.5)
    return (
        int(columns[0] // 2),
        int(rows[0] // 2),
        min(int(columns[-1] // 2) + 1, size),
        min(int(rows[-1] // 2) + 1, size),
    )


def _clutter_share(canvas: Canvas, cover: Mask) -> float:
    """Return the share of the pixels outside the object that clutter covers."""
    outside = 1 - cover
    return round(float((canvas.clutter * outside).sum() / max(float(outside.sum()), 1.0)), 4)


def _camera(rng: np.random.Generator, colour: NDArray[np.float32], size: int) -> NDArray[np.uint8]:
    """Return the picture as a small camera would take it: colour cast, exposure, blur, vignette and noise."""
    small = colour.reshape(size, 2, size, 2, 3).mean(axis=(1, 3))
    small = ndimage.gaussian_filter(small, (*[rng.uniform(0.0, 0.75)] * 2, 0))
    warm = rng.normal(0, 0.045)
    gains = np.array([1 + warm, 1 + rng.normal(0, 0.012), 1 - warm], dtype=np.float32)
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j].astype(np.float32)
    vignette = 1 - rng.uniform(0, 0.22) * (x**2 + y**2) / 2
    small = small * gains * np.clip(rng.normal(1.0, 0.1), 0.75, 1.25) * vignette[..., None]
    # A soft shoulder keeps highlights from clipping to flat white.
    small = np.where(small > 0.8, 0.8 + 0.2 * np.tanh((small - 0.8) / 0.25), small)
    small = small + rng.normal(0, rng.uniform(0.006, 0.028), small.shape)
    pixels: NDArray[np.uint8] = (np.clip(small, 0, 1) * 255 + 0.5).astype(np.uint8)
    return pixels
