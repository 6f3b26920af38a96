"""The validation page: one HTML file that needs nothing else, the same bytes for the same data.

Rule: what stops or warns comes first, then what a person should look at, then what the data is like. Pictures are of
train and val; test images appear in numbers and by path.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from PIL import Image

from podium.config.base import SPLITS
from podium.core.errors import DataError
from podium.data.manifest import MEASURES, SPECTRUM_BANDS
from podium.data.shards import PreparedSplit
from podium.records.profile import (
    HISTOGRAMS,
    DuplicateGroup,
    FlaggedImage,
    LabelCandidate,
    LabelNoise,
    Part,
    Profile,
    QualityFlag,
    Shortcuts,
    Unusual,
)
from podium.records.validate import ValidationReport
from podium.report.pages import curve, inlined, rendered, with_latin

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SIDE = 96  # pixels of a thumbnail at most
_QUALITY = 82  # of the JPEG
SHOWN_COLUMNS = ("image_id", "path", "source", "split", "width", "height", "duplicate_group")
"""What the page shows of the manifest."""
MOST_ROWS = 300  # of a list of files or groups; the files beside the page hold all
_MOST_PICTURED, _MOST_MEMBERS = 40, 6  # groups of duplicates with pictures, and of these so many members
_MOST_CANDIDATES = 24  # pictured; the page lists the others by path
_PER_CLASS, _IN_ALL, _MOST_CLASSES = 10, 480, 160  # pictures of the montages
_MOST_DRIFTS = 8
_PLAIN = (
    *("brightness", "contrast", "saturation", "colourfulness", "hue_spread", "sharpness", "entropy", "edge_density"),
    *("spectrum_ratio", "glcm_contrast", "glcm_homogeneity", "glcm_energy", "aspect"),
)
"""Measures listed on the page; all of them are in profile.json."""
_OF_CLASSES = ("brightness", "contrast", "saturation", "sharpness", "entropy", "edge_density", "spectrum_ratio")
_KINDS = {
    "unreadable": "Images that could not be read",
    "too_small": "Boxes that are too small",
    "duplicate": "Copies of held-out images",
    "skipped": "Files that are no images to use",
}
_FLAG_NAMES = {"dark": "Dark", "blurred": "Blurred", "uniform": "Nearly uniform", "odd_aspect": "Odd shape"}
COLOURS = ("#2563a8", "#d9772b", "#2c7a51", "#8a4f9e", "#5f6b76", "#b3362b")
"""Of sources, in their order; also train, val and test, in theirs. The page uses them in its legends."""

_INK, _GREY, _LIGHT = "#1b242d", "#5f6b76", "#c3ced9"
_DPI = 144
_MOST_POINTS = 5000
_STYLE = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9.5,
    "axes.labelcolor": _GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _LIGHT,
    "axes.axisbelow": True,
    "xtick.color": _GREY,
    "ytick.color": _GREY,
    "grid.color": "#e8ecf0",
    "text.parse_math": False,
}


@dataclass(frozen=True)
class Findings:
    """What validate found beyond its expectations.

    `manifest` has `SHOWN_COLUMNS`; `splits` are train and val, opened for fitting.
    """

    manifest: pd.DataFrame
    splits: tuple[PreparedSplit, ...]
    label_noise: LabelNoise | None = None
    shortcuts: Shortcuts | None = None
    quality: tuple[QualityFlag, ...] = ()


@dataclass(frozen=True)
class _Picture:
    """A thumbnail (an empty address for none) and what is said of it."""

    uri: str
    path: str
    split: str


class Thumbnails:
    """Small pictures of train and val by `image_id`: the same pixels give the same bytes."""

    def __init__(self, splits: Sequence[PreparedSplit]) -> None:
        """Remembers where each image is.

        Raises:
            DataError: one of them is the test split.
        """
        if any(split.name == "test" for split in splits):
            raise DataError("images of the test split are not shown: only train and val are")
        self._splits = [(split, pd.Index(split.index["image_id"])) for split in splits]

    def uri(self, image_id: str) -> str:
        """A `data:` address of the picture as JPEG; empty for an image that is not in train or val."""
        for split, ids in self._splits:
            if image_id in ids:
                row = np.array([ids.get_loc(image_id)], dtype=np.int64)
                image = Image.fromarray(split.images(row)[0])
                if image.width > _SIDE:
                    image = image.resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)
                out = io.BytesIO()
                image.save(out, "JPEG", quality=_QUALITY, optimize=True)
                return inlined(out.getvalue(), "jpeg")
        return ""


def render_validation(
    report: ValidationReport, profile: Profile, rejected: pd.DataFrame, findings: Findings | None = None
) -> str:
    """The page as HTML, everything from file names and labels escaped.

    Args:
        report: the verdict and all results.
        profile: what the data is like.
        rejected: columns `path label reason kind`.
        findings: for the sections with pictures and probes, which are left out without it.
    """
    context = {
        "report": report,
        "profile": profile,
        "splits": SPLITS,
        "results": sorted(report.results, key=lambda r: (r.success, r.severity, r.id)),  # what stops comes first
        "failed": [r for r in report.results if not r.success and r.severity == "critical"],
        "warned": [r for r in report.results if not r.success and r.severity == "warning"],
        "largest_cell": max([1, *(n for cells in profile.per_class_and_split.values() for n in cells.values())]),
        "rejected": {
            kind: _files(rejected[rejected["kind"] == kind]) for kind in _KINDS if (rejected["kind"] == kind).any()
        },
        "most_rows": MOST_ROWS,
        "duplicates": profile.duplicates[:MOST_ROWS],
        "drifts": sorted(report.drift, key=lambda drift: (-drift.distance, drift.measure))[:_MOST_DRIFTS],
        "drifted": sum(drift.drifts for drift in report.drift),
        "measures": {name: MEASURES[name] for name in _PLAIN},
        "of_classes": _OF_CLASSES,
        "shades": _shades(profile),
        "flag_names": _FLAG_NAMES,
        "kinds": _KINDS,
        "meanings": MEASURES,
        "unmet": {r.id for r in report.results if not r.success},
        "noise": findings.label_noise if findings else None,
        "shortcuts": findings.shortcuts if findings else None,
        "quality": findings.quality if findings else (),
        **_pictures(profile, findings),
        **_plots(profile, findings),
    }
    filters: dict[str, Callable[..., str]] = {
        "with_latin": with_latin,
        "count": "{:,}".format,
        "curve": curve,
        "number": _number,
        "percent": "{:.1%}".format,
    }
    return rendered("podium.report", "validation", "index.html.j2", filters, context)


def plot_light(profile: Profile) -> str:
    """How brightness and contrast are spread over the images of each split, as a `data:` address of a PNG."""
    from matplotlib.ticker import PercentFormatter

    with _figure(6.6, 2.5) as (figure, out):
        for axes, (name, end) in zip(figure.subplots(1, 2), HISTOGRAMS.items(), strict=True):
            for split, colour in zip(SPLITS, COLOURS, strict=False):
                counts = np.array(profile.splits[split].histograms[name], dtype=np.float64)
                if counts.sum():
                    edges = np.linspace(0, end, len(counts) + 1)
                    axes.stairs(counts / counts.sum(), edges, color=colour, linewidth=1.6)
            axes.set(xlabel=name, xlim=(0, end), ylim=(0, None))
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
            axes.grid(axis="y")
            axes.tick_params(length=0)
    return inlined(out.getvalue(), "png")


def plot_spectra(by_class: dict[str, Part], smoothest: str, finest: str) -> str:
    """Mean spectra of all classes as a `data:` address, `smoothest` in the first colour, `finest` in the second."""
    from matplotlib.ticker import FuncFormatter

    middles = (np.arange(SPECTRUM_BANDS) + 0.5) / (2 * SPECTRUM_BANDS)
    drawn = [(name, _LIGHT, 1.0) for name in by_class if name not in (smoothest, finest)]
    with _figure(6.6, 2.9) as (figure, out):
        axes = figure.subplots()
        for name, colour, width in [*drawn, (smoothest, COLOURS[0], 2.0), (finest, COLOURS[1], 2.0)]:
            measures = by_class[name].measures
            curve = [10 ** measures[f"spectrum_{band}"].mean for band in range(SPECTRUM_BANDS)]
            axes.plot(middles, curve, color=colour, linewidth=width)
        axes.set(yscale="log", xlabel="spatial frequency, cycles a pixel", ylabel="share of the power", xlim=(0, 0.5))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{share:.4%}".rstrip("0%").rstrip(".") + "%"))
        axes.grid(axis="y")
        axes.tick_params(length=0, which="both")
    return inlined(out.getvalue(), "png")


def plot_sizes(manifest: pd.DataFrame, sources: list[str], side: int) -> str:
    """Width and height of the originals, a point an image, as a `data:` address; at most 5,000, evenly drawn by id.

    Args:
        manifest: `image_id source width height`.
        sources: drawn in the colours, in this order; others are grey.
        side: of the prepared images, drawn as a corner: what lies inside it is enlarged.
    """
    shown = manifest.sort_values("image_id").head(_MOST_POINTS)
    colours = shown["source"].map(dict(zip(sources, COLOURS, strict=False))).fillna(_LIGHT)
    with _figure(6.6, 3.6) as (figure, out):
        axes = figure.subplots()
        axes.scatter(shown["width"], shown["height"], s=9, c=list(colours), alpha=0.45, linewidths=0)
        axes.plot([side, side, 0], [0, side, side], color=_INK, linewidth=1.0, linestyle="--")
        largest = 1.05 * max(int(shown["width"].max()), int(shown["height"].max()), side)
        axes.set(xlabel="width, pixels", ylabel="height, pixels", xlim=(0, largest), ylim=(0, largest))
        axes.grid()
        axes.tick_params(length=0)
    return inlined(out.getvalue(), "png")


def _files(rows: pd.DataFrame) -> tuple[int, list[tuple[str, str, str]]]:
    """How many, and `path label reason` of the first."""
    first = rows[["path", "label", "reason"]].head(MOST_ROWS)
    return len(rows), [(str(path), str(label), str(reason)) for path, label, reason in first.itertuples(index=False)]


def _number(value: float) -> str:
    """Three significant digits, without an exponent."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{float(f'{value:.3g}'):g}"


