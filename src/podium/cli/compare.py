"""`podium compare A B`: any two models by their stored answers, on the images that both answered."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from podium.cli import AsJson
from podium.config.judging import Metric
from podium.config.params import Params, load
from podium.config.problems import nearest
from podium.console.terminal import add_row, console, print_json, project, table
from podium.core.errors import DataError, TrackingError, UsageError
from podium.core.layout import PREDICTIONS, Layout

if TYPE_CHECKING:
    import pandas as pd

    from podium.registry.loading import LoadedModel, RuntimeName
    from podium.registry.read_only import RegisteredModel, Version

RuntimeOption = Annotated[
    Literal["torch", "onnx"], typer.Option(help="What computes the answers: onnx takes the version's ONNX file.")
]
_SHOWN = 5  # images that one model alone names rightly
_MODELS = "models:/"
_Side = Annotated[
    str,
    typer.Argument(
        help="A model of the experiment in force, a version (its number, an alias, models:/NAME@ALIAS), or a file "
        "predictions.parquet.",
        show_default=False,
    ),
]


@dataclass(frozen=True)
class _Answers:
    """What one model answered: columns `image_id path label predicted`, sorted by id."""

    name: str
    table: "pd.DataFrame"


def compare(
    first: _Side,
    second: _Side,
    as_json: AsJson = False,
) -> None:
    """Compare any two models on the images both answered: is one better, are they equivalent, or can it not be said?

    Metric, significance and margin are those of section `compare` of params.yaml.
    """
    from podium.analysis.decision import compared, describe_pair
    from podium.analysis.paired import compare_answers
    from podium.analysis.statistics import percent, wilson

    layout = project()
    params = load(layout.params)
    one, other = (_read(layout, params, given) for given in (first, second))
    if one.name == other.name:
        raise UsageError(f"{one.name} is both of the two: name another one")
    mine, theirs, relabelled = _shared(one, other)
    rules, images = params.compare, len(mine)
    found = compared(compare_answers(one.name, other.name, (mine, theirs), rules.metric), images, rules)
    said = describe_pair(found, rules, images, _rate(mine, rules.metric))
    right = [answers["predicted"] == answers["label"] for answers in (mine, theirs)]
    rates = [wilson(int(each.sum()), images) for each in right]
    alone = [mine["path"][right[0] & ~right[1]].tolist(), mine["path"][right[1] & ~right[0]].tolist()]
    if as_json:
        sides = [
            {"name": each.name, "answered": len(each.table), "accuracy": rate.model_dump(), "alone_right": paths}
            for each, rate, paths in zip((one, other), rates, alone, strict=True)
        ]
        document = {"images": images, "other_labels": relabelled, "models": sides, "said": said}
        print_json({**document, "comparison": found.model_dump(mode="json")})
        return
    shown = table("model", "accuracy [95 %]", "answered", "both", right=("answered", "both"), fold=("model",))
    for each, rate in zip((one, other), rates, strict=True):
        add_row(shown, each.name, percent(rate), f"{len(each.table):,}", f"{images:,}")
    console().print(shown)
    if relabelled:
        print(f"{relabelled:,} more images have another label in each of the two and are left out.")
    console().print(f"\n{said}", markup=False)
    for names, paths in zip(((one.name, other.name), (other.name, one.name)), alone, strict=True):
        _print_alone(*names, paths)


def _print_alone(name: str, other: str, paths: list[str]) -> None:
    """The first images that one model alone names rightly."""
    if not paths:
        return
    more = len(paths) - _SHOWN
    console().print(f"\n{name} is right and {other} wrong about:", markup=False)
    for path in paths[:_SHOWN]:
        console().print(f"  {path}", markup=False)
    if more > 0:
        print(f"  and {more:,} more: --json lists them")


def _shared(one: _Answers, other: _Answers) -> tuple["pd.DataFrame", "pd.DataFrame", int]:
    """The rows of the images that both answered under the same label, and how many they label otherwise.

    Raises:
        DataError: there are none.
    """
    columns = ["image_id", "label"]
    same = one.table[columns].merge(other.table[columns], on=columns)["image_id"]
    relabelled = int(one.table["image_id"].isin(other.table["image_id"]).sum()) - len(same)
    if same.empty:
        raise DataError(
            f"{one.name} ({len(one.table):,} images) and {other.name} ({len(other.table):,}) answered no image in "
            f"common under the same label ({relabelled:,} under another): evaluate both on one test split"
        )
    mine, theirs = (each.table[each.table["image_id"].isin(same)].reset_index(drop=True) for each in (one, other))
    return mine, theirs, relabelled


def _rate(answers: "pd.DataFrame", metric: Metric) -> float:
    """The metric of a model's answers."""
    if metric == "accuracy":
        return float((answers["predicted"] == answers["label"]).mean())
    from sklearn.metrics import f1_score

    return float(f1_score(answers["label"], answers["predicted"], average="macro", zero_division=0))


