"""Outlines of the drawn objects: polygons in an object's own coordinates.

An object lies in a square of about -1..1: x to the right, y down, the stalk end at the top (y = -1). Every
function is pure and returns float64 arrays of shape (points, 2) in that unit.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Skin:
    """Surface of one part: two colours and the strength of each texture.

    Attributes:
        colour: RGB in 0..1 at the stalk end.
        end: RGB in 0..1 at the other end.
        blend: how much of `end` is mixed in, 0..1.
        mottle: strength of soft colour patches, 0..1.
        pores: strength of fine dimples, 0..1.
        spots: share of dark spots, 0..1.
        stripes: strength of stripes along the axis, 0..1.
        rings: strength of rings around the axis, 0..1.
        rough: strength of the coarse relief, 0..1.
        gloss: strength of the highlight, 0..1.
    """

    colour: tuple[float, float, float]
    end: tuple[float, float, float]
    blend: float = 0.0
    mottle: float = 0.1
    pores: float = 0.0
    spots: float = 0.0
    stripes: float = 0.0
    rings: float = 0.0
    rough: float = 0.1
    gloss: float = 0.2


@dataclass(frozen=True)
class Part:
    """One solid part of an object, drawn after the parts before it.

    Attributes:
        polygons: closed outlines; later ones cover earlier ones.
        skin: the surface of the part.
        roundness: 1 for a full dome, near 0 for a flat sheet with a rounded rim.
        seams: open lines along which the relief sinks (petal edges, ribs, leaf veins).
        tint: spread of the brightness from polygon to polygon.
        split: whether each polygon keeps its own rim where it overlaps another.
    """

    polygons: tuple[Points, ...]
    skin: Skin
    roundness: float = 1.0
    seams: tuple[Points, ...] = field(default=())
    tint: float = 0.0
    split: bool = False


def wobble_curve(rng: np.random.Generator, angles: NDArray[np.float64], size: float) -> NDArray[np.float64]:
    """Return a smooth closed random curve around 1, used to make an outline irregular.

    Args:
        rng: source of the random phases.
        angles: angles in radians, shape (n,).
        size: standard deviation of the curve as a share of the radius, 0..0.3.

    Returns:
        float64 array of shape (n,), about 1.
    """
    curve = np.ones_like(angles)
    for order in range(2, 6):
        curve += size * rng.normal() / order**0.7 * np.cos(order * angles + rng.uniform(0, 2 * np.pi))
    return curve


def round_outline(
    rng: np.random.Generator,
    *,
    aspect: float,
    taper: float,
    block: float,
    tips: float,
    dent: float,
    tail: float,
    lobes: int,
    lobe_depth: float,
    wobble: float,
) -> Points:
    """Return the outline of a body that is round or nearly so.

    Args:
        rng: source of the irregularities.
        aspect: length over width, 0.4..2.5.
        taper: above 0 the top is wider than the bottom, -0.5..0.5.
        block: 0 for an ellipse, towards 1 for a box with rounded corners.
        tips: size of the nipples at both ends, as a share of the radius.
        dent: depth of the dimple at the top, as a share of the radius.
        tail: length of the thin root at the bottom, as a share of the radius.
        lobes: number of bulges around the outline; 0 for none.
        lobe_depth: height of the bulges, as a share of the radius.
        wobble: irregularity, see `wobble_curve`.

    Returns:
        float64 array of shape (240, 2), closed without repeating the first point.
    """
    angles = np.linspace(0, 2 * np.pi, 240, endpoint=False)
    power = 1 - 0.5 * block
    x = np.sign(np.sin(angles)) * np.abs(np.sin(angles)) ** power
    y = -np.sign(np.cos(angles)) * np.abs(np.cos(angles)) ** power
    from_top = np.abs((angles + np.pi) % (2 * np.pi) - np.pi)
    from_bottom = np.pi - from_top
    radius = wobble_curve(rng, angles, wobble)
    if lobes > 0:
        radius += lobe_depth * np.cos(lobes * angles + rng.uniform(0, 2 * np.pi))
    unequal = rng.uniform(0.5, 1.0)
    radius += tips * (unequal * np.exp(-((from_top / 0.3) ** 2)) + np.exp(-((from_bottom / 0.3) ** 2)))
    radius -= dent * np.exp(-((from_top / 0.45) ** 2))
    x, y = x * radius, y * radius
    x = x * (1 - taper * y)
    length, width = (1.0, 1 / aspect) if aspect >= 1 else (aspect, 1.0)
    points = np.stack([x * width, y * length], axis=1)
    spike = tail * (0.55 * np.exp(-((from_bottom / 0.09) ** 2)) + 0.45 * np.exp(-((from_bottom / 0.25) ** 2)))
    sway = rng.normal(0, 0.35)
    points[:, 1] += spike
    points[:, 0] += sway * spike**2
    return points


def spine_points(length: float, bend: float, count: int = 60) -> tuple[Points, Points]:
    """Return a circular-arc spine and its unit normals.

    Args:
        length: length of the arc.
        bend: total turn in radians; 0 for a straight line.
        count: number of points.

    Returns:
        Two float64 arrays of shape (count, 2): the points from top to bottom, and the normals.
    """
    turn = np.linspace(-bend / 2, bend / 2, count)
    step = length / (count - 1)
    heading = np.stack([np.sin(turn), np.cos(turn)], axis=1)
    points = np.cumsum(heading * step, axis=0)
    points -= points.mean(axis=0)
    normals = np.stack([heading[:, 1], -heading[:, 0]], axis=1)
    return points, normals


def swept_outline(
    rng: np.random.Generator,
    *,
    length: float,
    width: float,
    bend: float,
    top: float,
    bottom: float,
    wobble: float = 0.0,
    origin: tuple[float, float] = (0.0, 0.0),
    angle: float | None = None,
) -> Points:
    """Return the outline of a body swept along a bent spine (a pod, a stalk, a leaf, a petal).

    Args:
        rng: source of the irregularities.
        length: length of the spine.
        width: largest half width.
        bend: total turn of the spine in radians.
        top: share of the length over which the width grows from the top, 0.02..1.
        bottom: share of the length over which it shrinks to the bottom, 0.02..1.
        wobble: irregularity of the width, as a share of it.
        origin: where the top of the spine goes, used only with `angle`.
        angle: direction of growth in radians, 0 being up; None leaves the spine centred and upright.

    Returns:
        float64 array of shape (120, 2), closed without repeating the first point.
    """
    spine, normals = spine_points(length, bend)
    along = np.linspace(0, 1, len(spine))
    rise = np.clip(along / max(top, 0.02), 0, 1)
    fall = np.clip((1 - along) / max(bottom, 0.02), 0, 1)
    profile = np.sin(rise * np.pi / 2) ** 0.7 * np.sin(fall * np.pi / 2) ** 0.7
    uneven = np.ones_like(along)
    for order in range(1, 5):
        uneven += wobble * rng.normal() / order**0.5 * np.cos(order * np.pi * along + rng.uniform(0, 2 * np.pi))
    half = (width * profile * uneven)[:, None]
    outline = np.concatenate([spine + normals * half, (spine - normals * half)[::-1]])
    if angle is None:
        return outline
    outline = outline - spine[0]
    grown: Points = turned(outline, angle + np.pi + bend / 2) + np.asarray(origin)
    return grown


def petal_outline(length: float, width: float, point: float, angle: float, start: float = 0.0) -> Points:
    """Return one petal growing from the centre.

    Args:
        length: from the centre to the end of the petal.
        width: largest half width.
        point: 0 for a rounded end, 1 for a sharp one.
        angle: direction in radians, 0 being up.
        start: distance from the centre at which the petal begins.

    Returns:
        float64 array of shape (48, 2).
    """
    along = np.linspace(0, 1, 24)
    profile = np.sin(np.pi * along**0.8) ** (0.55 + 0.6 * point) * (1 - 0.25 * point * along)
    y = -(start + (length - start) * along)
    outline = np.concatenate([np.stack([width * profile, y], axis=1), np.stack([-width * profile, y], axis=1)[::-1]])
    return turned(outline, angle)


def turned(points: Points, angle: float) -> Points:
    """Return the points turned by `angle` radians, clockwise as seen in the picture; shape kept."""
    cos, sin = np.cos(angle), np.sin(angle)
    moved: Points = points @ np.array([[cos, sin], [-sin, cos]])
    return moved


def rib_lines(rng: np.random.Generator, count: int, width: float, top: float, bottom: float) -> tuple[Points, ...]:
    """Return the lines between the ribs of a lobed body, from the top pole to the bottom.

    Args:
        rng: source of the positions.
        count: number of lines, 0 or more.
        width: half width of the body.
        top: y of the upper pole.
        bottom: y of the lower pole.

    Returns:
        `count` float64 arrays of shape (20, 2).
    """
    along = np.linspace(0.04, 0.9, 20)
    shares = np.linspace(-0.55, 0.55, count + 2)[1:-1] + rng.normal(0, 0.06, count)
    y = top + (bottom - top) * along
    return tuple(np.stack([width * share * np.sin(np.pi * along) ** 0.6, y], axis=1) for share in shares)
