"""From traits to parts: which outlines make up an object of each family, from back to front."""

from __future__ import annotations

import colorsys

import numpy as np
from sample_kinds import Traits
from sample_shapes import (
    Part,
    Points,
    Skin,
    petal_outline,
    rib_lines,
    round_outline,
    swept_outline,
    turned,
)

Colour = tuple[float, float, float]


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """Return RGB in 0..1; the hue wraps round, the other two are clipped to 0..1."""
    return colorsys.hsv_to_rgb(hue % 1.0, min(max(saturation, 0.0), 1.0), min(max(value, 0.0), 1.0))


def object_parts(rng: np.random.Generator, family: str, traits: Traits) -> tuple[Part, ...]:
    """Return the parts of one object, from back to front.

    Args:
        rng: source of the details the traits leave open.
        family: round, swept, bloom or cup.
        traits: what the object looks like.

    Returns:
        At least one part; coordinates in the object's own frame (see `sample_shapes`).

    Raises:
        ValueError: the family is not one of the four.
    """
    if family == "round":
        return _round_parts(rng, traits)
    if family == "swept":
        return _swept_parts(rng, traits)
    if family == "bloom":
        return _bloom_parts(rng, traits)
    if family == "cup":
        return _cup_parts(rng, traits)
    raise ValueError(f"unknown family {family!r}")


def _skin(traits: Traits) -> Skin:
    """Return the skin of the object's body."""
    return Skin(
        colour=hsv(traits.hue, traits.saturation, traits.value),
        end=hsv(traits.end_hue, traits.end_saturation, traits.end_value),
        blend=traits.blend,
        mottle=traits.mottle,
        pores=traits.pores,
        spots=traits.spots,
        stripes=traits.stripes,
        rings=traits.rings,
        rough=traits.rough,
        gloss=traits.gloss,
    )


def _green(rng: np.random.Generator, hue: float, value: float = 0.5) -> Skin:
    """Return a skin for stalks and leaves of about the given hue."""
    colour = hsv(hue + rng.normal(0, 0.012), rng.uniform(0.45, 0.75), value * rng.uniform(0.8, 1.25))
    end = hsv(hue + rng.normal(0, 0.03), rng.uniform(0.35, 0.6), value * rng.uniform(0.9, 1.4))
    return Skin(colour=colour, end=end, blend=0.5, mottle=0.2, gloss=0.15, stripes=0.2)


def _stem(rng: np.random.Generator, traits: Traits, base: float, width: float = 0.085) -> list[Part]:
    """Return the stalk above `base` (y), if there is one."""
    if traits.stem < 0.03:
        return []
    outline = swept_outline(
        rng,
        length=traits.stem + 0.1,
        width=width * rng.uniform(0.75, 1.3),
        bend=rng.normal(0, 0.5),
        top=0.02,
        bottom=0.06,
        wobble=0.06,
        origin=(0.0, base + 0.08),
        angle=rng.normal(0, 0.2),
    )
    return [Part((outline,), _green(rng, traits.stem_hue))]


def _calyx(rng: np.random.Generator, count: int, centre: float, size: float, hue: float) -> list[Part]:
    """Return a star of sepals around (0, centre)."""
    if count < 2:
        return []
    turn = rng.uniform(0, 2 * np.pi)
    # Near the rim the star is seen from the side, so it is squeezed along the axis.
    squeeze = np.array([1.0, np.sqrt(max(1 - centre**2, 0.12))])
    sepals = [
        petal_outline(
            size * rng.uniform(0.7, 1.2), size * 0.17, 0.9, turn + 2 * np.pi * i / count + rng.normal(0, 0.12)
        )
        for i in range(count)
    ]
    moved = tuple(points * squeeze + np.array([0.0, centre]) for points in sepals)
    return [Part(moved, _green(rng, hue, 0.42), roundness=0.6, tint=0.12, split=True)]


