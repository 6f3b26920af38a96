"""Interventions: one thing in a picture is changed, and in a copy as much of something else: which of them matters?

- What a map calls important is hidden, against a part of the same form elsewhere in the picture.
- The object is hidden, against as many pixels of its background.
- The object stands on the background of an image of another class, against that of an image of its own class, or on
  its own background blurred: Xiao et al., "Noise or signal: the role of image backgrounds in object recognition", ICLR
  2021 (*mixed-rand* and *mixed-same*), with the other object painted over (Telea, "An image inpainting technique based
  on the fast marching method", *Journal of Graphics Tools* 9(1), 2004).
- A second object of another class lies behind the first, against one of its own class.

Padding is no part of a picture: nothing of it is hidden, and shares are of the rest.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from podium.config.judging import Fill, Interventions
from podium.data.perturbations import Images, cover, next_in_random_order
from podium.records.explanation import InterventionKind

Masks = NDArray[np.bool_]
SALIENT_FOREGROUND = 1 / 3
"""Of a picture whose object is not known: the part that speaks most for the answer stands for it."""
LARGEST_SECOND_OBJECT = 0.45
_FOREGROUND = (0.01, 0.9)  # shares of a picture between which it has both an object and a background
_TRIES = 16  # places among which the one is taken that overlaps least
_INPAINTING = 3  # pixels around a missing one that it is made of


@dataclass(frozen=True)
class Scenes:
    """N pictures with what is known of them.

    Attributes:
        images: uint8, shape (N, S, S, 3).
        labels: class numbers, shape (N,).
        maps: how much each pixel speaks for the answer, shape (N, S, S).
        content: what is no padding: a rectangle of each, shape (N, S, S).
        foreground: the pixels of the object, shape (N, S, S); where it is not known, see `SALIENT_FOREGROUND`.
        known: where the object is known, shape (N,).
    """

    images: Images
    labels: NDArray[np.int64]
    maps: NDArray[np.float32]
    content: Masks
    foreground: Masks
    known: NDArray[np.bool_]


@dataclass(frozen=True)
class Change:
    """One intervention on n of N pictures.

    Attributes:
        kind: what is changed.
        how: by what.
        asked: the share of each picture that is hidden or taken by a second object; None where the object decides.
        rows: which pictures, shape (n,).
        images: these, changed, shape (n, S, S, 3).
        control: the same pictures with as much of something else changed; None for the pictures as they are.
        added: the class that came in, shape (n,); None where none did.
    """

    kind: InterventionKind
    how: str
    asked: float | None
    rows: NDArray[np.int64]
    images: Images
    control: Images | None = None
    added: NDArray[np.int64] | None = None


def pixel_ranks(values: NDArray[np.floating], allowed: Masks, random: np.random.Generator) -> NDArray[np.int64]:
    """The place of each pixel in the order of its picture, the highest value first, equals at random.

    Args:
        values: shape (N, S, S).
        allowed: which pixels take part; all others come after them.
        random: for pixels of equal value.

    Returns:
        From 0 on, shape (N, S, S).
    """
    keys = np.where(allowed, -values, np.inf).reshape(len(values), -1)
    order = np.lexsort((random.random(keys.shape), keys), axis=-1)
    ranks = np.empty(keys.shape, np.int64)
    np.put_along_axis(ranks, order, np.arange(keys.shape[1])[None], axis=1)
    return ranks.reshape(values.shape)


def most_salient(maps: NDArray[np.floating], content: Masks, share: float, random: np.random.Generator) -> Masks:
    """The share of each picture that its map gives the highest values, shape (N, S, S)."""
    counts = np.rint(share * content.sum(axis=(1, 2))).astype(np.int64)
    return np.asarray(pixel_ranks(maps, content, random) < counts[:, None, None], np.bool_)


def interventions(scenes: Scenes, wanted: Interventions, random: np.random.Generator) -> Iterator[Change]:
    """All interventions on some pictures, one after the other."""
    yield from _hide_salient(scenes, wanted, random)
    yield from _hide_objects(scenes, wanted.fills, random)
    share = (scenes.foreground & scenes.content).sum(axis=(1, 2)) / scenes.content.sum(axis=(1, 2))
    usable = np.flatnonzero((share >= _FOREGROUND[0]) & (share <= _FOREGROUND[1]))
    if len(usable):
        blurred = cover(scenes.images[usable], (scenes.content & ~scenes.foreground)[usable], "blur", usable)
        yield Change("background", "blur", None, usable, blurred)
    other, same = _partners(scenes.labels, usable, random)
    rows = usable[(other >= 0) & (same >= 0)]
    if len(rows):
        other, same = (some[(other >= 0) & (same >= 0)] for some in (other, same))
        added = scenes.labels[other]
        changed, control = (_exchange_backgrounds(scenes, rows, partners) for partners in (other, same))
        yield Change("background", "other class", None, rows, changed, control, added)
        for asked in (share for share in wanted.shares if share <= LARGEST_SECOND_OBJECT):
            places = random.random((len(rows), _TRIES, 2))
            changed, control = (_paste(scenes, rows, partners, asked, places) for partners in (other, same))
            yield Change("second_object", "other class", asked, rows, changed, control, added)


def _hide_salient(scenes: Scenes, wanted: Interventions, random: np.random.Generator) -> Iterator[Change]:
    """What speaks most for the answer, against the same form elsewhere."""
    rows, others = np.arange(len(scenes.images)), next_in_random_order(len(scenes.images), random)
    for share in wanted.shares:
        hidden = most_salient(scenes.maps, scenes.content, share, random)
        elsewhere = _moved(hidden, scenes.content, random)
        for fill in wanted.fills:
            changed, control = (cover(scenes.images, masks, fill, others) for masks in (hidden, elsewhere))
            yield Change("salient", fill, share, rows, changed, control)


def _hide_objects(scenes: Scenes, fills: tuple[Fill, ...], random: np.random.Generator) -> Iterator[Change]:
    """The object where it is known, or as much of it as there is background, against as much background."""
    inside, outside = scenes.foreground & scenes.content, scenes.content & ~scenes.foreground
    counts = np.minimum(inside.sum(axis=(1, 2)), outside.sum(axis=(1, 2)))
    rows = np.flatnonzero(scenes.known & (counts > 0))
    if not len(rows):
        return
    drawn = pixel_ranks(np.zeros(outside.shape), outside, random) == 0  # one pixel of the background
    masks = [(_nearest(where, start, counts, random))[rows] for where, start in ((inside, inside), (outside, drawn))]
    images, others = scenes.images[rows], next_in_random_order(len(rows), random)
    for fill in fills:
        changed, control = (cover(images, hidden, fill, others) for hidden in masks)
        yield Change("object", fill, None, rows, changed, control)


def _nearest(allowed: Masks, start: Masks, counts: NDArray[np.int64], random: np.random.Generator) -> Masks:
    """So many of the allowed pixels of each picture, those nearest to the middle of where to start."""
    y, x = np.mgrid[: allowed.shape[1], : allowed.shape[2]]
    pixels = np.maximum(start.sum(axis=(1, 2)), 1)
    rows, columns = (((start * axis).sum(axis=(1, 2)) / pixels)[:, None, None] for axis in (y, x))
    distance = (y - rows) ** 2 + (x - columns) ** 2
    return np.asarray(pixel_ranks(-distance, allowed, random) < counts[:, None, None], np.bool_)


def _moved(masks: Masks, content: Masks, random: np.random.Generator) -> Masks:
    """Each mask moved within its picture, what leaves it on one side comes in on the other, to overlap itself least.

    Of `_TRIES` random moves, so that it is neither always the edge nor always the least salient part that is hidden.
    """
    out = np.zeros_like(masks)
    for mask, moved, inside, draws in zip(masks, out, content, random.random((len(masks), _TRIES, 2)), strict=True):
        view = mask[_rectangle(inside)]
        rolled = [
            np.roll(view, (int(down * view.shape[0]), int(right * view.shape[1])), (0, 1)) for down, right in draws
        ]
        moved[_rectangle(inside)] = min(rolled, key=lambda one: int((one & view).sum()))
    return out


def _partners(
    labels: NDArray[np.int64], rows: NDArray[np.int64], random: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each of these pictures a random one of them of another class and one of its own; -1 where there is none."""
    other, same = np.full((2, len(rows)), -1, np.int64)
    for place, row in enumerate(rows):
        alike = labels[rows] == labels[row]
        for partners, among in ((other, rows[~alike]), (same, rows[alike & (rows != row)])):
            drawn = random.random()  # whether or not there is one, so that the next picture's do not depend on it
            if len(among):
                partners[place] = among[int(drawn * len(among))]
    return other, same


