"""`podium review`: images whose label is worth a look, on a page that gives out the file of corrections."""

import webbrowser
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from podium.cli.compare import load_model
from podium.cli.mistakes import has_display
from podium.config.params import Params, load
from podium.console.progress import show_progress
from podium.console.terminal import project
from podium.core.errors import DataError, UsageError
from podium.core.files import sha256_file, write_text
from podium.core.layout import DECISION, LABEL_NOISE, MANIFEST, MISTAKES, SOURCES, Layout

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from podium.data.shards import PreparedSplit
    from podium.registry.loading import LoadedModel
    from podium.report.review import Doubt, Shown
    from podium.sources.corrections import Row

_PAGE, _TABLE = "review.html", "corrections.csv"
_BATCH_SIZE, _AT_ONCE = 64, 1024  # images that a model is asked about, and that are copied out of the memory maps
_UNSURE = 0.5  # confidence below which a model without a threshold counts as not sure
_COLUMNS = {"path", "label", "score", "abstained"}  # of a table of predictions


def review(
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Ask this model about the images: one of the experiment or a version; the winner by default.",
        ),
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(
            metavar="TABLE", help="A table of `podium predict`: what the model abstained on, least sure first."
        ),
    ] = None,
    *,
    test: Annotated[
        bool, typer.Option("--test", help="Test images too, as far as the model got them wrong: a biased choice.")
    ] = False,
    most: Annotated[int, typer.Option(min=1, help="Images at most.")] = 200,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Folder of page and CSV; .podium/review by default.")
    ] = None,
    no_open: Annotated[bool, typer.Option("--no-open", help="Write the page and do not show it.")] = False,
) -> None:
    """Show training and validation images whose label is worth a look; the page gives out data/corrections.csv.

    They are here because `validate` finds the label more likely wrong than right, or because a model says another class
    or is not sure. What `dataset.corrections` decides already is not shown again.
    """
    from podium.data.manifest import PREPARED_COLUMNS, read_manifest
    from podium.report.review import as_csv, choose, render_review
    from podium.sources.corrections import read_rows

    layout = project()
    params = load(layout.params)
    images = read_manifest(layout.manifest, PREPARED_COLUMNS).set_index("image_id", drop=False)
    decided = read_rows(layout, params.dataset.corrections) if params.dataset.corrections else []
    notes: list[str] = []
    doubts = [list(_doubtful_labels(layout, notes)), *_ask(layout, params, model, test, notes)]
    doubts += [_of_predictions(predictions, images, test, notes)] if predictions else []
    done = _decided_images(layout, images, decided)
    doubts = [[one for one in each if one.key not in done] for each in doubts]
    shown = _show(layout, params, images, choose(doubts, most), predictions)
    if not shown:
        print(" ".join(["No image is worth a look, so no page is written.", *notes]))
        return
    notes.append(f"Shown are {len(shown):,} of {len({one.key for each in doubts for one in each}):,} such images.")
    if decided:
        notes.append(f"{len(decided):,} rows of {params.dataset.corrections} stay in the file that is downloaded.")
    folder = out or layout.work / "review"
    write_text(folder / _TABLE, "\ufeff" + as_csv(shown, decided))
    classes = sorted(images["label"].unique())
    write_text(folder / _PAGE, render_review(shown, classes, decided, experiment=params.experiment, notes=notes))
    print("\n".join([*notes, str(folder / _PAGE), f"{folder / _TABLE}: to fill in by hand instead, column `label`"]))
    if not no_open and has_display():
        webbrowser.open((folder / _PAGE).resolve().as_uri())


def _decided_images(layout: Layout, images: "pd.DataFrame", rows: Sequence["Row"]) -> set[str]:
    """Ids of the images that the file decides, and of those it did when the data was last fetched."""
    from podium.records.fetch import Sources

    last = Sources.read(layout.raw / SOURCES).corrections
    found = {one.image_id for one in last.images} if last else set()
    by_path = images[images["path"].isin([row.path for row in rows])].groupby("path")["image_id"].agg(list)
    for row in rows:
        ids = by_path.get(row.path, [])
        found.add(ids[0] if len(ids) == 1 else row.image_id)
    return found


