"""The winner against the version that holds `staging`: the three outcomes of `compare`, or why there is none.

Both models' stored predictions are compared, image by image. What was found is kept in `.podium/versus/`, since asking
again takes longer than all else that `podium status` does.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

from podium.analysis.decision import compared, describe_pair
from podium.config.judging import Compare
from podium.core.errors import DataError, TrackingError, one_line
from podium.core.files import canonical_json, sha256_file, sha256_text
from podium.core.layout import PREDICTIONS, Layout
from podium.records.base import Record
from podium.records.evaluation import Comparison, Leaderboard
from podium.registry.evidence import ARTIFACTS, CANDIDATE, rate_in
from podium.registry.read_only import RegisteredModel, Version, package_of
from podium.tracking import store

if TYPE_CHECKING:
    import pandas as pd

HOLDER = "staging"
_FAR = 0.05


class Versus(Record):
    """What is said of the winner and the holder of `staging`.

    `comparison` is of the winner (`first`) and the holder (`second`); None where they are the same model or were not
    tested on the same images. `said` is the sentence for people.
    """

    version: str
    comparison: Comparison | None
    said: str


def compare_with_holder(
    layout: Layout, registered: RegisteredModel | None, board: Leaderboard, winner: str, rules: Compare
) -> Versus | None:
    """The winner of the comparison on disk against the version that holds `staging`.

    Args:
        layout: the project's paths; the winner's predictions are read from `artifacts/evaluation`.
        registered: what the store holds under the experiment's name.
        board: the leaderboard the winner stands on.
        winner: its name there.
        rules: the metric, and what counts as a difference.

    Returns:
        The verdict, or why there is none; None where nothing is at `staging`.

    Raises:
        DataError: the winner is not on the leaderboard.
    """
    holder = version_at(registered, HOLDER)
    if registered is None or holder is None:
        return None
    row = next((row for row in board.rows if row.model == winner), None)
    if row is None:
        raise DataError(f"{winner} is not on the leaderboard it is said to lead: run `dvc repro compare`")
    model = holder.tags.get("podium.model", "model unknown")
    called = f"version {holder.version} at {HOLDER} ({model})"
    if holder.tags.get("podium.fingerprint") == row.fingerprint:
        return Versus(version=holder.version, comparison=None, said=f"{winner} is {called} itself.")
    mine = layout.evaluation(winner) / PREDICTIONS
    if not mine.is_file():
        said = f"{winner} cannot be compared with {called}: its predictions are not here; run `dvc repro`."
        return Versus(version=holder.version, comparison=None, said=said)
    kept = _kept_at(layout, holder, winner, rules)
    try:
        return Versus.read(kept)
    except DataError:
        pass  # not compared yet, or somebody changed it
    try:
        answers = _read_answers(layout, registered.name, holder, mine)
    except (DataError, TrackingError) as error:
        said = f"{winner} cannot be compared with {called}, whose predictions cannot be read: {error}"
        return Versus(version=holder.version, comparison=None, said=said)
    comparison, said = _compare(winner, called, answers, rules, getattr(row, rules.metric).value)
    found = Versus(version=holder.version, comparison=comparison, said=said)
    found.write(kept)
    return found


def _compare(
    winner: str, called: str, answers: "tuple[pd.DataFrame, pd.DataFrame]", rules: Compare, value: float
) -> tuple[Comparison | None, str]:
    """The comparison (None on other images) and what is said of it; `value` is the winner's metric."""
    if not answers[0][["image_id", "label"]].equals(answers[1][["image_id", "label"]]):
        return None, _other_images(winner, called, answers)
    from podium.analysis.paired import compare_answers

    images = len(answers[0])
    comparison = compared(compare_answers(winner, called, answers, rules.metric), images, rules)
    return comparison, describe_pair(comparison, rules, images, value)


