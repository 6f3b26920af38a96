"""Are a method's maps any good? Checks against chance, against known boxes, and against a model that knows nothing.

Deletion and insertion: Petsiuk et al., *BMVC* 2018, tile by tile as in Samek et al., *IEEE TNNLS* 28(11), 2017, so that
coarse and fine maps, and random orders, take away equal pieces. Pointing game: Zhang et al., *ECCV* 2016; energy: Wang
et al., *CVPR Workshops* 2020. Cascading randomisation: Adebayo et al., *NeurIPS* 2018. Each map is of the class that
the model names.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from podium.analysis.statistics import generator_of, percent, wilson
from podium.config.judging import ExplainChecks
from podium.config.preprocess import BoxCrop, CentreCrop, Preprocessing
from podium.data.foreground import box_masks
from podium.records.evaluation import Interval
from podium.records.explanation import BoxCheck, MethodChecks, OrderCheck

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

    from podium.models.inference import AskedModel, Classifier
    from podium.records.training import ModelCard

STEPS = 8
"""In which all tiles go or come."""
DEPENDS = 0.5
"""Rank correlation with a random model's maps from which on a method hardly shows what was learned."""
_BLUR = 16  # sides of the image a standard deviation goes into
_CORNERS = ("x0", "y0", "x1", "y1")


