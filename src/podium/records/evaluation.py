"""What `evaluate` and `compare` leave: metrics, leaderboard, decision; their floats have ten significant digits."""

from typing import Literal

from pydantic import ConfigDict, Field

from podium.config.judging import Condition, Metric
from podium.records.base import Record
from podium.records.training import ModelFacts

Outcome = Literal["better", "equivalent", "undecided"]
"""Of a comparison of two models; see `analysis.paired`."""


class Interval(Record):
    """A rate with its 95 % interval (bootstrap or Wilson), or a difference of two models with its 90 % interval."""

    value: float
    low: float
    high: float


class Majority(Record):
    """The class most common in training, and how often always answering it is right (95 % Wilson interval)."""

    label: str
    accuracy: Interval


class ClassMetrics(Record):
    """One class, `support` test images; bounds of the recall's 95 % Wilson interval, None without images or of an older
    version.
    """

    precision: float
    recall: float
    recall_low: float | None = None
    recall_high: float | None = None
    f1: float
    support: int


class SliceMetrics(Record):
    """A part of the test split that can be told without the model's answers, and `rest`, all other test images.

    Accuracies with 95 % Wilson intervals. `p_value` is of Fisher's exact test that both are equal, `adjusted_p` after
    Holm's correction over all slices. `images_needed`: of this slice, to see a gap of five points (power 0.8); None
    where the difference is significant. `rest` and what follows are None where there is no other image.
    """

    sentence: str
    images: int
    accuracy: Interval
    rest: Interval | None
    p_value: float | None
    adjusted_p: float | None
    images_needed: int | None


class WorstSlice(Record):
    """A slice, or the images where two meet, on which the model is worse than on `rest`, all other test images.

    Accuracies with 95 % Wilson intervals. `adjusted_p` is of the exact one-sided test on the test split, after Holm's
    correction for all that were found on the validation split and are large enough here.
    """

    slices: list[str]
    sentence: str
    images: int
    accuracy: Interval
    rest: Interval
    validation_accuracy: Interval
    adjusted_p: float


class SliceSearch(Record):
    """How many slices and pairs were looked at and `found` on the validation split; those the test split confirms."""

    looked_at: int
    found: int
    confirmed: list[WorstSlice]


class ConfusedPair(Record):
    """Two classes that are taken for each other on the test split, the more frequent direction first.

    Of `images` of the class `actual`, `mistakes` were named `predicted`; of `back_images` of that class, `back` were
    named `actual`. `symmetry` is 2 x the smaller of the two over their sum: 1 both ways alike, 0 one way only. `share`
    is that of all wrong answers, both ways together. `distance` is that of the class means in feature space, over the
    sum of both spreads; `nearness` 1 says that no two classes are nearer. None where the features are not known.
    """

    actual: str
    predicted: str
    mistakes: int
    images: int
    back: int
    back_images: int
    symmetry: float
    share: float
    distance: float | None = None
    nearness: int | None = None


class DistanceCorrelation(Record):
    """Spearman's `rho` of distance and confusion, below 0: near classes are confused more; Mantel's one-sided p."""

    pairs: int
    rho: float
    p_value: float


class GroupMetrics(Record):
    """The coarse classes (`dataset.groups`) on the test split, told from the summed probabilities of their classes.

    `fine_mistakes`: share of the wrong answers that name a class of the right group, and `fine_by_chance` what it would
    be if wrong answers fell on all other classes alike; None where no answer is wrong.
    """

    accuracy: Interval
    macro_f1: Interval
    fine_mistakes: Interval | None
    fine_by_chance: float | None
    per_group: dict[str, ClassMetrics]


class Abstention(Record):
    """Answers below `threshold` of confidence are not given; it was chosen on the validation split for the target.

    `coverage` is the share of test images that are answered, `risk` the share of these answered wrongly, None where
    none is; both with a 95 % Wilson interval.
    """

    target_risk: float | None
    target_coverage: float | None
    threshold: float
    coverage: Interval
    risk: Interval | None


class PredictionSets(Record):
    """Sets of classes, each holding the truth of `target_coverage` of the images of every class.

    A class is in an image's set where its probability reaches its limit, chosen on the validation split. `coverage` is
    the share of test images whose set holds the truth, with a 95 % Wilson interval, and `per_class` that of each class.
    """

    target_coverage: float
    limits: dict[str, float]
    coverage: Interval
    mean_size: float
    per_class: dict[str, float]


class Conditions(Record):
    """What a model was trained under; one field for each `Condition` of the params.

    `pretraining` names the images its first weights have seen; `distillation` the model it learned from besides the
    labels, or `none`; `images_seen` is planned (epochs of the recipe times training images), so that early stopping
    makes no difference; `tuning_images` is the budget of its study; both are None of a probe;
    `train_split` and `val_split` are digests.
    """

    image_size: int
    pretraining: str
    distillation: str
    images_seen: int | None
    tuning_images: int | None
    seed: int
    dtype: str
    processes: int | str | None
    train_split: str
    val_split: str