def _kept_at(layout: Layout, holder: Version, winner: str, rules: Compare) -> Path:
    """Where the verdict is kept: a name for all it follows from, this code included."""
    here = Path(__file__)
    code = [here.parents[1] / "analysis" / f"{name}.py" for name in ("decision", "paired", "power")]
    files = [layout.evaluation(winner) / PREDICTIONS, *code, here]
    told = [holder.version, dict(holder.tags), winner, rules.model_dump(), *map(sha256_file, files)]
    return layout.work / "versus" / f"{sha256_text(canonical_json(told))}.json"


def version_at(registered: RegisteredModel | None, alias: str) -> Version | None:
    """The version that holds an alias; None where there is none."""
    if registered is None:
        return None
    return next((v for v in registered.versions if v.version == registered.aliases.get(alias)), None)


def describe_fall(model: RegisteredModel, alias: str = HOLDER) -> str | None:
    """A sentence where `candidate` is far worse than the version that holds an alias; None where it is not.

    Far is more than `_FAR` of test accuracy; where the two were tested on different images, the sentence says so.
    """
    candidate, holder = (version_at(model, name) for name in (CANDIDATE, alias))
    if candidate is None or holder is None:
        return None
    rates = [rate_in(version.tags, "accuracy") for version in (candidate, holder)]
    if None in rates or not float(rates[1] or 0) - float(rates[0] or 0) > _FAR:
        return None
    tested = {version.tags.get("podium.test_images", "unknown") for version in (candidate, holder)}
    other = " (on other test images)" if len(tested) > 1 else ""
    return (
        f"candidate is version {candidate.version} with accuracy {rates[0]:.1%}, far below the "
        f"{rates[1]:.1%} of version {holder.version}, which holds {alias}{other}"
    )


def _read_answers(layout: Layout, name: str, holder: Version, mine: Path) -> tuple["pd.DataFrame", "pd.DataFrame"]:
    """What the winner and the holder answered.

    Raises:
        DataError: a file is missing or damaged.
        TrackingError: the holder's package cannot be had.
    """
    from podium.analysis.predictions import read_answers

    with TemporaryDirectory(prefix="podium-holder-") as temporary:
        return read_answers(mine), read_answers(artifact_of(layout, name, holder, PREDICTIONS, Path(temporary)))


def artifact_of(layout: Layout, name: str, version: Version, file: str, folder: Path) -> Path:
    """A file of the `artifacts/` of a version's package; see `fetch_package`."""
    return fetch_package(layout, name, version, folder, f"{ARTIFACTS}/{file}")


def fetch_package(layout: Layout, name: str, version: Version, folder: Path, part: str = "") -> Path:
    """The package of a version, or a part of it.

    Args:
        layout: the project's paths.
        name: of the registered model.
        version: which one.
        folder: where it is put if it has to be fetched.
        part: a path in the package; empty for all of it.

    Returns:
        The file or folder; a local store may have lost it.

    Raises:
        TrackingError: the package cannot be had.
    """
    place = package_of(layout, version)
    if place is not None and urlsplit(place).scheme in ("", "file"):
        return Path(url2pathname(urlsplit(place).path)) / part
    import mlflow.artifacts
    from mlflow.exceptions import MlflowException

    uri = store.tracking_uri(layout)
    address = f"models:/{name}/{version.version}/{part}".rstrip("/")
    try:
        found = mlflow.artifacts.download_artifacts(
            artifact_uri=address, dst_path=str(folder), tracking_uri=uri, registry_uri=uri
        )
    except (MlflowException, OSError) as error:
        raise TrackingError(f"its package cannot be fetched ({one_line(error)})") from error
    return Path(found)


def _other_images(winner: str, holder: str, answers: tuple["pd.DataFrame", "pd.DataFrame"]) -> str:
    """Why two models that were tested on other images, or under other labels, are not compared."""
    mine, theirs = answers
    both = mine.merge(theirs, on=["image_id", "label"])
    return (
        f"{winner} cannot be compared with {holder}: the two were tested on other images ({len(mine):,} and "
        f"{len(theirs):,}, of which {len(both):,} are the same under the same label). `podium "
        f"promote candidate --check` asks the holder about the present ones."
    )
