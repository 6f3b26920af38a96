"""Training images beside changed versions of each, as one picture, drawn as training draws them."""

import itertools
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from podium.config.train import Augment

if TYPE_CHECKING:
    from podium.data.augment.parameters import Augmentation
    from podium.data.shards import PreparedSplit
    from podium.report.labels import Labels

VERSIONS = 8
_MEAN = (0.485, 0.456, 0.406)  # of what is erased
_DPI = 100
_GAP, _MARGIN, _LINE = 6, 14, 15  # pixels; the height of a line of small text
_SIDES = (112, 160)  # least and greatest side of an image in the picture, in pixels


@dataclass(frozen=True)
class Sheet:
    """What is shown.

    Attributes:
        pixels: uint8, shape (N, 1 + VERSIONS, H, W, 3), originals first.
        labels: class of each row.
        shares: for each row and version what it is learned as, with the share; empty where nothing is mixed.
    """

    pixels: NDArray[np.uint8]
    labels: list[str]
    shares: list[list[dict[str, float]]]


def draw_sheet(split: "PreparedSplit", augment: Augment, seed: int, count: int) -> Sheet:
    """Draws as training does: one object for the whole batch of images, each version as one step of its own."""
    import torch

    from podium.data.augment.batch import apply
    from podium.data.augment.parameters import draw
    from podium.data.randomness import generator

    rows = _in_turn(split.labels, count)
    originals = split.images(rows)
    labels = [split.classes[code] for code in split.labels[rows]]
    columns, shares = [originals], []
    for version in range(VERSIONS):
        change = draw(augment, generator(seed, "augment", version), len(rows), originals.shape[1])
        changed = apply(torch.from_numpy(originals), change, _MEAN, (1.0, 1.0, 1.0)).permute(0, 2, 3, 1)
        values = (changed + torch.tensor(_MEAN)).clamp(0, 1).mul(255).round()
        columns.append(values.to(torch.uint8).numpy())
        shares.append([_learned_as(change, n, labels) for n in range(len(rows))])
    return Sheet(np.stack(columns, axis=1), labels, [list(row) for row in zip(*shares, strict=True)])


def _in_turn(labels: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Rows of the first image of each class, then of the second, and so on, at most `count`."""
    by_class = [np.flatnonzero(labels == code) for code in np.unique(labels)]
    turns = itertools.chain.from_iterable(itertools.zip_longest(*by_class))
    return np.array(list(itertools.islice((row for row in turns if row is not None), count)))


def _learned_as(change: "Augmentation", row: int, labels: list[str]) -> dict[str, float]:
    """Shares of the classes a mixed image is learned as; empty where nothing is mixed."""
    if not change.mixes:
        return {}
    own, other, share = labels[row], labels[change.partner[row]], float(change.share[row])
    return {own: 1.0} if own == other else {own: share, other: 1 - share}


@dataclass(frozen=True)
class _Page:
    """Where things are on the picture, in pixels from the top left."""

    rows: int
    columns: int
    side: int
    left: int
    above: int
    below: int

    @property
    def width(self) -> int:
        """Pixels across the whole picture."""
        return self.left + self.columns * (self.side + _GAP) + _MARGIN

    @property
    def height(self) -> int:
        """Pixels down the whole picture."""
        return self.above + self.rows * (self.side + self.below + _GAP) + _MARGIN

    def place(self, row: int, column: int) -> tuple[int, int]:
        """Left and top of an image."""
        return self.left + column * (self.side + _GAP), self.above + row * (self.side + self.below + _GAP)


class _Text(NamedTuple):
    """A text on the page: where its top is in pixels from the top left, and its look."""

    x: float
    y: float
    text: str
    size: float
    align: Literal["left", "center", "right"] = "center"
    colour: str = "#5f6b76"


def write_sheet(path: Path, sheet: Sheet, title: str) -> None:
    """Writes the picture, pixel by pixel, so that nothing is resampled by drawing."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from podium.report.labels import make_labels

    labels = make_labels(sorted(set(sheet.labels)))
    images = _at_a_legible_size(sheet.pixels)
    rows, columns, side = images.shape[:3]
    left = _MARGIN + 8 * max(len(labels.label(label)) for label in sheet.labels) + _GAP
    lines = textwrap.wrap(title, (left + columns * (side + _GAP)) // 9)
    mixed = any(itertools.chain.from_iterable(sheet.shares))
    page = _Page(rows, columns, side, left, _MARGIN + 19 * len(lines) + 2 * _LINE, 2 * _LINE if mixed else 0)
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({"font.family": list(labels.families), "text.parse_math": False})
        figure = Figure(figsize=(page.width / _DPI, page.height / _DPI), dpi=_DPI)
        FigureCanvasAgg(figure)
        figure.figimage(_mosaic(images, page))
        for x, y, text, size, align, colour in _texts("\n".join(lines), sheet, page, labels):
            figure.text(x / page.width, 1 - y / page.height, text, fontsize=size, ha=align, va="top", color=colour)
        figure.savefig(path, format="png", dpi=_DPI, metadata={"Software": None})


def _mosaic(images: NDArray[np.uint8], page: _Page) -> NDArray[np.uint8]:
    """The images at their places on white: uint8, shape (height, width, 3)."""
    canvas = np.full((page.height, page.width, 3), 255, np.uint8)
    for row, column in itertools.product(range(page.rows), range(page.columns)):
        x, y = page.place(row, column)
        canvas[y : y + page.side, x : x + page.side] = images[row, column]
    return canvas


def _texts(title: str, sheet: Sheet, page: _Page, labels: "Labels") -> Iterator[_Text]:
    """The title, each column's number or `original`, each row's class, and what mixed images are learned as."""
    yield _Text(_MARGIN, _MARGIN, title, 11, "left", "black")
    for column in range(page.columns):
        x, y = page.place(0, column)
        yield _Text(x + page.side / 2, y - _LINE - 4, str(column) if column else "original", 8)
    room = page.side // 6 - 5  # characters of a name
    for row, (label, versions) in enumerate(zip(sheet.labels, sheet.shares, strict=True)):
        x, y = page.place(row, 0)
        yield _Text(x - _GAP, y + page.side / 2 - 7, labels.label(label), 9, "right", "black")
        for column, shares in enumerate(versions, start=1):
            x, y = page.place(row, column)
            names = {label: textwrap.shorten(labels.label(label), room, placeholder="…") for label in shares}
            told = [f"{share:.0%} {names[label]}" for label, share in shares.items() if share >= 0.005]
            yield _Text(x + page.side / 2, y + page.side + 2, "\n".join(told), 7)


def _at_a_legible_size(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Small images with each pixel as a square of pixels, large ones made smaller, within `_SIDES`."""
    rows, columns, side = pixels.shape[:3]
    if side <= _SIDES[1]:
        times = -(-_SIDES[0] // side)
        return pixels.repeat(times, axis=2).repeat(times, axis=3)
    from PIL import Image

    flat = pixels.reshape(-1, side, side, 3)
    smaller = [np.asarray(Image.fromarray(one).resize((_SIDES[1], _SIDES[1]))) for one in flat]
    return np.stack(smaller).reshape(rows, columns, _SIDES[1], _SIDES[1], 3)
