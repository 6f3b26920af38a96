"""Explanations for people: pictures of two models side by side, what their checks say, and shortcuts they point at."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from podium.analysis.explanation_checks import describe_checks, find_shortcuts
from podium.analysis.interventions import describe_interventions, foreground_told
from podium.core.layout import INTERVENTIONS
from podium.records.explanation import ExplainedImage, Interventions, MethodChecks
from podium.records.validate import ExpectationResult
from podium.report.pages import inlined, thumbnail
from podium.report.results import ModelResults
from podium.report.sentences import share

SIDE_BY_SIDE = 2
_SIDE = 96  # pixels of a picture's height, at most
_KINDS = ("typical", "worst")


@dataclass(frozen=True)
class Shown:
    """Of a class the surest right (typical) or wrong (worst) image of each model, with the address of its picture."""

    label: str
    kind: str
    pictures: dict[str, tuple[str, ExplainedImage]] = field(default_factory=dict)


@dataclass(frozen=True)
class Explained:
    """What the page says of explanations; `checks` by model and method; sentences where there is something to say."""

    methods: tuple[str, ...]
    shown: list[Shown]
    left_out: int
    checks: dict[tuple[str, str], MethodChecks]
    said: dict[tuple[str, str], list[str]]
    refused: list[str]
    shortcuts: list[str]


@dataclass(frozen=True)
class Intervened:
    """What the page says of one model's answers to changed pictures; `plot` is the address of a picture."""

    model: str
    found: Interventions
    said: list[str]
    foreground: str
    plot: str


def gather_interventions(models: Sequence[ModelResults], folders: Sequence[Path]) -> list[Intervened]:
    """Collects it of the models that have any; the arguments are those of `gather_explanations`."""
    return [
        Intervened(
            model=model.name,
            found=found,
            said=describe_interventions(model.name, found),
            foreground=foreground_told(found),
            plot=inlined((folder / INTERVENTIONS).read_bytes(), "png"),
        )
        for model, folder in zip(models, folders, strict=True)
        if (found := model.explanation.interventions) is not None
    ]


def gather_explanations(
    models: Sequence[ModelResults], folders: Sequence[Path], expectations: Sequence[ExpectationResult], room: int
) -> Explained:
    """Collects it.

    Args:
        models: best first.
        folders: `artifacts/explanation/<m>` of each.
        expectations: of the validation; the border probe's is told with shortcuts.
        room: characters that the addresses of the pictures may take; the classes the best model knows worst come first.
    """
    two = list(zip(models, folders, strict=True))[:SIDE_BY_SIDE]
    recall = models[0].metrics.per_class
    shown, left_out = [], 0
    for label in sorted(recall, key=lambda name: (recall[name].recall, name)):
        of_class = [one for one in _of_class(label, two) if one.pictures]
        room -= sum(len(uri) for one in of_class for uri, _ in one.pictures.values())
        if room < 0:
            left_out += 1
        else:
            shown += of_class
    checks = {(model.name, name): found for model in models for name, found in model.explanation.methods.items()}
    return Explained(
        methods=tuple(dict.fromkeys(name for _, name in checks)),
        shown=shown,
        left_out=left_out,
        checks=checks,
        said={key: describe_checks(key[1], found) for key, found in checks.items()},
        refused=[f"{model.name}: {why}" for model in models for why in model.explanation.refused.values()],
        shortcuts=_shortcuts(checks, expectations),
    )


def _of_class(label: str, two: Sequence[tuple[ModelResults, Path]]) -> Iterator[Shown]:
    """The pictures of a class."""
    for kind in _KINDS:
        one = Shown(label, kind)
        for model, folder in two:
            mine = (p for p in model.explanation.pictures if (p.label, p.kind) == (label, kind))
            if first := next(mine, None):
                one.pictures[model.name] = thumbnail(folder / first.file, _SIDE), first
        yield one


def _shortcuts(checks: dict[tuple[str, str], MethodChecks], expectations: Sequence[ExpectationResult]) -> list[str]:
    """Classes that models tell by something beside the object, by methods that pass the checks against chance."""
    said = [
        f"{model} looks beside the object in {share(rate)} of the images of {label} ({method}): it may go by what "
        "stands around it; see Explanations."
        for (model, method), found in checks.items()
        for label, rate in find_shortcuts(found).items()
    ]
    border = next((one for one in expectations if one.id == "border_shortcut"), None)
    if said and border is not None:
        passed = "is within its limit" if border.success else "warns, too"
        said.append(f"The probe of the images' borders {passed}: {border.observed}, expected {border.expected}.")
    return said
