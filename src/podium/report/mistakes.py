"""Mistakes of several models for people: which of them a page shows, a page of them alone, pictures for MLflow."""

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import TYPE_CHECKING

import numpy as np

from podium.analysis.mistakes import Answer
from podium.analysis.statistics import confusion, order_by_confusion
from podium.records.evaluation import ConfusedPair
from podium.report.pages import inlined, latin, rendered, thumbnail, with_latin
from podium.report.sentences import count, share

if TYPE_CHECKING:
    import pandas as pd
    from PIL import Image

_MOST_CLASSES = 40  # of a confusion matrix that is a table; of more there is the picture alone
_PAIRS = 5  # of classes that are taken for each other are shown side by side,
_ABREAST, _SMALL = 3, 112  # so many images of each kind, so many pixels high
_LEAST_SIDE = 256  # of a picture in MLflow, which shows it as large as it is
_ACROSS = 4  # on a sheet of several
_LINE, _MARGIN = 22, 6  # of the text below it, in pixels


@dataclass(frozen=True)
class ImageShown:
    """An image that at least one model names wrongly: its picture's address, and by model its mistake, surest first."""

    uri: str
    mistakes: dict[str, Answer]

    @property
    def first(self) -> Answer:
        """The surest mistake."""
        return next(iter(self.mistakes.values()))


@dataclass(frozen=True)
class Gallery:
    """The images a page shows, and how many mistakes each model made."""

    images: list[ImageShown]
    made: dict[str, int]

    @property
    def pairs(self) -> set[tuple[str, str, str]]:
        """Model, true and predicted class of the mistakes that are shown."""
        return {(model, one.label, one.predicted) for image in self.images for model, one in image.mistakes.items()}

    @property
    def said(self) -> str:
        """Which mistakes are shown, in a sentence."""
        shown = Counter(model for image in self.images for model in image.mistakes)
        told = [
            f"all {count(made)} of {model}" if shown[model] == made else f"{shown[model]} of {count(made)} of {model}"
            for model, made in self.made.items()
        ]
        rest = (
            "" if shown.total() == sum(self.made.values()) else ", the surest first; mistakes.parquet has all of them"
        )
        return f"Shown are {' and '.join(told)}{rest}."


def gather(mistakes: Mapping[str, Sequence[Answer]], room: int, most: int | None = None) -> Gallery:
    """The images to show: the surest mistake of each model in turn, then the next one, while there is room.

    Args:
        mistakes: by model, the surest first.
        room: characters that the addresses of the pictures may take.
        most: images at most; None for any number.

    Returns:
        Each image once, with what all these models took it for; images without a picture are left out.
    """
    uris: dict[str, str] = {}
    for one in chain.from_iterable(zip_longest(*mistakes.values())):
        if one is None or one.picture is None or one.image_id in uris:
            continue
        uri = inlined(one.picture, "webp")
        room -= len(uri)
        if room < 0 or len(uris) == most:
            break
        uris[one.image_id] = uri
    told: dict[str, dict[str, Answer]] = {image_id: {} for image_id in uris}
    pairs = [(model, one) for model, made in mistakes.items() for one in made if one.image_id in uris]
    for model, one in sorted(pairs, key=lambda pair: -pair[1].confidence):
        told[one.image_id][model] = one
    images = [ImageShown(uri, told[image_id]) for image_id, uri in uris.items()]
    return Gallery(images, {model: len(made) for model, made in mistakes.items()})