def _leaves(rng: np.random.Generator, traits: Traits, base: float) -> list[Part]:
    """Return leaves on stalks growing up from (0, base); the stalks have the hue of the stem."""
    count = int(traits.leaves)
    if count < 1:
        return []
    stalks: list[Points] = []
    blades: list[Points] = []
    veins: list[Points] = []
    for angle in np.linspace(-0.45, 0.45, count) + rng.normal(0, 0.14, count):
        reach = traits.leaf_length * rng.uniform(0.75, 1.15)
        share = rng.uniform(0.3, 0.5)
        root = np.array([angle * 0.12, base + 0.08])
        knee = root + reach * share * np.array([np.sin(angle), -np.cos(angle)])
        stalks.append(
            swept_outline(rng, length=reach * (share + 0.25), width=0.04, bend=0.0, top=0.1, bottom=0.3,
                          origin=(root[0], root[1]), angle=float(angle))
        )  # fmt: skip
        blade = swept_outline(rng, length=reach * (1 - share) + 0.1, width=reach * rng.uniform(0.13, 0.2),
                              bend=rng.normal(0, 0.3), top=0.4, bottom=0.6, wobble=0.06,
                              origin=(knee[0], knee[1]), angle=float(angle + rng.normal(0, 0.15)))  # fmt: skip
        blades.append(blade)
        veins.append(np.stack([blade[0], blade[59]]))
    stalk_skin = _green(rng, traits.stem_hue, 0.55)
    leaf_skin = _green(rng, float(rng.uniform(0.25, 0.33)), 0.42)
    return [
        Part(tuple(blades), leaf_skin, roundness=0.5, seams=tuple(veins), tint=0.14, split=True),
        Part(tuple(stalks), stalk_skin, tint=0.1, split=True),
    ]


def _round_parts(rng: np.random.Generator, traits: Traits) -> tuple[Part, ...]:
    """Return leaves, body, sepals and stalk of a round object."""
    lobes = int(traits.lobes)
    body = round_outline(
        rng,
        aspect=traits.aspect,
        taper=traits.taper,
        block=traits.block,
        tips=traits.tips,
        dent=traits.dent,
        tail=traits.tail,
        lobes=lobes,
        lobe_depth=traits.lobe_depth,
        wobble=traits.wobble,
    )
    length, width = (1.0, 1 / traits.aspect) if traits.aspect >= 1 else (traits.aspect, 1.0)
    pole = -length * traits.pole * (1 - 0.8 * traits.dent)
    deep = traits.block > 0.02 or traits.lobe_depth > 0.03
    ribs = rib_lines(rng, lobes - 1, width, pole, length) if lobes > 1 and deep else ()
    parts = _leaves(rng, traits, -length * (1 - traits.dent))
    parts.append(Part((body,), _skin(traits), seams=ribs))
    size = rng.uniform(0.3, 0.48) * width
    parts += _calyx(rng, int(traits.calyx), pole, size, traits.stem_hue)
    # A stalk that points at the camera is short.
    facing = Traits(stem=traits.stem * (0.25 + 0.75 * traits.pole), stem_hue=traits.stem_hue)
    return tuple(parts + _stem(rng, facing, pole))


