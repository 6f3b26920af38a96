"""`podium evaluate VERSION --on FOLDER`: a model on new labelled images, measured as its test split was.

The test split stays closed: images of it are left out, and the ledger of openings is not touched.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
import yaml
from pydantic import ValidationError

from podium.cli import AsJson
from podium.cli.compare import find_version, load_model
from podium.config.dataset import Labelled
from podium.config.judging import Evaluate
from podium.config.params import load
from podium.console.terminal import console, print_json, project
from podium.core.errors import ParamsError, UsageError, one_line
from podium.core.files import replacing_folder, write_text
from podium.core.layout import LEFT_OUT, METRICS, MISTAKES, PAGE, Layout

if TYPE_CHECKING:
    from podium.records.evaluation import Metrics
    from podium.registry.loading import LoadedModel
    from podium.serving.new_images import Answered, Measured
    from podium.sources.source import Part


@dataclass(frozen=True)
class _Found:
    """A model, images, what came of asking it about them, and what was measured on its test split."""

    loaded: "LoadedModel"
    part: "Part"
    answered: "Answered"
    measured: "Measured"
    stored: "Metrics"

    @property
    def model(self) -> str:
        """What people call the model."""
        version = f", version {self.loaded.version}" if self.loaded.version else ""
        return f"{self.loaded.classifier.card.model}{version}"


def evaluate(
    model: Annotated[
        str,
        typer.Argument(
            help="A version (its number, an alias, models:/NAME@ALIAS), or a model of the experiment in force.",
            show_default=False,
        ),
    ],
    on: Annotated[
        Path,
        typer.Option(
            metavar="PATH",
            help="New labelled images: a folder of class folders, an archive of one, or a CSV with columns `path` "
            "(relative to it) and `label`.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the results; .podium/evaluation/NAME by default.")
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="YAML: the model's classes with what they are called there, as in dataset.labels."
        ),
    ] = None,
    *,
    with_known: Annotated[
        bool, typer.Option("--with-known", help="Ask about images the model was trained or chosen on, too.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Measure a model on new labelled images: metrics, calibration, slices, mistakes, and a page of all of it.

    Images that it was trained, chosen or tested on are counted and left out. The test split stays closed.
    """
    from podium.report.new_images import describe_known
    from podium.serving.new_images import answer, measure_new, read_known, stored_metrics
    from podium.sources.labelled import open_labelled, require_labels

    layout = project()
    params = load(layout.params)
    target = _target(layout, on, out)
    part = open_labelled(layout, on, _read_labels(labels), params.fetch)
    registered, version = (None, None) if model in params.models else find_version(layout, params, model)
    loaded = load_model(layout, params, model)
    require_labels(part, loaded.classifier.card.classes)
    stored = stored_metrics(layout, model, registered, version)
    known = read_known(layout, version)
    answered = answer(loaded, part, known, params.resources.workers, with_known=with_known)
    measured = measure_new(loaded, answered, stored, params.evaluate, params.seed)
    found = _Found(loaded, part, answered, measured, stored)
    told = describe_known(answered.known, len(part.images), with_known=with_known)
    _write(target, found, params.evaluate, told)
    if as_json:
        said = {"model": found.model, "known": answered.known or None, "left_out": len(answered.left_out)}
        print_json({**said, "folder": str(target), "metrics": measured.metrics.model_dump(mode="json")})
    else:
        _print(target, found, told)


def _target(layout: Layout, on: Path, out: Path | None) -> Path:
    """The folder to write, which is new, empty, or holds earlier results.

    Raises:
        UsageError: it holds something else, or a split is asked for by its name.
    """
    if str(on) in ("val", "test") and not on.exists():
        raise UsageError(
            f"--on {on} is no folder here: new images are measured; a split of the dataset is by "
            f"`python -m stages.evaluate --model MODEL --on {on}`"
        )
    target = (out or layout.work / "evaluation" / on.absolute().name).absolute()
    if target.is_file() or (target.is_dir() and any(target.iterdir()) and not (target / METRICS).is_file()):
        raise UsageError(f"--out {target} is a file, or a folder with other files: name a new folder")
    return target


def _read_labels(path: Path | None) -> dict[str, list[str]]:
    """A label map.

    Raises:
        ParamsError: the file is none.
    """
    if path is None:
        return {}
    try:
        return Labelled(labels=yaml.safe_load(path.read_text(encoding="utf-8"))).labels
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ParamsError(f"{path} is no YAML in UTF-8 ({one_line(error)})") from error
    except ValidationError as error:
        said = error.errors()[0]["msg"]
        raise ParamsError(
            f"{path} is no label map ({said}): write a line a class of the model, `lemon: [citron, zitrone]`"
        ) from error


def _write(folder: Path, found: _Found, settings: Evaluate, known: str) -> None:
    """Writes predictions, metrics, plots, mistakes, the images left out and the page, all or none of it."""
    from podium.analysis.calibration import calibrate
    from podium.analysis.mistakes import find_mistakes, read_mistakes, write_mistakes
    from podium.pipeline.evaluate import as_picture, write_answers, write_plots
    from podium.report.new_images import NewImages, render_page
    from podium.serving.new_images import find_pixels

    answers, metrics, groups = found.answered.predictions, found.measured.metrics, found.loaded.classifier.card.groups
    mistakes = find_mistakes(calibrate(answers, metrics.temperature), groups, found.measured.slices)
    pixels = find_pixels(found.part, found.loaded)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with replacing_folder(folder) as made:
        write_answers(made, answers, metrics)
        write_plots(made, metrics, answers, settings.calibration_bins)
        write_mistakes(made / MISTAKES, mistakes, settings.mistakes, lambda key: as_picture(pixels(key)))
        found.answered.left_out.to_csv(made / LEFT_OUT, index=False, lineterminator="\n")
        page = NewImages(
            model=found.model,
            images=found.part.origin.name,
            metrics=metrics,
            stored=found.stored,
            predictions=answers,
            left_out=found.answered.left_out,
            mistakes=read_mistakes(made / MISTAKES),
            known=known,
        )
        write_text(made / PAGE, render_page(page, made))


def _print(folder: Path, found: _Found, known: str) -> None:
    """What a person wants to know at once."""
    from podium.analysis.slices import is_worse
    from podium.pipeline.evaluate import print_summary
    from podium.report.new_images import describe_against_test

    metrics, left_out = found.measured.metrics, found.answered.left_out
    print_summary(metrics, "new", found.model)
    print(describe_against_test(metrics, found.stored))
    print(known)
    unread = int((left_out["known"] == "").sum())
    if unread:
        print(f"{unread:,} could not be read: {LEFT_OUT} says why")
    for name in found.measured.absent:
        print(f"evaluate.slices.{name} is left out: these images have no such column")
    worse = [name.replace("_", " ") for name, part in metrics.slices.items() if is_worse(part)]
    if worse:
        console().print(f"Worse than on the rest: {', '.join(worse)}", markup=False)
    print(folder / PAGE)