def _read(layout: Layout, params: Params, given: str) -> _Answers:
    """The answers of a side.

    Raises:
        UsageError: it is no model of the experiment, no version and no file.
        DataError: its answers are missing or damaged.
        TrackingError: the store does not answer.
    """
    from podium.analysis.predictions import read_answers
    from podium.registry.holder import artifact_of

    path = Path(given)
    if given in params.models:
        return _Answers(given, read_answers(layout.evaluation(given) / PREDICTIONS, with_path=True))
    if not given.startswith(_MODELS) and (path.suffix == ".parquet" or path.exists()):
        path = path / PREDICTIONS if path.is_dir() else path
        if not path.is_file():
            raise DataError(f"{path} does not exist: name a file predictions.parquet")
        return _Answers(given, read_answers(path, with_path=True))
    registered, version = find_version(layout, params, given)
    with TemporaryDirectory(prefix="podium-compare-") as folder:
        found = read_answers(artifact_of(layout, registered.name, version, PREDICTIONS, Path(folder)), with_path=True)
    model = version.tags.get("podium.model", "model unknown")
    return _Answers(f"version {version.version} of {registered.name} ({model})", found)


def find_version(
    layout: Layout, params: Params, given: str, otherwise: str = ", no version of {} and no file"
) -> tuple["RegisteredModel", "Version"]:
    """A version: `3`, `staging`, `models:/NAME/3`, `models:/NAME@staging`; `otherwise` is what else it is not.

    Raises:
        UsageError: there is none.
        TrackingError: the store does not answer, or knows no model of that name.
    """
    from podium.registry.read_only import find_registered

    name, key = params.publish.registered_model, given
    if given.startswith(_MODELS):
        name, _, key = given.removeprefix(_MODELS).replace("@", "/", 1).partition("/")
    registered = find_registered(layout, name)
    if registered is None and given.startswith(_MODELS):
        raise TrackingError(f"no model is registered as {name!r}: see `podium status`")
    known = {version.version: version for version in registered.versions} if registered else {}
    aliases = dict(registered.aliases) if registered else {}
    version = known.get(aliases.get(key, key))
    if registered is None or version is None:
        words = [*params.models, *known, *aliases]
        raise UsageError(
            f"{given!r} is no model of the experiment{otherwise.format(name)}{nearest(given, words)} "
            f"(known: {', '.join(words)})"
        )
    return registered, version


def load_model(layout: Layout, params: Params, given: str, runtime: "RuntimeName" = "torch") -> "LoadedModel":
    """The model or version that a command names; says so where its probabilities are not calibrated.

    Raises:
        UsageError: it is no model of the experiment and no version, or a model that is in no other format yet.
        PromotionRefused: it is not what the audit record says.
        DataError: a file of it is missing or damaged.
        ModelError: the weights are not those of the model's card.
        TrackingError: the store does not answer.
    """
    from podium.registry.loading import load_trained, load_version

    if given in params.models and runtime != "torch":
        raise UsageError(f"{given!r} is a model of the experiment, and versions alone are in ONNX: name its version")
    if given in params.models:
        return load_trained(layout, given, params.runtime)
    registered, version = find_version(layout, params, given, " and no version of {}")
    loaded = load_version(layout, registered, version, given, runtime=runtime)
    if loaded.temperature is None:
        print(f"{given} was registered before Podium calibrated probabilities: they are as the network gives them.")
    return loaded