def _swept_parts(rng: np.random.Generator, traits: Traits) -> tuple[Part, ...]:
    """Return body, caps, sepals and stalk of a long object."""
    width = 1.05 / max(traits.aspect, 1.2)
    body = swept_outline(
        rng,
        length=2.1,
        width=width,
        bend=traits.bend * float(rng.choice([-1, 1])),
        top=float(0.16 + 0.1 * rng.uniform()),
        bottom=float(0.16 + 0.8 * traits.taper),
        wobble=traits.wobble,
    )
    outlines = [body]
    for _ in range(int(traits.knobs)):
        at = int(rng.integers(10, 50))
        side = float(rng.choice([-1.0, 1.0]))
        start = (body[at] + body[119 - at]) / 2
        reach = width * rng.uniform(1.3, 2.5)
        outlines.append(
            swept_outline(rng, length=reach, width=width * rng.uniform(0.45, 0.8), bend=rng.normal(0, 0.3), top=0.2,
                          bottom=0.4, wobble=traits.wobble, origin=(start[0], start[1]),
                          angle=side * rng.uniform(0.7, 2.2))
        )  # fmt: skip
    order = rng.permutation(len(outlines))
    middle = (body[:60] + body[60:][::-1]) / 2
    lengthwise = int(traits.lobes)
    ridges = tuple(
        middle + (body[:60] - middle) * share for share in np.linspace(-0.45, 0.45, lengthwise + 1)[1:] * 0.9
    )
    parts = [Part(tuple(outlines[i] for i in order), _skin(traits), seams=ridges if lengthwise > 1 else (), tint=0.06,
                  split=traits.knobs >= 1)]  # fmt: skip
    if traits.tips > 0.02:
        parts += _caps(rng, traits, body, width)
    parts += _calyx(rng, int(traits.calyx), float(body[0, 1]) + 0.06, width * 0.95, traits.stem_hue)
    sprout = _stem(rng, traits, float(body[0, 1]), width=0.07)
    shift = np.array([body[0, 0], 0.0])
    moved = [Part(tuple(p + shift for p in part.polygons), part.skin) for part in sprout]
    return tuple(parts + moved)


def _caps(rng: np.random.Generator, traits: Traits, body: Points, width: float) -> list[Part]:
    """Return the dark ends of a long fruit: a stub at the top and a button at the bottom."""
    dark = Skin(colour=hsv(traits.hue - 0.03, 0.6, 0.3), end=hsv(traits.hue, 0.6, 0.22), rough=0.4, gloss=0.05)
    stub_skin = Skin(colour=hsv(traits.hue + 0.04, 0.55, 0.6), end=hsv(0.1, 0.5, 0.35), blend=0.4, gloss=0.1)
    top, bottom = body[0], body[59]
    inward = body[8] + body[111] - body[0] - body[119]
    heading = float(np.arctan2(-inward[0], inward[1]))
    stub = swept_outline(rng, length=traits.tips * 2.2, width=width * 0.3, bend=0.2, top=0.05, bottom=0.1, wobble=0.1,
                         origin=(top[0], top[1] + 0.06), angle=heading)  # fmt: skip
    button = turned(petal_outline(traits.tips, width * 0.25, 0.1, np.pi), 0.0) + bottom - np.array([0.0, 0.05])
    return [Part((stub,), stub_skin), Part((button,), dark, roundness=0.7)]


def _flower_stem(rng: np.random.Generator, traits: Traits, start: float) -> list[Part]:
    """Return the stalk below a flower and the leaves beside it."""
    if traits.stem < 0.03:
        return []
    reach = traits.stem + 0.3
    skin = _green(rng, traits.stem_hue if traits.stem_hue > 0 else 0.27, 0.5)
    stalk = swept_outline(rng, length=reach, width=0.055, bend=rng.normal(0, 0.25), top=0.02, bottom=0.02,
                          origin=(0.0, start), angle=np.pi)  # fmt: skip
    blades: list[Points] = []
    for index in range(int(traits.leaves)):
        side = -1.0 if index % 2 else 1.0
        blades.append(
            swept_outline(rng, length=traits.leaf_length, width=rng.uniform(0.07, 0.14), bend=rng.normal(0, 0.5),
                          top=0.45, bottom=0.7, wobble=0.05, origin=(0.0, start + reach * rng.uniform(0.75, 1.0)),
                          angle=side * rng.uniform(0.25, 0.75))
        )  # fmt: skip
    veins = tuple(np.stack([blade[0], blade[59]]) for blade in blades)
    parts = [Part((stalk,), skin)]
    if blades:
        parts.append(Part(tuple(blades), _green(rng, 0.29, 0.45), roundness=0.5, seams=veins, tint=0.12, split=True))
    return parts