def _shades(profile: Profile) -> dict[str, dict[str, float]]:
    """By measure and class: where the class's median lies between the least and the largest, 0 to 1."""
    shades = {}
    for name in _OF_CLASSES:
        medians = {label: part.measures[name].q50 for label, part in profile.by_class.items()}
        low, high = min(medians.values(), default=0.0), max(medians.values(), default=0.0)
        shades[name] = {
            label: round((value - low) / (high - low), 3) if high > low else 0.0 for label, value in medians.items()
        }
    return shades


def _pictures(profile: Profile, findings: Findings | None) -> dict[str, object]:
    """Thumbnails by section of the page."""
    if findings is None:
        return {"montages": {}, "unusual": [], "twins": {}, "candidates": [], "flagged": {}}
    thumbnails = Thumbnails(findings.splits)
    noise = findings.label_noise
    return {
        "montages": _montages(findings.splits, thumbnails),
        "unusual": [(_picture_of(one, thumbnails), one) for one in profile.unusual],
        "twins": _duplicate_pictures(profile.duplicates, findings.manifest, thumbnails),
        "candidates": [(_picture_of(one, thumbnails), one) for one in noise.candidates[:_MOST_CANDIDATES]]
        if noise
        else [],
        "flagged": {
            flag.name: [(_picture_of(one, thumbnails), one) for one in flag.worst] for flag in findings.quality
        },
    }


