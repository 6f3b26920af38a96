"""`reports/report.html`: the experiment as one offline page a manager can read. Pictures are inlined, no script runs.

Everything on the page comes from files of earlier stages and from `.podium/times`; every text is escaped.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from podium.analysis.conditions import TITLES, describe_shared, models_by_value, remedy
from podium.core.files import write_text
from podium.core.layout import (
    CONFUSION,
    CONFUSION_MATRIX,
    LEARNING_CURVES,
    MISTAKE_PICTURES,
    MISTAKES,
    RELIABILITY,
    Layout,
)
from podium.records.evaluation import Interval
from podium.records.profile import Profile
from podium.records.validate import ExpectationResult
from podium.report.pages import inlined, rendered, with_latin
from podium.report.results import ModelResults, Results, git_commit, read_table
from podium.report.studies import read_studies, setting_text

if TYPE_CHECKING:
    import pandas as pd

WIDE_CLASSES = 16  # from here on a confusion matrix needs the whole width
PLOTS = {
    LEARNING_CURVES: "Learning curves",
    CONFUSION_MATRIX: "Confusion matrix",
    RELIABILITY: "Calibration",
}
REJECTED_SHOWN = 12
GROUPS_SHOWN = 4  # in a sentence
_MARK = '<meta name="podium-files" content="{}">'
_HEAD_BYTES = 2000  # the mark stands at the top of the page


@dataclass(frozen=True)
class Picture:
    """An inlined PNG."""

    title: str
    uri: str


@dataclass(frozen=True)
class Mistake:
    """A wrongly named test image; `confidence` in [0, 1]."""

    uri: str
    path: str
    label: str
    predicted: str
    confidence: float


@dataclass(frozen=True)
class ModelPart:
    """What the page shows of one model beyond its records."""

    model: ModelResults
    won: bool
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Axis:
    """The common scale of the leaderboard's intervals; `x` maps a rate to 0..100."""

    low: float
    high: float

    def x(self, rate: float) -> float:
        """Position of a rate, in per cent of the axis, 0 to 100."""
        return round(100 * (rate - self.low) / (self.high - self.low), 2)


def is_current(path: Path, files: str) -> bool:
    """Whether the report at `path` was rendered from files of this digest."""
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return _MARK.format(files).encode() in stream.read(_HEAD_BYTES)


def write_report(results: Results) -> None:
    """Renders the page to `reports/report.html`, whole or not at all."""
    write_text(results.layout.report, render_report(results))


def render_report(results: Results) -> str:
    """The page as HTML.

    Returns:
        One self-contained document: it names no other resource.

    Raises:
        DataError: a file of an earlier stage is missing.
    """
    ours: dict[str, Callable[..., Any]] = {
        "with_latin": with_latin,
        "models_by_value": models_by_value,
        "remedy": remedy,
    }
    filters = {**FILTERS, **ours}
    return rendered("podium.report", ".", "report.html.j2", filters, _view(results))


def findings(results: Results, confusion: "pd.DataFrame") -> list[str]:
    """What somebody who wants to use the winner should know, in sentences.

    Args:
        results: what the files say.
        confusion: columns `actual predicted`, one row a test image.
    """
    m = results.winner.metrics
    weakest = min(m.per_class, key=lambda label: (m.per_class[label].recall, label))
    recall, support = m.per_class[weakest].recall, m.per_class[weakest].support
    said = [f"Its weakest class is {weakest}: {share(recall)} of {support} images are named rightly."]
    wrong = confusion[confusion["actual"] != confusion["predicted"]]
    pairs = Counter(zip(wrong["actual"], wrong["predicted"], strict=True))
    if pairs:
        (actual, predicted), times = min(pairs.items(), key=lambda item: (-item[1], item[0]))
        said.append(
            f"The most frequent mistake is {actual} taken for {predicted}: {times} of {m.per_class[actual].support}."
        )
    if m.groups is not None:
        groups = list(m.groups.per_group)
        which = ", ".join(groups) if len(groups) <= GROUPS_SHOWN else f"one of {len(groups)}"
        said.append(f"It names the coarse class ({which}) rightly in {share(m.groups.accuracy.value)} of cases.")
    if "clean" in m.slices and "hard" in m.slices:
        clean, hard = m.slices["clean"], m.slices["hard"]
        said.append(
            f"Clean images are named rightly in {share(clean.accuracy.value)} of {clean.images} cases, hard ones "
            f"(occluded, busy, rotated or with several objects) in {share(hard.accuracy.value)} of {hard.images}."
        )
    said.append(
        f"Its stated confidence is off by {share(m.ece)} on average; {m.low_confidence_count} of {m.images} answers "
        f"come with less than {m.low_confidence_threshold:.0%} confidence and deserve a second look."
    )
    return said


