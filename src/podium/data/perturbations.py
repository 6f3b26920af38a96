"""Perturbations: what happens to photographs before anybody asks a model about them, each at five severities.

Corruptions after Hendrycks and Dietterich, "Benchmarking neural network robustness to common corruptions and
perturbations", ICLR 2019 (arXiv 1903.12261), with blurs and tiles as shares of the side, so that a severity means the
same at every image size; numbers are therefore not those of ImageNet-C or CIFAR-10-C. Symmetries are changes after
which a photograph shows the same thing. Coverings hide a square of 10 to 60 % of the image at a random place.

Every function takes uint8 images of shape (N, S, S, 3), an amount and a generator, and gives the same form.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from podium.config.judging import Fill
from podium.records.robustness import PerturbationKind

Images = NDArray[np.uint8]
Perturb = Callable[[Images, float, np.random.Generator], Images]
SEVERITIES = (1, 2, 3, 4, 5)
_COVERED = (0.1, 0.2, 0.3, 0.45, 0.6)  # shares of the image that a covering hides


@dataclass(frozen=True)
class Perturbation:
    """One of them: what it does, with a place for the amount, and the amount at each severity."""

    kind: PerturbationKind
    said: str
    amounts: tuple[float, ...]
    change: Perturb

    def apply(self, images: Images, severity: int, random: np.random.Generator) -> Images:
        """The images, changed at a severity from 1 to 5."""
        return self.change(images, self.amounts[severity - 1], random)

    def sentence(self, severity: int) -> str:
        """What it does at a severity."""
        return self.said.format(self.amounts[severity - 1])


PERTURBATIONS: dict[str, Perturbation] = {}


def perturbation(kind: PerturbationKind, said: str, amounts: tuple[float, ...]) -> Callable[[Perturb], Perturb]:
    """Makes a function of an amount a perturbation under its own name, with an amount for each severity."""

    def add(function: Perturb) -> Perturb:
        PERTURBATIONS[function.__name__] = Perturbation(kind, said, amounts, function)
        return function

    return add


def _bytes(values: NDArray[np.floating]) -> Images:
    out: NDArray[Any] = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return out


def _each(images: Images, change: Callable[[Images], NDArray[Any]]) -> Images:
    return np.stack([change(image) for image in images]).astype(np.uint8)


@perturbation(
    "corruption", "noise of a dark sensor: a standard deviation of {:.0%} of the range", (0.04, 0.06, 0.09, 0.13, 0.20)
)
def gaussian_noise(images: Images, amount: float, random: np.random.Generator) -> Images:
    """The same for every value."""
    return _bytes(images + 255 * amount * random.standard_normal(images.shape, dtype=np.float32))


@perturbation("corruption", "noise of few photons: {:.0f} where it is white", (250, 120, 60, 30, 15))
def shot_noise(images: Images, amount: float, random: np.random.Generator) -> Images:
    """Poisson."""
    return _bytes(random.poisson(images / 255 * amount) * (255 / amount))


@perturbation("corruption", "{:.0%} of the pixels black or white, as of a broken line", (0.01, 0.03, 0.05, 0.09, 0.15))
def impulse_noise(images: Images, amount: float, random: np.random.Generator) -> Images:
    """As many black as white."""
    drawn = random.random(images.shape[:3])
    return np.where((drawn < amount)[..., None], np.where(drawn < amount / 2, 0, 255)[..., None], images).astype(
        np.uint8
    )


@perturbation(
    "corruption",
    "out of focus: a point becomes a disc with a radius of {:.0%} of the side",
    (0.01, 0.02, 0.03, 0.04, 0.05),
)
def defocus_blur(images: Images, amount: float, random: np.random.Generator) -> Images:
    """A disc with a soft edge."""
    import cv2

    radius = max(0.6, images.shape[1] * amount)
    reach = int(np.ceil(radius))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = np.clip(radius + 0.5 - np.hypot(x, y), 0, 1).astype(np.float32)
    return _each(images, lambda image: cv2.filter2D(image, -1, disc / disc.sum(), borderType=cv2.BORDER_REFLECT))


@perturbation("corruption", "the camera moved by {:.0%} of the side", (0.03, 0.06, 0.09, 0.13, 0.18))
def motion_blur(images: Images, amount: float, random: np.random.Generator) -> Images:
    """In a direction of each image's own."""
    import cv2

    length = max(2.0, images.shape[1] * amount)
    reach = int(np.ceil(length / 2))

    def moved(image: Images) -> NDArray[Any]:
        angle = random.uniform(0, np.pi)
        line = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
        for at in np.linspace(-length / 2, length / 2, 8 * reach + 1):
            line[reach + round(at * np.sin(angle)), reach + round(at * np.cos(angle))] += 1
        out: NDArray[Any] = cv2.filter2D(image, -1, line / line.sum(), borderType=cv2.BORDER_REFLECT)
        return out

    return _each(images, moved)