def _picture_of(one: Unusual | LabelCandidate | FlaggedImage, thumbnails: Thumbnails) -> _Picture:
    """An image with its thumbnail as a data URI."""
    return _Picture(thumbnails.uri(one.image_id), one.path, one.split)


def _montages(splits: tuple[PreparedSplit, ...], thumbnails: Thumbnails) -> dict[str, list[_Picture]]:
    """Train images of each class, those with the smallest ids."""
    train = pd.concat([split.index[["image_id", "path", "label"]] for split in splits if split.name == "train"])
    labels = sorted(train["label"].unique())[:_MOST_CLASSES]
    most = max(3, min(_PER_CLASS, _IN_ALL // max(1, len(labels))))
    chosen = train.sort_values("image_id").groupby("label").head(most)
    return {
        label: [
            _Picture(thumbnails.uri(key), path, "train")
            for key, path in chosen.loc[chosen["label"] == label, ["image_id", "path"]].itertuples(index=False)
        ]
        for label in labels
    }


def _duplicate_pictures(
    groups: list[DuplicateGroup], manifest: pd.DataFrame, thumbnails: Thumbnails
) -> dict[str, list[_Picture]]:
    """Pictures of the members of each group, by the group's id, for the first groups."""
    pictured = groups[:_MOST_PICTURED]
    rows = manifest.loc[manifest["duplicate_group"].isin([group.id for group in pictured])]
    rows = rows.sort_values("image_id").groupby("duplicate_group").head(_MOST_MEMBERS)
    pictures: dict[str, list[_Picture]] = {group.id: [] for group in pictured}
    for group, key, path, split in rows[["duplicate_group", "image_id", "path", "split"]].itertuples(index=False):
        pictures[group].append(_Picture(thumbnails.uri(key), path, split))
    return pictures


def _plots(profile: Profile, findings: Findings | None) -> dict[str, object]:
    """Plots (empty where there is nothing to plot), what is in colour in them, by the names the template knows."""
    empty: dict[str, object] = dict.fromkeys(("light", "spectra", "sizes", "smoothest", "finest"), "")
    empty.update(coloured=[], split_colours={}, spectrum_colours=())
    if findings is None or not profile.by_class:
        return empty
    ratios = {label: part.measures["spectrum_ratio"].mean for label, part in profile.by_class.items()}
    smoothest, finest = max(ratios, key=lambda name: ratios[name]), min(ratios, key=lambda name: ratios[name])
    sources = sorted(profile.per_source, key=lambda name: (-profile.per_source[name], name))[: len(COLOURS)]
    manifest = findings.manifest
    same = manifest["width"].nunique() == 1 and manifest["height"].nunique() == 1
    side = findings.splits[0].preprocessing.image_size
    return {
        "light": plot_light(profile),
        "spectra": plot_spectra(profile.by_class, smoothest, finest),
        "sizes": "" if same else plot_sizes(manifest, sources, side),
        "smoothest": smoothest,
        "finest": finest,
        "coloured": list(zip(sources, COLOURS, strict=False)),
        "split_colours": dict(zip(SPLITS, COLOURS, strict=False)),
        "spectrum_colours": COLOURS[:2],
    }


@contextmanager
def _figure(width: float, height: float) -> Iterator[tuple["Figure", io.BytesIO]]:
    """A figure of a size in inches without any global settings, and what it is written to when the block ends."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        figure, out = Figure(figsize=(width, height), dpi=_DPI, layout="constrained"), io.BytesIO()
        FigureCanvasAgg(figure)
        yield figure, out
        # The library's version, which matplotlib would write into the file, is left out.
        figure.savefig(out, format="png", metadata={"Software": None})