class ModelResult(ModelFacts):
    """A model's numbers on the test split that the metrics of every registered version hold, and every leaderboard."""

    images: int
    accuracy: Interval
    macro_f1: Interval
    loss: float
    mean_confidence: float
    mean_confidence_correct: float | None
    mean_confidence_wrong: float | None
    low_confidence_threshold: float
    low_confidence_count: int
    ece: float


class Metrics(ModelResult):
    """`artifacts/evaluation/<model>/metrics.json`: the test split, once. Of a version, `registry.evidence` reads it.

    Confidences are calibrated: at `temperature`, which was chosen on the validation split. `groups` is None where there
    are no coarse classes to tell apart. `instruction_set` is what the CPU trained with. A metric that is no field here
    (see `analysis.metrics`) stands beside the others under its own name.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, float | None]

    conditions: Conditions
    instruction_set: str = "unknown"
    test_digest: str
    majority: Majority | None = None
    macro_precision: float
    macro_recall: float
    weighted_precision: float
    weighted_recall: float
    weighted_f1: float
    top_k: int
    top_k_accuracy: float
    aurc: float
    temperature: float
    abstention: Abstention
    sets: PredictionSets
    val_accuracy: float
    val_loss: float
    per_class: dict[str, ClassMetrics]
    confused: list[ConfusedPair]
    distance_correlation: DistanceCorrelation | None = None
    slices: dict[str, SliceMetrics]
    worst_slices: SliceSearch
    groups: GroupMetrics | None


class Difference(Record):
    """A condition in which the models differ; `accepted` where `compare.accept` names it, `because` of that reason."""

    condition: Condition
    values: dict[str, str | int]
    accepted: bool
    because: str | None


class Spread(Record):
    """A rate of several runs: their mean, and their standard deviation (with n - 1)."""

    mean: float
    deviation: float


class OverSeeds(Record):
    """A model's rates over the `seeds` it was trained with."""

    seeds: int
    accuracy: Spread
    macro_f1: Spread


class LeaderboardRow(ModelResult):
    """One model, added metrics beside the fields: of `seed`; `over_seeds` is there where it was trained with more."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, float | None]

    rank: int
    group_accuracy: Interval | None
    aurc: float
    abstention: Abstention
    over_seeds: OverSeeds | None = Field(default=None, exclude_if=lambda value: value is None)

    def rate(self, metric: Metric) -> float:
        """What the model is ranked by: its mean over seeds where there are several."""
        rates = self.over_seeds
        found: Interval | Spread = getattr(self if rates is None else rates, metric)
        return found.mean if isinstance(found, Spread) else found.value


class Leaderboard(Record):
    """`artifacts/comparison/leaderboard.json`. `comparable`: there is no difference that is not accepted.

    `majority` is what every model has to beat; None where the models are of an earlier version.
    """

    metric: Metric
    test_digest: str
    images: int
    majority: Majority | None = None
    comparable: bool
    differences: list[Difference]
    rows: list[LeaderboardRow]


class VarianceComponents(Record):
    """The variance of a difference between means over `seeds` and test images: what the choice of either makes of it.

    `freedom`: degrees of freedom that their sum is known with, at least seeds - 1.
    """

    seeds: int
    of_seeds: float
    of_images: float
    freedom: float


class PairedTest(Record):
    """Two models on the same images: who alone was right how often, and what the difference in a metric is worth.

    `p_value` is two-sided, of no difference; `difference` is that of the first minus the second. `variance` is there
    where the models were trained with several seeds: then all is of means over these.
    """

    first: str
    second: str
    only_first_right: int
    only_second_right: int
    p_value: float
    difference: Interval
    variance: VarianceComponents | None = Field(default=None, exclude_if=lambda value: value is None)


class Comparison(PairedTest):
    """The best model (`first`) against another.

    `adjusted_p` is the p-value after Holm's correction for all pairs of models. `images_needed` is how many test images
    would decide it if the two went on to disagree at this rate; None where it is decided, or where no number would, for
    the seeds are too few. `seeds_needed`, of several seeds: how many would decide it on these images.
    `minimum_detectable_difference` is the one, in the metric, that a test set of this size finds with power 0.8 at this
    rate; None where the images are too few to find any.
    """

    adjusted_p: float
    outcome: Outcome
    images_needed: int | None
    seeds_needed: int | None = Field(default=None, exclude_if=lambda value: value is None)
    minimum_detectable_difference: float | None


class Decision(Record):
    """`artifacts/comparison/decision.json`: who won and why, and whether the models met on equal conditions.

    `outcome` is `alone` where there is one model, `better` where every other one is shown worse, `undecided` where the
    test images do not tell some other one from the best and do not show it equivalent: the winner then leads
    provisionally. `accepted_because` is the reason `compare.accept` gives for promoting such a leader. `comparisons`
    are of the best model against each other one, best first.
    """

    winner: str
    fingerprint: str
    comparable: bool
    differences: list[Difference]
    outcome: Outcome | Literal["alone"]
    accepted_because: str | None
    rule: str
    reason: str
    comparisons: list[Comparison]
    validation_passed: bool