@perturbation("corruption", "an uneven veil of light that hides {:.0%} on average", (0.2, 0.35, 0.5, 0.62, 0.75))
def fog(images: Images, amount: float, random: np.random.Generator) -> Images:
    """Smooth noise of four sizes makes it uneven."""
    import cv2

    side = images.shape[1]

    def veiled(image: Images) -> Images:
        veil = np.zeros((side, side), np.float32)
        for cells, weight in ((2, 8), (4, 4), (8, 2), (16, 1)):
            noise = random.random((cells, cells), dtype=np.float32)
            veil += weight / 15 * cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC)
        share = np.clip(amount * (0.6 + 0.8 * veil), 0, 1)[..., None]
        return _bytes((1 - share) * image + share * 235)

    return _each(images, veiled)


@perturbation("corruption", "too bright by {:.0%} of the range", (0.1, 0.2, 0.3, 0.4, 0.5))
def brighter(images: Images, amount: float, random: np.random.Generator) -> Images:
    """Added to every value."""
    return _bytes(images + 255.0 * amount)


@perturbation("corruption", "too dark: {:.0%} of the light is left", (0.75, 0.6, 0.45, 0.3, 0.2))
def darker(images: Images, amount: float, random: np.random.Generator) -> Images:
    """A factor of every value."""
    return _bytes(images * amount)


@perturbation("corruption", "{:.0%} of the contrast is left", (0.75, 0.5, 0.4, 0.3, 0.15))
def low_contrast(images: Images, amount: float, random: np.random.Generator) -> Images:
    """Of the differences from the image's mean."""
    mean = images.mean(axis=(1, 2), keepdims=True)
    return _bytes(mean + amount * (images - mean))


@perturbation("corruption", "{:.0%} of the colour is left", (0.7, 0.5, 0.3, 0.1, 0.0))
def pale(images: Images, amount: float, random: np.random.Generator) -> Images:
    """Of the differences from grey (ITU-R BT.601)."""
    grey = images @ np.array([0.299, 0.587, 0.114])
    return _bytes(grey[..., None] + amount * (images - grey[..., None]))


@perturbation("corruption", "made small, to {:.0%} of the side, and enlarged again", (0.8, 0.65, 0.5, 0.35, 0.25))
def pixelate(images: Images, amount: float, random: np.random.Generator) -> Images:
    """In whole pixels."""
    import cv2

    side = images.shape[1]
    small = max(2, round(side * amount))

    def coarse(image: Images) -> NDArray[Any]:
        little = cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA)
        out: NDArray[Any] = cv2.resize(little, (side, side), interpolation=cv2.INTER_NEAREST)
        return out

    return _each(images, coarse)


@perturbation("corruption", "saved as JPEG of quality {:.0f} of 100", (60, 35, 20, 12, 7))
def jpeg(images: Images, amount: float, random: np.random.Generator) -> Images:
    """OpenCV's."""
    import cv2

    def saved(image: Images) -> NDArray[Any]:
        data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(amount)])[1]
        return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))[..., ::-1]

    return _each(images, saved)


@perturbation("symmetry", "left and right exchanged", (1, 1, 1, 1, 1))
def mirrored(images: Images, amount: float, random: np.random.Generator) -> Images:
    """The same at every severity."""
    return np.ascontiguousarray(images[:, :, ::-1])


