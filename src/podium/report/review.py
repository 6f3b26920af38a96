"""Images whose label is worth a look, and the page on which somebody decides: right, another class, or left out.

The page needs no other file and no network. Its script collects what was decided and gives it out as the CSV that
`dataset.corrections` takes, together with the rows that are in there already.
"""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Literal

from podium.core.files import canonical_json, sha256_text
from podium.report.pages import inlined, rendered, with_latin
from podium.report.sentences import count
from podium.sources.corrections import COLUMNS, Row

if TYPE_CHECKING:
    from podium.data.preprocess import Region

ROOM = 4_400_000  # characters of a page that pictures may take
_SIDES = (320, 256, 192, 144, 112, 80)  # pixels of the longer side of a picture, the first that fits
_QUALITY = 80  # of its WebP
Kind = Literal["label", "wrong", "unsure", "prediction", "test"]
KINDS: Mapping[Kind, str] = {
    "label": "label looks wrong",
    "wrong": "model says another class",
    "unsure": "model is not sure",
    "prediction": "of the table of predictions",
    "test": "wrong on a test image",
}
"""Why an image is on the page, in the order of the filter."""


@dataclass(frozen=True)
class Doubt:
    """One reason to look at an image.

    Attributes:
        key: its `image_id`; of an image outside of the dataset, the path of the file.
        kind: one of `KINDS`.
        said: the reason, a few words.
        suggested: the class that it might be.
    """

    key: str
    kind: Kind
    said: str
    suggested: str


@dataclass(frozen=True)
class Shown:
    """An image on the page. `image_id`, `label` and `split` are empty where it is not in the dataset."""

    image_id: str
    path: str
    label: str
    split: str
    uri: str
    doubts: tuple[Doubt, ...]

    @property
    def suggested(self) -> str:
        """What most of the reasons take it for, the first of equals, where that is not its label."""
        words = [doubt.suggested for doubt in self.doubts if doubt.suggested != self.label]
        return max(words, key=words.count, default="")


def choose(doubts: Sequence[Sequence[Doubt]], most: int) -> dict[str, list[Doubt]]:
    """Which images to show.

    Args:
        doubts: lists, the strongest reason first in each.
        most: images at most.

    Returns:
        The reasons by key: the first image of each list in turn, then the second, ...; of these, images with several
        reasons come first.
    """
    chosen: dict[str, list[Doubt]] = {}
    for one in chain.from_iterable(zip_longest(*doubts)):
        if one is not None and len(chosen) < most:
            chosen.setdefault(one.key, [])
    for one in chain.from_iterable(doubts):
        if one.key in chosen:
            chosen[one.key].append(one)
    return dict(sorted(chosen.items(), key=lambda item: -len(item[1])))


def picture(data: bytes, region: "Region", max_pixels: int, room: int) -> str:
    """The region of a photograph as the address of an `<img>` of at most `room` characters, as large as that allows.

    Args:
        data: the bytes of its file.
        region: fractions of its upright width and height.
        max_pixels: as for `decode`.
        room: characters; the smallest size may take more.

    Raises:
        DataError: the file cannot be read.
    """
    import numpy as np
    from PIL import Image

    from podium.config.preprocess import Preprocessing
    from podium.data.decode import decode
    from podium.data.preprocess import WHOLE, crop, resize

    decoded = decode(data, max_pixels, 2 * _SIDES[0] if region == WHOLE else None)
    pixels = np.asarray(decoded.image)
    pixels = pixels if region == WHOLE else crop(pixels, region)
    uri = ""
    for side in _SIDES:
        how = Preprocessing(image_size=side, pad_value=0, max_pixels=max_pixels)
        out = io.BytesIO()
        Image.fromarray(resize(pixels, how, decoded.profile).pixels).save(out, "WEBP", quality=_QUALITY)
        uri = inlined(out.getvalue(), "webp")
        if len(uri) <= room:
            break
    return uri


def as_csv(shown: Sequence[Shown], decided: Sequence[Row]) -> str:
    """The rows that are decided already, then the images of the dataset with an empty `label` for a spreadsheet."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*COLUMNS, "suggested", "split", "said"])
    writer.writerows([getattr(row, column) for column in COLUMNS] for row in decided)
    for one in shown:
        if one.image_id:
            said = "; ".join(doubt.said for doubt in one.doubts)
            writer.writerow([one.path, one.image_id, one.label, "", "", one.suggested, one.split, said])
    return text.getvalue()


def render_review(
    shown: Sequence[Shown], classes: Sequence[str], decided: Sequence[Row], *, experiment: str, notes: Sequence[str]
) -> str:
    """The page.

    Args:
        shown: the images, in their order.
        classes: of the dataset.
        decided: rows that the downloaded file starts with.
        experiment: its name.
        notes: sentences on where the images are from.
    """
    rows = [[getattr(row, column) for column in COLUMNS] for row in decided]
    asked = sha256_text(canonical_json([[one.image_id, one.path, one.label] for one in shown]))
    context = {
        "title": f"Labels to look at: {experiment}",
        "shown": shown,
        "kinds": {kind: said for kind, said in KINDS.items() if any(d.kind == kind for s in shown for d in s.doubts)},
        "notes": notes,
        "on_test": any(one.split == "test" for one in shown),
        "decided": len(decided),
        "data": {"classes": list(classes), "columns": COLUMNS, "rows": rows, "key": f"podium-review-{asked[:16]}"},
    }
    filters: dict[str, Callable[..., str]] = {"with_latin": with_latin, "count": count}
    return rendered("podium.report", "page", "review.html.j2", filters, context)