def _doubtful_labels(layout: Layout, notes: list[str]) -> Iterator["Doubt"]:
    """What `validate` found of train and val, the most doubtful first."""
    from podium.records.profile import LabelNoise
    from podium.report.review import Doubt
    from podium.report.sentences import share

    path = layout.validation / LABEL_NOISE
    if not path.is_file():
        notes.append("`validate` has not looked at the labels yet: `dvc repro validate`.")
        return
    for one in LabelNoise.read(path).candidates:
        said = f"label check: {one.suggested} {share(one.probability_suggested)}, "
        said += f"{one.label} {share(one.probability_label)}"
        yield Doubt(one.image_id, "label", said, one.suggested)


def _ask(layout: Layout, params: Params, given: str | None, test: bool, notes: list[str]) -> list[list["Doubt"]]:
    """What a model says of train and val, and with `test` its mistakes on the test images, as evaluate kept them.

    Raises:
        UsageError: mistakes on test images are asked of a model that is none of the experiment, or of none.
        DataError: the model was trained with other classes or another image size than the prepared images have.
    """
    from podium.records.evaluation import Decision

    name = given
    if name is None and (layout.comparison / DECISION).is_file():
        winner = Decision.read(layout.comparison / DECISION).winner
        name = winner if winner in params.models else None
    if test and name not in params.models:
        raise UsageError("--test needs a model of the experiment that was evaluated: name it with --model")
    if name is None:
        notes.append("No model was asked: none has won yet, and --model names none.")
        return []
    found = _answers_of(layout, load_model(layout, params, name), name, notes, strict=given is not None)
    return [*found, _mistakes(layout, name)] if test else found


def _answers_of(
    layout: Layout, loaded: "LoadedModel", name: str, notes: list[str], *, strict: bool
) -> list[list["Doubt"]]:
    """Images of train and val that a model names otherwise, the surest first; and those it is not sure of.

    Raises:
        DataError: `strict`, and it was trained with other classes or another image size than they have.
    """
    from podium.data.shards import open_for_fitting
    from podium.report.review import Doubt
    from podium.report.sentences import share

    card, least = loaded.classifier.card, _UNSURE if loaded.threshold is None else loaded.threshold
    wrong: list[tuple[float, Doubt]] = []
    unsure: list[tuple[float, Doubt]] = []
    for split in (open_for_fitting(layout.prepared, each) for each in ("train", "val")):
        if tuple(card.classes) != split.classes or card.preprocessing != split.preprocessing:
            said = f"{name} was trained with other classes or another image size than the prepared images have"
            if strict:
                raise DataError(f"{said}: name another model, or train it anew (`dvc repro`)")
            notes.append(f"No model was asked: {said}.")
            return []
        ids, labels = split.index["image_id"].astype(str).tolist(), split.labels
        with show_progress(f"{name} on {split.name}", len(split)) as advance:
            for rows, shares in _probabilities(loaded, split):
                for row, of_classes in zip(rows, shares, strict=True):
                    number = int(of_classes.argmax())
                    sure, predicted = float(of_classes[number]), split.classes[number]
                    said = f"{name}: {predicted}, {share(sure)} sure"
                    if number != labels[row]:
                        wrong.append((-sure, Doubt(ids[row], "wrong", said, predicted)))
                    elif sure < least:
                        unsure.append((sure, Doubt(ids[row], "unsure", said, predicted)))
                advance(len(rows))
    notes.append(f"{name} was asked about the images of train and val.")
    return [[doubt for _, doubt in sorted(some, key=lambda one: one[0])] for some in (wrong, unsure)]


def _probabilities(
    loaded: "LoadedModel", split: "PreparedSplit"
) -> Iterator[tuple["NDArray[np.int64]", "NDArray[np.float64]"]]:
    """Rows of a split, some at a time, and calibrated probabilities of their classes, shape (rows, C)."""
    import numpy as np

    for start in range(0, len(split), _AT_ONCE):
        rows = np.arange(start, min(start + _AT_ONCE, len(split)), dtype=np.int64)
        yield rows, loaded.probabilities(split.images(rows), _BATCH_SIZE)