@dataclass(frozen=True)
class Checked:
    """The images of a check.

    Attributes:
        images: uint8, shape (N, S, S, 3).
        labels: class numbers, shape (N,).
        boxes: left, top, right, bottom in pixels of the prepared image, shape (N, 4); NaN where none is known.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    boxes: NDArray[np.float64]


def evenly(images: int, most: int) -> NDArray[np.int64]:
    """At most so many of N rows, evenly from the first to the last."""
    return np.unique(np.linspace(0, images - 1, most).round().astype(np.int64))


def boxes_in_square(known: "pd.DataFrame", preprocessing: Preprocessing) -> NDArray[np.float64]:
    """Where the object of each image lies in the square that the model sees.

    Args:
        known: what is known of N images (`slices.describe_images`); `x0 y0 x1 y1` in pixels of the original, and its
            `width` and `height`. A crop of a photograph is its box, so it has none.
        preprocessing: how the square was made.

    Returns:
        left, top, right, bottom in pixels, shape (N, 4); NaN where no box is known.
    """
    import pandas as pd

    if not {*_CORNERS, "width", "height"} <= set(known):
        return np.full((len(known), 4), np.nan)
    numbers = known[[*_CORNERS, "width", "height"]].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
    boxes, size = numbers[:, :4].reshape(-1, 2, 2), numbers[:, 4:]
    for step in preprocessing.steps:
        match step:
            case CentreCrop():
                margin = (1 - step.share) / 2
                start, kept = np.array([margin, margin]), np.array([step.share, step.share])
            case BoxCrop():
                start, kept = (
                    np.array([step.left, step.top]),
                    np.array([step.right - step.left, step.bottom - step.top]),
                )
            case _:
                continue
        boxes = boxes - (start * size)[:, None]
        size = size * kept
    boxes = np.clip(boxes, 0, size[:, None])
    side = preprocessing.image_size
    scale = side / size.max(axis=1)
    boxes = boxes * scale[:, None, None] + ((side - size * scale[:, None]) / 2)[:, None]
    if "box_left" in known:
        whole = known[["box_left", "box_top", "box_right", "box_bottom"]].to_numpy(dtype=np.float64) == [0, 0, 1, 1]
        boxes[~whole.all(axis=1)] = np.nan
    flat: NDArray[np.float64] = boxes.reshape(-1, 4)
    return flat


def pictures_in_square(known: "pd.DataFrame", preprocessing: Preprocessing) -> NDArray[np.float64]:
    """Where each image lies within its padding, as `boxes_in_square` but in whole pixels, at least one.

    Everywhere where its size is not known.
    """
    whole = {"x0": 0, "y0": 0, "x1": known.get("width"), "y1": known.get("height")}
    boxes = boxes_in_square(known.filter(["width", "height"]).assign(**whole), preprocessing).round(6)
    boxes = np.hstack([np.floor(boxes[:, :2]), np.ceil(boxes[:, 2:])])
    square = np.array([0.0, 0.0, preprocessing.image_size, preprocessing.image_size])
    return np.where(np.isfinite(boxes).all(axis=1, keepdims=True), boxes, square)


@dataclass(frozen=True)
class Asked:
    """Images with the classes the model names and their maps, and how more are made.

    Attributes:
        card: of the model.
        images: uint8, shape (N, S, S, 3).
        targets: the classes that it names, shape (N,).
        maps: of these, shape (N, S, S).
        seed: of random orders, random weights, and methods that draw.
        batch_size: images the network is given at once.
    """

    card: "ModelCard"
    images: NDArray[np.uint8]
    targets: NDArray[np.int64]
    maps: NDArray[np.float32]
    seed: int
    batch_size: int


def ask(model: "AskedModel", images: NDArray[np.uint8], name: str, *, seed: int, batch_size: int) -> Asked:
    """Asks a model which classes it names, and a method for the maps of these.

    Raises:
        ModelError: the network has not what the method needs.
    """
    from podium.models.explanations import explain

    predicted = model.logits(images, batch_size).argmax(axis=1)
    explained = partial(explain, name=name, seed=seed, batch_size=batch_size)
    maps = model.in_batches(explained, batch_size, images=images, targets=predicted)
    return Asked(model.card, images, predicted, maps, seed, batch_size)


def check_method(model: "AskedModel", asked: Asked, checked: Checked, name: str, counts: ExplainChecks) -> MethodChecks:
    """Checks maps.

    Args:
        model: whose maps they are.
        asked: the same images as those of `checked`, with their maps.
        checked: at least one image.
        name: of the method.
        counts: of how many of the images to delete and insert, and to ask random weights about.

    Raises:
        ModelError: a network with random weights has not what the method needs.
    """
    orders, random = (_spread(asked, count) for count in (counts.deletion, counts.randomised))
    asks: list[Callable[[Classifier], Any]] = [partial(_orders, asked=orders)] if counts.deletion else []
    asks += [partial(_randomise, asked=random, name=name)] if counts.randomised else []
    found = list(model.map(asks))
    deletion, insertion = found[0] if counts.deletion else (None, None)
    return MethodChecks(
        images=len(asked.maps),
        deletion=deletion,
        insertion=insertion,
        boxes=_boxes(asked.maps, checked, asked.card.classes),
        randomised=found[-1] if counts.randomised else [],
    )


def describe_checks(name: str, checks: MethodChecks) -> list[str]:
    """What the checks say of a method, in sentences: first those against chance, then that with random weights."""
    said = []
    if (found := checks.boxes) is not None:
        better = "more than" if points_better(found) else "which is not surely more than"
        said.append(
            f"{name} points at the object in {percent(found.pointing)} of {found.images:,} images, {better} the "
            f"{found.chance:.1%} of a random point; {found.energy:.1%} of what speaks for the class lies on it"
        )
    orders = (("hiding", "lower", checks.deletion), ("showing", "raise", checks.insertion))
    for doing, effect, order in orders:
        if order is not None:
            effects = f"{effect}s" if order.gain.low > 0 else f"does not surely {effect}"
            said.append(
                f"{doing} first what it calls important {effects} the probability faster than {doing} parts at random "
                f"(better by {order.gain.value:.2f} [{order.gain.low:.2f} to {order.gain.high:.2f}] of area)"
            )
    if checks.randomised:
        last = checks.randomised[-1]
        told, so = ("change", "") if last < DEPENDS else ("hardly change", ", so they hardly show what was learned")
        said.append(f"its maps {told} with random weights (rank correlation {last:.2f}){so}")
    return said


def points_better(boxes: BoxCheck) -> bool:
    """Whether a method surely points at the object more often than a random point does."""
    return boxes.pointing.low > boxes.chance


def find_shortcuts(checks: MethodChecks) -> dict[str, float]:
    """Classes with `BoxCheck.outside`, where the method is surely better than chance at pointing and at deletion.

    A method that fails these tells of itself rather than of the model.
    """
    faithful = checks.deletion is not None and checks.deletion.gain.low > 0
    return checks.boxes.outside if checks.boxes is not None and faithful and points_better(checks.boxes) else {}


def pointing_hits(maps: NDArray[np.float32], boxes: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether the middle of each map's highest pixel, the first of equals, lies in its box, shape (N,)."""
    side = maps.shape[-1]
    row, column = np.divmod(maps.reshape(len(maps), -1).argmax(axis=1), side)
    x, y = column + 0.5, row + 0.5
    return np.asarray((x >= boxes[:, 0]) & (x <= boxes[:, 2]) & (y >= boxes[:, 1]) & (y <= boxes[:, 3]), np.bool_)


