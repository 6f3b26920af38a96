"""What `preprocess` and `validate` say about the data: measures, duplicates, the profile, probes and candidates."""

from typing import Literal

from podium.config.base import Split
from podium.config.preprocess import Preprocess
from podium.records.base import Record

HISTOGRAMS = {"brightness": 1.0, "contrast": 0.5}
"""Measures with a histogram of twenty bins, and where the last bin ends; the first starts at 0."""
CHANNELS = ("red", "green", "blue")
LEVEL_BINS = 64  # equal parts of the levels 0..255


class DuplicateMember(Record):
    """One image of a group of duplicates; `source_split` is empty where the source gave none."""

    path: str
    label: str
    source_split: str
    split: Split


class DuplicateGroup(Record):
    """Images that show the same picture, the first one first. `exact` when the pixels of all are the same.

    `straddled`: the source gave its members different splits, so `moved` of them changed sides. `would_straddle`: a
    draw image by image would have put it on two sides.
    """

    id: str
    kind: Literal["exact", "near"]
    members: list[DuplicateMember]
    straddled: bool
    moved: int
    would_straddle: bool
    conflicting_labels: bool


class Spread(Record):
    """How one number is spread over some images: mean, standard deviation and the 5, 50 and 95 % quantiles."""

    mean: float
    std: float
    q05: float
    q50: float
    q95: float


class Part(Record):
    """Some of the images: a split, a class or a source.

    `sizes` has width, height and shorter side of the originals in pixels, `measures` the keys of `MEASURES`,
    `histograms` those of `HISTOGRAMS`: images by bin. `levels` has the `CHANNELS`, for splits and classes: the share of
    the content's pixels in each of `LEVEL_BINS` bins of the levels 0..255, each image counting the same.
    """

    images: int
    sizes: dict[str, Spread]
    measures: dict[str, Spread]
    histograms: dict[str, list[int]]
    levels: dict[str, list[float]] = {}


class Unusual(Record):
    """An image of train or val far from the others in the space of measures.

    `most` names the measure that sets it apart the most, `deviation` says by how many robust standard deviations.
    """

    image_id: str
    path: str
    split: Split
    distance: float
    most: str
    deviation: float


class Profile(Record):
    """`artifacts/prepared/profile.json`: what preprocess found. Numbers are images unless a name says otherwise.

    `preprocess` is the section it was made with. `rejected` are images that could not be read, `too_small` boxes below
    the least size, `left_out` copies of held-out images (`preprocess.duplicates`), `skipped` files of the source
    that are no images to use. `channel_mean` and `channel_std` (red, green, blue, 0..1) are of the content of train
    images, each image counting the same: offered for normalisation. Had images been drawn one by one,
    `naive_groups_torn` groups of images that belong together (duplicates, crops of one photograph) would have been on
    two sides, and `naive_test_twins` of `naive_test_images` test images would have had one of their group in train.
    """

    preprocess: Preprocess | None = None
    images: int
    rejected: int
    too_small: int
    left_out: int = 0
    skipped: int
    classes: list[str]
    per_class_and_split: dict[str, dict[Split, int]]
    per_split: dict[Split, int]
    per_group: dict[str, int]
    per_source: dict[str, int]
    per_licence: dict[str, int]
    rejected_by_reason: dict[str, int]
    notes: dict[str, int]
    duplicates: list[DuplicateGroup]
    groups_straddled: int
    images_moved: int
    groups_would_straddle: int
    groups_conflicting: int
    naive_groups_torn: int
    naive_test_images: int
    naive_test_twins: int
    channel_mean: list[float]
    channel_std: list[float]
    splits: dict[Split, Part]
    by_class: dict[str, Part]
    by_source: dict[str, Part]
    unusual: list[Unusual]


class FlaggedImage(Record):
    """An image that a quality flag names, with its value of the flag's measure."""

    image_id: str
    path: str
    split: Split
    value: float


class QualityFlag(Record):
    """One kind of doubtful image. `worst` holds at most 20 of `count`, the worst first."""

    name: Literal["dark", "blurred", "uniform", "odd_aspect"]
    sentence: str
    threshold: float
    count: int
    worst: list[FlaggedImage]


class LabelCandidate(Record):
    """An image whose label is more likely wrong than right. Probabilities of being the true class are in [0, 1]."""

    image_id: str
    path: str
    split: Split
    label: str
    suggested: str
    probability_label: float
    probability_suggested: float


class LabelNoise(Record):
    """Candidates for wrong labels among train and val, the most doubtful first; at most 100 of `count`.

    `images` were judged, in `folds` folds, by a model of cross-validated `accuracy`. `share` is the estimated share of
    wrong labels; a weak model names fewer than there are. `note` is empty, or says why nothing was judged (then the
    numbers are 0).
    """

    images: int
    classes: int
    folds: int
    accuracy: float
    chance: float
    count: int
    share: float
    candidates: list[LabelCandidate]
    note: str = ""


class Probe(Record):
    """Whether something can be predicted from what should not tell it; balanced accuracy over cross-validated folds.

    `low` and `high` bound its 95 % interval. `excess` is (balanced accuracy - chance) / (1 - chance): 0 at chance, 1
    when always right; below 0 it is worse than chance. `giveaways` are paths of images predicted rightly with the most
    confidence, at most 20. `note` is empty, or says why it was not run (then the numbers are 0).
    """

    predicted: str
    seen: str
    images: int
    classes: int
    balanced_accuracy: float
    low: float
    high: float
    chance: float
    excess: float
    giveaways: list[str]
    note: str = ""


class Shortcuts(Record):
    """The label from a border of the image alone, or from its aspect ratio, and the source from the whole image.

    The border is that of the image as models see it. Padding in it tells the aspect ratio, so a border is a shortcut of
    its own only where it tells more than `label_from_aspect`.
    """

    label_from_border: Probe
    label_from_aspect: Probe
    source_from_image: Probe
