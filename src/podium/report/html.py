"""`reports/report.html`: the experiment as one offline page a manager can read. Pictures are inlined, no script runs.

Everything on the page comes from files of earlier stages and from `.podium/times`; every text is escaped.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from podium.analysis.conditions import TITLES, describe_shared, models_by_value, remedy
from podium.analysis.decision import describe_acceptance, lead
from podium.core.files import write_text
from podium.core.layout import (
    CONFUSION,
    CONFUSION_MATRIX,
    LEARNING_CURVES,
    MISTAKE_PICTURES,
    MISTAKES,
    RELIABILITY,
)
from podium.records.evaluation import Interval
from podium.records.profile import Profile
from podium.records.validate import ExpectationResult
from podium.report.pages import inlined, rendered, with_latin
from podium.report.results import Results, git_commit, read_table
from podium.report.studies import inlined_plots, read_study, setting_text

if TYPE_CHECKING:
    import pandas as pd

WIDE_CLASSES = 16  # from here on a confusion matrix needs the whole width
PLOTS = {
    LEARNING_CURVES: "Learning curves",
    CONFUSION_MATRIX: "Confusion matrix",
    RELIABILITY: "Calibration",
}
REJECTED_SHOWN = 12
TRIALS_SHOWN = 8  # of each study
GROUPS_SHOWN = 4  # in a sentence
_MARK = '<meta name="podium-files" content="{}">'
_HEAD_BYTES = 2000  # the mark stands at the top of the page


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
    return rendered("podium.report", ".", "report.html.j2", FILTERS, _view(results))


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
    from podium.data.manifest import PREPARED_COLUMNS, read_manifest

    layout = results.layout
    known = [name for name in SLICES if any(name in c.metrics.slices for c in results.models)]
    studies = [read_study(results, model) for model in results.models]
    commit, dirty = git_commit(layout.root)
    return {
        "mark": _MARK.format(results.files),
        "results": results,
        "best": results.winner,
        "findings": findings(results, read_table(layout.evaluation_report(results.winner.name) / CONFUSION)),
        "titles": TITLES,
        "shared": describe_shared([model.metrics for model in results.models]),
        "x": _scale([row.accuracy for row in results.leaderboard.rows]),
        "pictures": {model.name: _pictures(layout.evaluation(model.name)) for model in results.models},
        "added": list(results.leaderboard.rows[0].model_extra or {}),
        "slices": known,
        "studies": [(study, inlined_plots(study)) for study in studies],
        "trials_shown": TRIALS_SHOWN,
        "mistakes": _mistakes(layout.evaluation(results.winner.name)),
        "profile": Profile.read(layout.profile),
        "duplicates": Counter(read_manifest(layout.manifest, PREPARED_COLUMNS)["duplicate_kind"]),
        "rejected": read_table(layout.rejected).head(REJECTED_SHOWN).to_dict("records"),
        "not_passed": sum(not r.success for r in results.validation.results),
        "verdicts": {r.id: _verdict(r) for r in results.validation.results},
        "wide": len(results.winner.card.classes) >= WIDE_CLASSES,
        "grouped": any(results.winner.card.groups.values()),
        "commit": commit,
        "dirty": dirty,
    }


def _pictures(folder: Path) -> dict[str, str]:
    """Those of a model's plots that evaluation drew, as addresses by title."""
    return {title: _inline(folder / name) for name, title in PLOTS.items() if (folder / name).is_file()}


def _mistakes(folder: Path) -> list[dict[Hashable, Any]]:
    """The rows of a model's worst mistakes, each with its picture's address."""
    rows = read_table(folder / MISTAKES).to_dict("records")
    return [row | {"uri": _inline(folder / MISTAKE_PICTURES / row["file"])} for row in rows]


def _scale(intervals: Sequence[Interval]) -> Callable[[float], float]:
    """The common scale of the leaderboard: from a rate to per cent of it, with a little air around all intervals."""
    low, high = min(i.low for i in intervals), max(i.high for i in intervals)
    air = max(0.01, 0.08 * (high - low))
    low, high = low - air, high + air
    return lambda rate: round(100 * (rate - low) / (high - low), 2)


def _verdict(result: ExpectationResult) -> str:
    """A word for people, and the class of its cell on the page."""
    return "passed" if result.success else "failed" if result.severity == "critical" else "warning"


def _inline(path: Path) -> str:
    """A PNG as an address that holds the picture itself."""
    return inlined(path.read_bytes(), "png")


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


FILTERS: Mapping[str, Callable[..., Any]] = {
    form.__name__: form
    for form in (
        *(share, between, count, compact, size, milliseconds, number, setting_text),
        *(with_latin, models_by_value, remedy, lead, describe_acceptance),
    )
}
"""What the template writes numbers, names and differences with, by the names they have in it."""