def gather_pairs(
    pairs: Sequence[ConfusedPair], mistakes: Sequence[Answer], typical: Sequence[Answer], room: int
) -> list[dict[str, list[tuple[str, Answer]]]]:
    """Images of classes that are taken for each other, to be shown side by side.

    Args:
        pairs: the most frequent first.
        mistakes: of the model, the surest first.
        typical: surest right answers about these classes.
        room: characters that the addresses of the pictures may take; pairs beyond are left out.

    Returns:
        For each pair, addresses of pictures by heading: typical ones of the first class, its mistakes, those the other
        way round, typical ones of the second class.
    """
    found = []
    for pair in pairs[:_PAIRS]:
        one, other = pair.actual, pair.predicted
        wanted = {
            f"{with_latin(one)}, named rightly": (typical, one, one),
            f"{with_latin(one)} taken for {with_latin(other)}: {pair.mistakes} of {pair.images}": (
                mistakes,
                one,
                other,
            ),
            f"{with_latin(other)} taken for {with_latin(one)}: {pair.back} of {pair.back_images}": (
                mistakes,
                other,
                one,
            ),
            f"{with_latin(other)}, named rightly": (typical, other, other),
        }
        columns = {}
        for heading, (answers, label, predicted) in wanted.items():
            of_them = [one for one in answers if (one.label, one.predicted) == (label, predicted) and one.picture]
            columns[heading] = [(thumbnail(one.picture or b"", _SMALL), one) for one in of_them[:_ABREAST]]
        room -= sum(len(uri) for shown in columns.values() for uri, _ in shown)
        if room < 0:
            break
        if any(columns.values()):
            found.append(columns)
    return found


@dataclass(frozen=True)
class Confusion:
    """Test images of one model by true (rows) and predicted class (columns), like beside like."""

    classes: list[str]
    counts: list[list[int]]


def confusions(answers: Mapping[str, "pd.DataFrame"], classes: Sequence[str]) -> dict[str, Confusion]:
    """The confusion matrix of each model as a table, all in one order; none where there are too many classes to read.

    Args:
        answers: columns `actual predicted`, one row a test image, by model.
        classes: of all models.
    """
    if len(classes) > _MOST_CLASSES:
        return {}
    number = {name: at for at, name in enumerate(classes)}
    counts = {}
    for model, rows in answers.items():
        actual, predicted = (
            np.array([number[n] for n in rows[column]], np.int64) for column in ("actual", "predicted")
        )
        counts[model] = confusion(actual, predicted, len(classes))
    order = order_by_confusion(np.sum(list(counts.values()), axis=0))
    named = [classes[at] for at in order]
    return {model: Confusion(named, matrix[np.ix_(order, order)].tolist()) for model, matrix in counts.items()}


def render_gallery(gallery: Gallery, title: str) -> str:
    """A page of mistakes alone, which needs no other file."""
    context = {"gallery": gallery, "title": title}
    return rendered("podium.report", "page", "gallery.html.j2", {"with_latin": with_latin, "share": share}, context)


def captioned(mistake: Answer) -> "Image.Image":
    """The picture of a mistake above what it is and what it was taken for."""
    from PIL import Image, ImageDraw, ImageFont

    with Image.open(io.BytesIO(mistake.picture or b"")) as stored:
        times = max(1, -(-_LEAST_SIDE // min(stored.size)))
        picture = stored.convert("RGB").resize((stored.width * times, stored.height * times), Image.Resampling.LANCZOS)
    page = Image.new("RGB", (picture.width, picture.height + 2 * _LINE + _MARGIN), "white")
    page.paste(picture)
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(16)
    told = (f"is {latin(mistake.label)}", f"{mistake.confidence:.0%} sure: {latin(mistake.predicted)}")
    for number, (text, colour) in enumerate(zip(told, ("#1b242d", "#b3362b"), strict=True)):
        draw.text((_MARGIN, picture.height + _MARGIN // 2 + number * _LINE), text, colour, font)
    return page


def sheet(mistakes: Sequence[Answer]) -> "Image.Image":
    """The captioned pictures of several mistakes, at least one, on one page."""
    from PIL import Image

    pictures = [captioned(one) for one in mistakes]
    width, height = (max(size) for size in zip(*(picture.size for picture in pictures), strict=True))
    across = min(_ACROSS, len(pictures))
    page = Image.new("RGB", (across * width, -(-len(pictures) // across) * height), "white")
    for at, picture in enumerate(pictures):
        page.paste(picture, (at % across * width, at // across * height))
    return page