def _mistakes(layout: Layout, model: str) -> list["Doubt"]:
    """Its mistakes on the test images, the surest first."""
    from podium.analysis.mistakes import read_mistakes
    from podium.report.review import Doubt
    from podium.report.sentences import share

    return [
        Doubt(one.image_id, "test", f"{model}: {one.predicted}, {share(one.confidence)} sure", one.predicted)
        for one in read_mistakes(layout.evaluation(model) / MISTAKES)
    ]


def _of_predictions(table: Path, images: "pd.DataFrame", test: bool, notes: list[str]) -> list["Doubt"]:
    """Images of a table of `podium predict`: what the model abstained on, then what it was least sure of.

    A file with the bytes of a photograph of the dataset is that image (or each copy of it); another one is new.

    Raises:
        DataError: there is no such table.
    """
    from podium.data.preprocess import WHOLE
    from podium.report.review import Doubt
    from podium.report.sentences import share

    rows, found, gone = _read_predictions(table), [], 0
    boxes = images[["box_left", "box_top", "box_right", "box_bottom"]]
    known = images[(boxes == list(WHOLE)).all(axis=1)].groupby("photo_sha256")["image_id"].agg(list)
    for row in rows.sort_values(["abstained", "score"], ascending=[False, True]).to_dict("records"):
        path = str(row["path"])
        place = _place(path, table)
        if place is None:
            gone += 1
            continue
        said = f"{'abstained: ' if row['abstained'] else ''}{row['label']}, {share(row['score'])} sure"
        for key in known.get(sha256_file(place), [path]):
            if key == path or test or images.loc[key, "split"] != "test":
                found.append(Doubt(key, "prediction", said, str(row["label"])))
    notes += (
        [f"{gone:,} files of {table} are not here: call `podium review` where `podium predict` was."] if gone else []
    )
    return found


def _read_predictions(table: Path) -> "pd.DataFrame":
    """The rows of files that could be read.

    Raises:
        DataError: the file is missing, is neither CSV nor Parquet, or lacks a column.
    """
    import pandas as pd

    from podium.records.base import read_parquet

    if not table.is_file():
        raise DataError(f"{table} does not exist: `podium predict` writes such a table")
    if table.suffix == ".parquet":
        rows = read_parquet(table)
    else:
        try:
            rows = pd.read_csv(table, keep_default_na=False, na_values={"score": [""], "abstained": [""]})
        except ValueError as error:
            raise DataError(f"{table} is no table: `podium predict` writes one") from error
    if not {*rows.columns} >= _COLUMNS:
        raise DataError(f"{table} lacks one of {', '.join(sorted(_COLUMNS))}: `podium predict` writes such a table")
    return rows[rows["score"].notna()]


def _place(path: str, table: Path) -> Path | None:
    """Where a file that a table names lies: from here, or from the table; None where it is in neither place."""
    return next((place for place in (Path(path), table.parent / path) if place.is_file()), None)


def _show(
    layout: Layout, params: Params, images: "pd.DataFrame", chosen: dict[str, list["Doubt"]], table: Path | None
) -> list["Shown"]:
    """The chosen images with their pictures, the smaller the more there are."""
    from podium.data.manifest import RAW_COLUMNS, RawImages, read_manifest
    from podium.data.preprocess import WHOLE, region_of
    from podium.report.review import ROOM, Shown, picture

    raw = read_manifest(layout.raw / MANIFEST, RAW_COLUMNS).set_index("image_id")
    mine = {str(row["image_id"]): row for row in images[images["image_id"].isin(list(chosen))].to_dict("records")}
    shards = raw.loc[list(mine), "shard"].to_dict()
    reader, found = RawImages(layout.raw), []
    room, most = ROOM // max(1, len(chosen)), params.preprocess.max_pixels
    with show_progress("pictures", len(chosen)) as advance:
        for key, doubts in chosen.items():
            if key in mine:
                row = mine[key]
                uri = picture(reader.read(shards[key], row["photo_id"]), region_of(row), most, room)
                found.append(Shown(key, row["path"], row["label"], row["split"], uri, tuple(doubts)))
            elif table is not None and (place := _place(key, table)):
                found.append(Shown("", key, "", "", picture(place.read_bytes(), WHOLE, most, room), tuple(doubts)))
            advance(1)
    return found
