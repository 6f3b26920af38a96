"""What `explain` leaves: pictures of typical and wrong answers with their maps, and whether the maps are any good."""

from typing import Literal

from podium.records.base import Record
from podium.records.evaluation import Interval


class OrderCheck(Record):
    """Area under the curve of the class's probability while tiles go or come, in the map's order and in a random one.

    `gain` is how much better the map's order is, in area, with its 95 % interval over images: above 0 is better.
    """

    area: float
    random: float
    gain: Interval


class BoxCheck(Record):
    """Where the maps of images with a known box lie.

    Attributes:
        images: how many have one.
        pointing: share of maps whose highest point lies inside the box, with its 95 % Wilson interval.
        energy: mean share of what speaks for the class that lies inside.
        chance: mean share of the image inside the box, which is what a random point or a flat map gets.
        centre: share of boxes that hold the centre of the image, which is what a point that never moves gets.
        outside: classes in most of whose images, surely, the highest point lies outside; with the share.
    """

    images: int
    pointing: Interval
    energy: float
    chance: float
    centre: float
    outside: dict[str, float]


class MethodChecks(Record):
    """One method's maps of one model.

    Attributes:
        images: how many were explained.
        deletion: of the most important tiles first; the area is to be small. None where none was asked for.
        insertion: into a blurred image; the area is to be large. Likewise.
        boxes: None where no image has a known box.
        randomised: mean rank correlation of maps with those of the model whose last stage, last two stages, ... have
            random weights, at last all of it.
    """

    images: int
    deletion: OrderCheck | None
    insertion: OrderCheck | None
    boxes: BoxCheck | None
    randomised: list[float]


class ExplainedImage(Record):
    """A picture in the folder: the image, then its overlay by each method, from left to right."""

    file: str
    image_id: str
    path: str
    label: str
    predicted: str
    confidence: float
    kind: Literal["typical", "worst"]


class Explanation(Record):
    """`artifacts/explanation/<model>/explanation.json`; `refused`: methods that lack something in the network, why."""

    model: str
    fingerprint: str
    test_digest: str
    methods: dict[str, MethodChecks]
    refused: dict[str, str]
    pictures: list[ExplainedImage]