def _view(results: Results) -> dict[str, Any]:
    """Everything the template names."""
    from podium.analysis.predictions import SLICES

    layout = results.layout
    known = [name for name in SLICES if any(name in c.metrics.slices for c in results.models)]
    commit, dirty = git_commit(layout.root)
    return {
        "mark": _MARK.format(results.files),
        "results": results,
        "best": results.winner,
        "findings": findings(results, read_table(layout.evaluation_report(results.winner.name) / CONFUSION)),
        "titles": TITLES,
        "shared": describe_shared([model.metrics for model in results.models]),
        "axis": _axis([row.accuracy for row in results.leaderboard.rows]),
        "parts": [_part(layout, c, c is results.winner) for c in results.models],
        "added": list(results.leaderboard.rows[0].model_extra or {}),
        "slices": known,
        "studies": read_studies(results),
        "mistakes": _mistakes(layout, results.winner.name),
        "profile": Profile.read(layout.profile),
        "duplicates": Counter(_manifest(layout)["duplicate_kind"]),
        "rejected": read_table(layout.rejected).head(REJECTED_SHOWN).to_dict("records"),
        "not_passed": sum(not r.success for r in results.validation.results),
        "verdicts": {r.id: _verdict(r) for r in results.validation.results},
        "wide": len(results.winner.card.classes) >= WIDE_CLASSES,
        "grouped": any(results.winner.card.groups.values()),
        "commit": commit,
        "dirty": dirty,
    }


def _part(layout: Layout, model: ModelResults, won: bool) -> ModelPart:
    """A model with those of its plots that evaluation drew."""
    folder = layout.evaluation(model.name)
    pictures = [Picture(title, _inline(folder / name)) for name, title in PLOTS.items() if (folder / name).is_file()]
    return ModelPart(model, won, tuple(pictures))


def _mistakes(layout: Layout, model: str) -> list[Mistake]:
    """The model's worst mistakes with their pictures."""
    folder = layout.evaluation(model)
    return [
        Mistake(
            uri=_inline(folder / MISTAKE_PICTURES / row["file"]),
            path=row["path"],
            label=row["label"],
            predicted=row["predicted"],
            confidence=float(row["confidence"]),
        )
        for row in read_table(folder / MISTAKES).to_dict("records")
    ]


def _axis(intervals: Sequence[Interval]) -> Axis:
    """A scale with a little air around all intervals, never of zero width."""
    low, high = min(i.low for i in intervals), max(i.high for i in intervals)
    air = max(0.01, 0.08 * (high - low))
    return Axis(low - air, high + air)


def _verdict(result: ExpectationResult) -> str:
    """A word for people, and the class of its cell on the page."""
    return "passed" if result.success else "failed" if result.severity == "critical" else "warning"


def _inline(path: Path) -> str:
    """A PNG as an address that holds the picture itself."""
    return inlined(path.read_bytes(), "png")


def _manifest(layout: Layout) -> "pd.DataFrame":
    from podium.data.manifest import PREPARED_COLUMNS, read_manifest

    return read_manifest(layout.manifest, PREPARED_COLUMNS)


def share(rate: float) -> str:
    """A fraction for people: `91.2%`."""
    return f"{rate:.1%}"


def between(interval: Interval) -> str:
    """The bounds of an interval: `88.0 to 94.1%`."""
    return f"{100 * interval.low:.1f} to {interval.high:.1%}"


def count(number: float) -> str:
    """A whole number with thin spaces between thousands."""
    return f"{int(number):,}".replace(",", "\u202f")


def compact(number: float) -> str:
    """Three digits and a unit: `11.2 M`, `0.61 G`."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= limit:
            return f"{number / limit:.3g} {unit}"
    return f"{number:.3g}"


def size(number: float) -> str:
    """Bytes for people, in powers of ten."""
    return f"{compact(number)}B" if number >= 1e3 else f"{number:.0f} B"


def milliseconds(seconds: float) -> str:
    """A short time: `7.4 ms`, `2.06 s`."""
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"


def number(value: float) -> str:
    """A number as a person would write it: three significant digits at most."""
    return f"{value:.3g}"


FILTERS: Mapping[str, Callable[[Any], str]] = {
    form.__name__: form for form in (share, between, count, compact, size, milliseconds, number, setting_text)
}
"""Numbers as a person writes them, by the names they have in the template."""