def _exchange_backgrounds(scenes: Scenes, rows: NDArray[np.int64], partners: NDArray[np.int64]) -> Images:
    """Objects on the backgrounds of other pictures, whose own objects are painted over."""
    import cv2

    out = scenes.images[rows]
    for image, row, partner in zip(out, rows, partners, strict=True):
        there, here = _rectangle(scenes.content[partner]), _rectangle(scenes.content[row])
        hole = scenes.foreground[partner][there].astype(np.uint8)
        empty = cv2.inpaint(scenes.images[partner][there].copy(), hole, _INPAINTING, cv2.INPAINT_TELEA)
        view, behind = image[here], ~scenes.foreground[row][here]
        view[behind] = cv2.resize(empty, (view.shape[1], view.shape[0]))[behind]
    return out


def _paste(
    scenes: Scenes,
    rows: NDArray[np.int64],
    partners: NDArray[np.int64],
    share: float,
    places: NDArray[np.float64],
) -> Images:
    """The objects of other pictures, made as large as a share of the picture, behind its own.

    Args:
        scenes: the pictures.
        rows: which get a second object, shape (n,).
        partners: whose, shape (n,).
        share: of the picture, at most what fits into it.
        places: down and right, from 0 to 1, shape (n, tries, 2); that is taken where the object shows most.
    """
    import cv2

    out = scenes.images[rows]
    for image, row, partner, draws in zip(out, rows, partners, places, strict=True):
        here, mask = _rectangle(scenes.content[row]), scenes.foreground[partner] & scenes.content[partner]
        cut = _rectangle(mask)
        mask, view, free = mask[cut], image[here], ~scenes.foreground[row][here]
        times = min((share * free.size / mask.sum()) ** 0.5, *(np.array(free.shape) / mask.shape))
        height, width = (max(1, round(times * side)) for side in mask.shape)
        how = cv2.INTER_AREA if times < 1 else cv2.INTER_LINEAR
        pixels = cv2.resize(scenes.images[partner][cut], (width, height), interpolation=how)
        there = cv2.resize(mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST) > 0
        corners = [(round(d * (free.shape[0] - height)), round(r * (free.shape[1] - width))) for d, r in draws]
        spots = [(slice(top, top + height), slice(left, left + width)) for top, left in corners]
        spot = max(spots, key=lambda one: int((there & free[one]).sum()))
        shown = there & free[spot]
        view[spot][shown] = pixels[shown]
    return out


def _rectangle(mask: Masks) -> tuple[slice, slice]:
    """Rows and columns of a mask (S, S), from its first to its last pixel."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
