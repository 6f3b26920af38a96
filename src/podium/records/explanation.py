"""What `explain` leaves: pictures of typical and wrong answers with their maps, and whether the maps are any good."""

from typing import Literal

from podium.config.judging import ForegroundMethod
from podium.records.base import Record
from podium.records.evaluation import Interval

InterventionKind = Literal["salient", "object", "background", "second_object"]


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


class Intervention(Record):
    """Accuracy where one thing in the same pictures is changed, against as much of something else, the control.

    Attributes:
        kind: `salient`: what speaks most for the answer is hidden, against as much elsewhere; `object`: the object,
            against as much background; `background`: exchanged with that of an image of another class, against one of
            its own, or blurred, against the pictures as they are; `second_object`: of another class, against its own.
        how: `grey`, `blur`, `foreign` or `other class`.
        share: of the pictures, changed on average.
        asked: the share that was to be hidden or to be taken by a second object; None where the object decides.
        images: how many pictures.
        accuracy: with its 95 % Wilson interval; so too `control`.
        same: share of answers that are those to the pictures as they are.
        turned: share of answers that were not the class that came in before, and are now; None where none came in.
        p_value: exact McNemar test of the two accuracies.
        adjusted_p: Holm's correction for all of the model's interventions.
    """

    kind: InterventionKind
    how: str
    share: float
    asked: float | None
    images: int
    accuracy: Interval
    control: Interval
    same: float
    turned: float | None
    p_value: float
    adjusted_p: float


class Interventions(Record):
    """Changed pictures of one model: `clean` is its accuracy on all of them as they are.

    `method` made the maps; `objects_known` of the images by `foreground`, those of the others are what speaks most for
    the answer.
    """

    images: int
    clean: Interval
    method: str
    foreground: ForegroundMethod
    objects_known: int
    results: tuple[Intervention, ...]


class Explanation(Record):
    """`artifacts/explanation/<model>/explanation.json`; `refused`: methods that lack something in the network, why."""

    model: str
    fingerprint: str
    test_digest: str
    methods: dict[str, MethodChecks]
    refused: dict[str, str]
    pictures: list[ExplainedImage]
    interventions: Interventions | None = None