def _bloom_parts(rng: np.random.Generator, traits: Traits) -> tuple[Part, ...]:
    """Return stalk, rings of petals and disc of an open flower."""
    parts = _flower_stem(rng, traits, 0.3)
    count = max(int(traits.petals), 3)
    skin = Skin(
        colour=hsv(traits.hue, traits.saturation, traits.value),
        end=hsv(traits.hue - 0.035, traits.saturation, traits.value * 0.8),
        blend=traits.blend,
        mottle=traits.mottle,
        stripes=traits.stripes,
        gloss=traits.gloss,
    )
    outlines: list[Points] = []
    for layer in range(max(int(traits.layers), 1)):
        turn = rng.uniform(0, 2 * np.pi)
        for index in rng.permutation(count):
            angle = turn + 2 * np.pi * index / count + rng.normal(0, 0.05)
            reach = (1 - 0.2 * layer) * rng.uniform(0.88, 1.06)
            outlines.append(
                petal_outline(reach, traits.petal_width * rng.uniform(0.85, 1.15), traits.petal_point, angle)
            )
    veins = tuple(np.stack([p[2], p[20]]) * 0.85 for p in outlines) if traits.petal_width > 0.15 else ()
    parts.append(Part(tuple(outlines), skin, roundness=0.35, seams=veins, tint=0.1, split=True))
    if traits.disc > 0.03:
        disc = Skin(
            colour=hsv(traits.end_hue, traits.end_saturation, traits.end_value),
            end=hsv(traits.end_hue - 0.01, traits.end_saturation, traits.end_value * 0.6),
            blend=0.3, pores=1.0, rough=0.8, gloss=0.05, mottle=0.3,
        )  # fmt: skip
        ring = round_outline(rng, aspect=1.0, taper=0, block=0, tips=0, dent=0, tail=0, lobes=0, lobe_depth=0,
                             wobble=0.03)  # fmt: skip
        parts.append(Part((ring * traits.disc,), disc, roundness=0.5))
    return tuple(parts)


def _cup_parts(rng: np.random.Generator, traits: Traits) -> tuple[Part, ...]:
    """Return stalk, back petals and front petals of a cup-shaped flower."""
    height = 1.5 if traits.aspect >= 1 else 1.5 * traits.aspect
    spread = height / max(traits.aspect, 0.5) * 0.5
    foot = np.array([0.0, height / 2])
    count = max(int(traits.petals), 2)
    lean = 0.14 + 0.5 * spread * rng.uniform(0.6, 1.3)
    back = [
        petal_outline(height * rng.uniform(0.9, 1.02), traits.petal_width * spread * 1.2, traits.petal_point, angle)
        + foot
        for angle in np.linspace(-lean, lean, max(count - 2, 1)) * 0.7 + rng.normal(0, 0.05)
    ]
    sides = [
        petal_outline(height * rng.uniform(0.92, 1.04), traits.petal_width * spread * 1.3, traits.petal_point,
                      side * lean + rng.normal(0, 0.06)) + foot + np.array([side * 0.04, 0.0])
        for side in (-1, 1)
    ]  # fmt: skip
    front = petal_outline(
        height * rng.uniform(0.78, 0.96), traits.petal_width * spread * 1.6, traits.petal_point, rng.normal(0, 0.09)
    )
    skin = _skin(traits)
    dark = Skin(colour=hsv(traits.hue, traits.saturation, traits.value * 0.72), end=skin.end, blend=traits.blend)
    return (
        *_flower_stem(rng, traits, height / 2 - 0.06),
        Part(tuple(back), dark, roundness=0.5, tint=0.08, split=True),
        Part((*sides, front + foot), skin, roundness=0.7, tint=0.1, split=True),
    )