def energy_inside(maps: NDArray[np.float32], boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of what is above 0 in each map that lies in its box, shape (N,), in [0, 1]; 0 where nothing is above 0."""
    energy = np.clip(maps, 0, None).astype(np.float64)
    inside = (energy * box_masks(maps.shape[-1], boxes)).sum(axis=(1, 2))
    total = energy.sum(axis=(1, 2))
    share: NDArray[np.float64] = np.divide(inside, total, out=np.zeros(len(maps)), where=total > 0)
    return share


def rank_correlation(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Mean over images of Spearman's rank correlation of two maps; 0 for a map that is flat."""
    from scipy.stats import rankdata

    ranks = [rankdata(maps.reshape(len(maps), -1), axis=1) for maps in (one, other)]
    first, second = (rank - rank.mean(axis=1, keepdims=True) for rank in ranks)
    norm = np.sqrt((first**2).sum(axis=1) * (second**2).sum(axis=1))
    return float(np.divide((first * second).sum(axis=1), norm, out=np.zeros(len(norm)), where=norm > 0).mean())


def _spread(asked: Asked, count: int) -> Asked:
    """At most so many of the images, evenly from the first to the last."""
    rows = evenly(len(asked.images), count)
    return replace(asked, images=asked.images[rows], targets=asked.targets[rows], maps=asked.maps[rows])


def _orders(classifier: "Classifier", asked: Asked) -> tuple[OrderCheck, OrderCheck]:
    """Deletion and insertion."""
    from scipy.ndimage import gaussian_filter

    from podium.models.explanations import TILES

    images, side = asked.images, asked.images.shape[1]
    tile = np.arange(side) * TILES // side
    tiles = tile[:, None] * TILES + tile
    sums = np.stack([np.bincount(tiles.ravel(), found.ravel(), TILES**2) for found in asked.maps])
    orders = (
        sums / np.maximum(np.bincount(tiles.ravel(), minlength=TILES**2), 1),
        generator_of(asked.seed, "order of tiles").random((len(images), TILES**2)),
    )
    ranks = [np.argsort(np.argsort(-values, axis=1, kind="stable"), axis=1)[:, tiles] for values in orders]
    grey = np.broadcast_to(np.round(255 * np.array(asked.card.mean)).astype(np.uint8), images.shape)
    blurred = gaussian_filter(images, (0, side / _BLUR, side / _BLUR, 0))

    def probability(shown: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Of each image's class, shape (N,)."""
        found = classifier.probabilities(shown, asked.batch_size)
        return found[np.arange(len(found)), asked.targets].astype(np.float64)

    def check(start: NDArray[np.uint8], end: NDArray[np.uint8], sign: int) -> OrderCheck:
        """The map's order against the random one; `sign` is that of an area that is good."""
        counts, ends = np.linspace(0, TILES**2, STEPS + 1)[1:-1], (probability(start), probability(end))
        areas = []
        for rank in ranks:
            mixed = (np.where((rank < count)[..., None], end, start) for count in counts)
            curve = np.stack([ends[0], *map(probability, mixed), ends[1]])
            areas.append(np.asarray(np.trapezoid(curve, dx=1 / STEPS, axis=0), np.float64))
        mine, random = areas
        return OrderCheck(area=float(mine.mean()), random=float(random.mean()), gain=_mean(sign * (mine - random)))

    return check(images, grey, -1), check(blurred, images, 1)


def _mean(values: NDArray[np.float64]) -> Interval:
    """A mean with its 95 % interval by Student's t; as wide as all numbers where there is one value."""
    from scipy.stats import t

    mean, count = float(values.mean()), len(values)
    if count < 2:
        return Interval(value=mean, low=-1.0, high=1.0)
    half = float(t.ppf(0.975, count - 1)) * float(values.std(ddof=1)) / np.sqrt(count)
    return Interval(value=mean, low=mean - half, high=mean + half)


def _boxes(maps: NDArray[np.float32], checked: Checked, classes: list[str]) -> BoxCheck | None:
    """Pointing game and energy, where there are boxes."""
    known = np.isfinite(checked.boxes).all(axis=1)
    if not known.any():
        return None
    boxes, labels, side = checked.boxes[known], checked.labels[known], maps.shape[-1]
    hits = pointing_hits(maps[known], boxes)
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) / side**2
    middle = np.zeros((len(boxes), side, side), np.float32)
    middle[:, side // 2, side // 2] = 1
    outside = {}
    for code in np.unique(labels):
        missed = ~hits[labels == code]
        if wilson(int(missed.sum()), len(missed)).low > 0.5:
            outside[classes[code]] = float(missed.mean())
    return BoxCheck(
        images=len(boxes),
        pointing=wilson(int(hits.sum()), len(hits)),
        energy=float(energy_inside(maps[known], boxes).mean()),
        chance=float(area.mean()),
        centre=float(pointing_hits(middle, boxes).mean()),
        outside=outside,
    )


def _randomise(classifier: "Classifier", asked: Asked, name: str) -> list[float]:
    """How much maps are still alike as stages get a fresh network's weights, the head first; see `MethodChecks`."""
    from podium.models import zoo
    from podium.models.blocks import find_blocks
    from podium.models.explanations import explain

    card, side = asked.card, asked.images.shape[1]
    made = zoo.create(card.network, len(card.classes), -1 - card.seed, side)  # a seed that no params can name
    fresh = classifier.compute.place(made).eval()
    module = copy.deepcopy(classifier.module)

    def alike(changed: "nn.Module") -> float:
        """To the maps of the trained network."""
        random = replace(classifier, module=changed)
        return rank_correlation(
            asked.maps, explain(random, asked.images, name, asked.targets, seed=asked.seed, batch_size=asked.batch_size)
        )

    found = []
    for stage in reversed(find_blocks(module, card.network, side).stages[1:]):
        for block in stage:
            module.get_submodule(block).load_state_dict(fresh.get_submodule(block).state_dict())
        found.append(alike(module))
    return [*found, alike(fresh)]
