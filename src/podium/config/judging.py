"""Params sections `evaluate`, `explain`, `compare`, `publish`, `promote`: how models are measured and chosen."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, field_validator, model_validator

from podium.config.base import Because, Fraction, Name, Number, PositiveFloat, PositiveInt, Section, Text, Whole

Condition = Literal[
    "image_size",
    "pretraining",
    "distillation",
    "images_seen",
    "tuning_images",
    "seed",
    "dtype",
    "processes",
    "train_split",
    "val_split",
]
"""What must be equal for a comparison to be of the models alone. Different test images are never compared."""
Accepted = Condition | Literal["undecided"]
"""What `compare.accept` may name."""
Metric = Literal["accuracy", "macro_f1"]
"""What the models are ranked and compared by."""

ExportFormat = Literal["onnx", "torch_export", "onnx_int8"]
"""In what a version comes beside safetensors; `onnx_int8` is rounded to whole numbers of 8 bits."""

Fill = Literal["grey", "blur", "foreign"]
"""What stands in the place of what is hidden; `foreign` is the same part of another image."""
ForegroundMethod = Literal["box", "grabcut", "unet"]
"""How the object is told from its background."""


def _with_reasons(given: object) -> object:
    """What was given, unless it is no mapping: whoever accepts something says why."""
    if not isinstance(given, Mapping):
        raise ValueError(
            "names what is accepted with the reason of each, {} for nothing: accept: {undecided: <why>, pretraining: "
            "<why>}"
        )
    return given


class Abstain(Section):
    """When a model gives no answer: the share of wrong answers that is bearable, or of images that need an answer."""

    risk: Fraction | None = None
    coverage: Fraction | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        """A threshold follows from one of them."""
        if (self.risk is None) == (self.coverage is None):
            raise ValueError("abstain names either the risk or the coverage that is wanted: abstain: {risk: 0.05}")
        return self


class Slice(Section):
    """A part of the images: those lowest or highest by a column (a share of them), of a category, or beyond a limit."""

    column: Text
    lowest: Annotated[Number, Field(gt=0, lt=1)] | None = None
    highest: Annotated[Number, Field(gt=0, lt=1)] | None = None
    category: Text | Number | None = None
    above: Number | None = None
    below: Number | None = None
    sentence: Because | None = None

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        """It has one rule."""
        if sum(rule is not None for rule in (self.lowest, self.highest, self.category, self.above, self.below)) != 1:
            raise ValueError(
                "a slice names one of lowest, highest, category, above, below: {column: brightness, lowest: 0.1}"
            )
        return self


class Perturbations(Section):
    """How many of the test images are perturbed (0 = none are), and at which severities from 1 to 5."""

    images: Annotated[Whole, Field(ge=0)] = 128
    severities: Annotated[tuple[Annotated[Whole, Field(ge=1, le=5)], ...], Field(min_length=1)] = (3,)


class Evaluate(Section):
    """What is measured on the test split; temperature, threshold and sets are chosen on the validation split.

    `openings_budget`: models that the test images may be opened for before report and status say it is spent.
    """

    batch_size: PositiveInt = 64
    top_k: PositiveInt = 3
    low_confidence: Fraction = 0.5
    calibration_bins: PositiveInt = 15
    abstain: Abstain = Abstain(risk=0.05)
    set_coverage: Annotated[Number, Field(gt=0, lt=1)] = 0.9
    openings_budget: PositiveInt | None = None
    bootstrap_samples: PositiveInt = 2000
    mistakes: Annotated[Whole, Field(ge=0)] = 500
    slices: dict[Name, Slice] = {}
    perturbations: Perturbations = Perturbations()


class ExplainChecks(Section):
    """Of how many test images the maps are checked: `images` at all, fewer by deletion and with random weights."""

    images: PositiveInt = 256
    deletion: Annotated[Whole, Field(ge=0)] = 24
    randomised: Annotated[Whole, Field(ge=0)] = 8


class Interventions(Section):
    """Of how many of the images of the checks parts are hidden, exchanged or added (0 = none), and how.

    `shares` of the picture are hidden, or taken by a second object up to `LARGEST_SECOND_OBJECT`; `fills` hide them;
    `foreground` finds the object.
    """

    images: Annotated[Whole, Field(ge=0)] = 112
    shares: Annotated[tuple[Annotated[Number, Field(gt=0, lt=1)], ...], Field(min_length=1)] = (0.1, 0.3, 0.6)
    fills: Annotated[tuple[Fill, ...], Field(min_length=1)] = ("grey",)
    foreground: ForegroundMethod = "grabcut"


class Explain(Section):
    """Maps of what speaks for a class: by which methods, of how many typical and how many wrong images of each."""

    methods: tuple[Text, ...] = ("gradcam",)
    images_per_class: Annotated[Whole, Field(ge=0)] = 1
    batch_size: PositiveInt = 32
    checks: ExplainChecks = ExplainChecks()
    interventions: Interventions = Interventions()


class Compare(Section):
    """How the winner is chosen.

    `margin` is a difference in the metric, as a fraction, that is too small to matter: models whose difference surely
    lies within it are equivalent. `learning_curve` asks what more training images would bring.
    `accept` names conditions in which models may differ, and `undecided` where a leader may be promoted that the test
    images do not tell from the others; each with its reason, which is shown wherever the decision is.
    """

    metric: Metric = "accuracy"
    significance: Annotated[Number, Field(gt=0, lt=1)] = 0.05
    margin: Annotated[Number, Field(gt=0, lt=1)]
    learning_curve: bool = False
    accept: Annotated[dict[Accepted, Because], BeforeValidator(_with_reasons)] = {}


class Publish(Section):
    """Names in MLflow; `register_queued`: winners of `dvc exp run --queue` and `--temp` become versions, too.

    `export`: formats that a version holds beside its weights.
    """

    registered_model: Name
    register_queued: bool = False
    export: tuple[ExportFormat, ...] = ("onnx", "torch_export")


class Limits(Section):
    """Limits of the gates of `podium promote`; `gates` sets those of gates that have a default.

    `maximum_latency_ratio` is to the holder's latency, `slices` are parts of the test images that may not worsen
    against the holder.
    """

    minimum_accuracy: Fraction
    minimum_macro_f1: Fraction
    minimum_recall: dict[str, Fraction] = {}
    slices: tuple[Text, ...] = ()
    maximum_latency_seconds: PositiveFloat | None = None
    maximum_latency_ratio: PositiveFloat | None = None
    holder_significance: Annotated[Number, Field(gt=0, lt=1)] = 0.05
    gates: dict[str, Number] = {}


class Move(Limits):
    """What a promotion to one alias asks for; limits that it does not name are those of the section.

    `from`: an alias that the version must have held, on record. `approvals`: by how many other people, each good for
    `approval_days`. `signed`: its entry, and those of its approvals, by keys of `promote.signers` that differ.
    """

    model_config = ConfigDict(serialize_by_alias=True)

    from_: Name | None = Field(default=None, alias="from")
    approvals: Annotated[Whole, Field(ge=0)] = 0
    approval_days: PositiveInt = 14
    signed: bool = False


class Promote(Limits):
    """Which aliases a version can be promoted to, each after the one that it is from, and past which gates.

    `signers`: the file of each signer's public key, from the project's root.
    """

    moves: Annotated[dict[Name, Move], Field(min_length=1)]
    signers: dict[Name, Text] = {}

    @model_validator(mode="before")
    @classmethod
    def _moves_have_all_limits(cls, given: Any) -> Any:
        """Gives each move the limits that it does not name."""
        if not isinstance(given, Mapping):
            return given
        moves = given.get("moves", {"staging": {}, "production": {"from": "staging"}})
        if not isinstance(moves, Mapping):
            return given
        common = {key: given[key] for key in Limits.model_fields if key in given}
        complete = {alias: {**common, **own} if isinstance(own, Mapping) else own for alias, own in moves.items()}
        return {**given, "moves": complete}

    @field_validator("moves")
    @classmethod
    def _moves_follow_on(cls, moves: dict[str, Move]) -> dict[str, Move]:
        """Each after the one that it is from; none takes a name that MLflow or Podium keep for themselves."""
        ordered: dict[str, Move] = {}
        while later := {alias: move for alias, move in moves.items() if alias not in ordered}:
            ready = {alias: move for alias, move in later.items() if move.from_ is None or move.from_ in ordered}
            if not ready:
                alias, move = next(iter(later.items()))
                known = ", ".join(moves)
                raise ValueError(f"{alias} is from {move.from_!r}, which leads from no move to it (moves: {known})")
            ordered |= ready
        for alias in ordered:
            if alias in ("candidate", "latest") or re.fullmatch(r"v?\d+", alias, re.IGNORECASE):
                raise ValueError(f"{alias!r} cannot be promoted to: MLflow or Podium keep that name for themselves")
        return ordered