@perturbation("symmetry", "moved by {:.0%} of the side; the edge is repeated", (0.01, 0.03, 0.05, 0.08, 0.12))
def shifted(images: Images, amount: float, random: np.random.Generator) -> Images:
    """In a random direction."""
    side = images.shape[1]
    reach = max(1, round(side * amount))

    def moved(image: Images) -> NDArray[Any]:
        angle = random.uniform(0, 2 * np.pi)
        down, right = round(reach * np.sin(angle)), round(reach * np.cos(angle))
        rows, columns = (np.clip(np.arange(side) - by, 0, side - 1) for by in (down, right))
        out: NDArray[Any] = image[rows][:, columns]
        return out

    return _each(images, moved)


@perturbation("symmetry", "turned by {:.0f} degrees; the edge is repeated", (2, 5, 10, 15, 20))
def turned(images: Images, amount: float, random: np.random.Generator) -> Images:
    """To the left or to the right."""
    import cv2

    side = images.shape[1]

    def rotated(image: Images) -> NDArray[Any]:
        turn = cv2.getRotationMatrix2D(((side - 1) / 2, (side - 1) / 2), float(random.choice([-amount, amount])), 1.0)
        out: NDArray[Any] = cv2.warpAffine(image, turn, (side, side), borderMode=cv2.BORDER_REPLICATE)
        return out

    return _each(images, rotated)


def _squares(images: Images, share: float, random: np.random.Generator) -> NDArray[np.bool_]:
    """A square of the covered share at a random place, bool, shape (N, S, S)."""
    side = images.shape[1]
    covered = max(1, round(side * share**0.5))
    top, left = random.integers(0, side - covered + 1, (2, len(images), 1))
    rows, columns = ((np.arange(side) >= at) & (np.arange(side) < at + covered) for at in (top, left))
    return np.asarray(rows[:, :, None] & columns[:, None, :], np.bool_)


def cover(images: Images, masks: NDArray[np.bool_], fill: Fill, others: NDArray[np.int64]) -> Images:
    """Hides a part of each image.

    Args:
        images: uint8, shape (N, S, S, 3).
        masks: what is hidden, shape (N, S, S).
        fill: `grey` 114, as padding is; `blur`: a Gaussian of 10 % of the side; `foreign`: the same part of another.
        others: the other image of each, shape (N,).
    """
    import cv2

    if fill == "grey":
        return np.where(masks[..., None], 114, images).astype(np.uint8)
    if fill == "foreign":
        return np.where(masks[..., None], images[others], images).astype(np.uint8)
    spread = images.shape[1] / 10
    blurred = _each(images, lambda image: cv2.GaussianBlur(image, (0, 0), spread, borderType=cv2.BORDER_REFLECT))
    return np.where(masks[..., None], blurred, images).astype(np.uint8)


def next_in_random_order(images: int, random: np.random.Generator) -> NDArray[np.int64]:
    """For each of N images another one, itself where it is alone, shape (N,)."""
    order = random.permutation(images)
    other = np.empty_like(order)
    other[order] = np.roll(order, 1)
    return other.astype(np.int64)


@perturbation("covering", "a grey square hides {:.0%} of the image", _COVERED)
def grey_patch(images: Images, amount: float, random: np.random.Generator) -> Images:
    """Grey 114, as padding is."""
    return cover(images, _squares(images, amount, random), "grey", np.arange(len(images)))


@perturbation("covering", "a square of {:.0%} of the image is blurred beyond recognition", _COVERED)
def blurred_patch(images: Images, amount: float, random: np.random.Generator) -> Images:
    """A Gaussian of 10 % of the side."""
    return cover(images, _squares(images, amount, random), "blur", np.arange(len(images)))


@perturbation("covering", "a square of another image hides {:.0%} of the image", _COVERED)
def foreign_patch(images: Images, amount: float, random: np.random.Generator) -> Images:
    """Of the next image in a random order, the same square."""
    others = next_in_random_order(len(images), random)
    return cover(images, _squares(images, amount, random), "foreign", others)
