"""`reports/report.html`: the experiment as one offline page a manager can read. Pictures are inlined; what
its script adds (sorting, filters, enlarged pictures) nobody needs in order to read it.
`reports/report.md` is the same in short, from the same data, as a comment on a pull request.

Everything on the page comes from files of earlier stages and from `.podium/times`; every text is escaped.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from podium.analysis.conditions import TITLES, describe_probes, describe_shared, models_by_value, remedy
from podium.analysis.decision import describe_rate, lead, round_up, verdict
from podium.analysis.interventions import titles
from podium.analysis.leaderboard import describe_majority
from podium.analysis.mistakes import read_mistakes
from podium.analysis.robustness import describe_robustness, perturbed_at, worst_corruptions_first
from podium.analysis.slices import is_worse, worst_first
from podium.console.openings import read_openings
from podium.core.files import sha256_text, write_text
from podium.core.layout import (
    CONFUSION,
    CONFUSION_MATRIX,
    LEARNING_CURVES,
    MISTAKES,
    RELIABILITY,
    RISK_COVERAGE,
    TYPICAL,
)
from podium.records.evaluation import Interval
from podium.records.profile import Profile
from podium.records.validate import ExpectationResult
from podium.report.explanations import gather_explanations, gather_interventions
from podium.report.mistakes import confusions, gather, gather_pairs
from podium.report.pages import inlined, rendered, with_latin
from podium.report.results import Results, git_commit, read_table
from podium.report.sentences import (
    between,
    compact,
    count,
    describe_change,
    describe_corrections,
    describe_distance,
    describe_making,
    describe_search,
    describe_slices,
    describe_verdict,
    duration,
    findings,
    milliseconds,
    number,
    share,
    size,
)
from podium.report.studies import describe_growth, inlined_plots, read_study, setting_text

ROOM_FOR_MAPS = 700_000  # characters of the page that pictures of explanations may take,
ROOM_FOR_PAIRS = 300_000  # and those of classes that are taken for each other
ROOM_FOR_PICTURES = 3_500_000  # that plots and pictures of mistakes may take together,
LEAST_ROOM = 300_000  # of which this is for the mistakes however many models are drawn
PLOTS = {
    LEARNING_CURVES: "Learning curves",
    CONFUSION_MATRIX: "Confusion matrix",
    RELIABILITY: "Calibration",
    RISK_COVERAGE: "Risk and coverage",
}
REJECTED_SHOWN = 12
OPENINGS_SHOWN = 20
TRIALS_SHOWN = 8  # of each study
SECTIONS = {
    "change": "What would change it",
    "before": "Before you use it",
    "leaderboard": "Leaderboard",
    "curves": "Learning curves",
    "more": "More images",
    "sure": "How sure it is",
    "confusion": "Confusion",
    "classes": "Class by class",
    "coarse": "Coarse classes",
    "hard": "Where it is hard",
    "robust": "When something happens to it",
    "matters": "What matters in a picture",
    "mistakes": "Mistakes",
    "explanations": "Explanations",
    "data": "Data",
    "cost": "Cost",
    "recipes": "Recipes",
    "use": "How to use it",
    "origin": "How it was made",
    "openings": "Use of the test images",
}
USE_IN_PYTHON = """\
import base64, pathlib
import mlflow, pandas

mlflow.set_tracking_uri("{uri}")
model = mlflow.pyfunc.load_model("{model}")
photograph = base64.b64encode(pathlib.Path("photo.jpg").read_bytes()).decode()
print(model.predict(pandas.DataFrame({{"image": [photograph]}})))"""
USE_SERVER = """\
export MLFLOW_TRACKING_URI={uri}
podium serve {model}"""
USE_CURL = "curl -s -F image=@photo.jpg http://127.0.0.1:5001/predict"
_PAGE = "index.html.j2"
_MARK = '<meta name="podium-files" content="{}">'
_HEAD_BYTES = 2000  # the mark stands at the top of the page


@dataclass(frozen=True)
class Registered:
    """What the page says of the registry.

    Attributes:
        uri: where it is, as a person would write it from the project's folder.
        against: the winner against the version in use, a sentence; empty where that is not known.
    """

    uri: str = "sqlite:///mlflow.db"
    against: str = ""


def is_current(results: Results, registered: Registered = Registered()) -> bool:
    """Whether both reports on disk were rendered from these files and say this of the registry."""
    path = results.layout.report
    if not path.is_file() or not results.layout.report_in_short.is_file():
        return False
    with path.open("rb") as stream:
        return _mark(results, registered).encode() in stream.read(_HEAD_BYTES)


def write_report(results: Results, registered: Registered = Registered()) -> None:
    """Renders `reports/report.md`, then the page with the mark of both; the arguments are those of `render_report`."""
    view = _view(results, registered)
    write_text(results.layout.report_in_short, rendered("podium.report", "page", "short.md.j2", FILTERS, view))
    write_text(results.layout.report, rendered("podium.report", "page", _PAGE, FILTERS, view))


def render_report(results: Results, registered: Registered = Registered()) -> str:
    """The page.

    Args:
        results: what the files say.
        registered: what is known of the registry.

    Returns:
        One self-contained document of HTML: it names no other resource.

    Raises:
        DataError: a file of an earlier stage is missing.
    """
    return rendered("podium.report", "page", _PAGE, FILTERS, _view(results, registered))


def _mark(results: Results, registered: Registered) -> str:
    """What the page was rendered from, as an element of its head."""
    return _MARK.format(sha256_text(f"{results.files} {registered} {results.openings} {results.learning_curve}"))


def _view(results: Results, registered: Registered) -> dict[str, Any]:
    """Everything the template names."""
    layout, best = results.layout, results.winner
    pictured = _pictured(results)
    explained = pictured["explained"]
    openings = [] if results.openings.problem else read_openings(layout)[::-1]
    hard = _hard(results)
    there = {
        "more": results.learning_curve is not None,
        "hard": bool(hard["slices"]),
        "coarse": best.metrics.groups is not None,
        "mistakes": bool(pictured["gallery"].images),
        "explanations": bool(explained.checks),
        "robust": bool(hard["robustness_said"]),
        "matters": bool(pictured["intervened"]),
    }
    commit, dirty = git_commit(layout.root)
    staged = f"models:/{results.params.publish.registered_model}@staging"
    return {
        **pictured,
        **_data(results),
        **hard,
        "mark": _mark(results, registered),
        "against": registered.against,
        "results": results,
        "best": best,
        "plainly": describe_verdict(results),
        "changes": describe_change(results),
        "more": results.learning_curve and describe_growth(results.learning_curve, results.params.seed),
        "said_of_distance": describe_distance(best.metrics),
        "made": describe_making(results),
        "use_python": USE_IN_PYTHON.format(model=staged, uri=registered.uri),
        "use_serve": USE_SERVER.format(model=staged, uri=registered.uri),
        "use_curl": USE_CURL,
        "findings": [*findings(results), *explained.shortcuts],
        "titles": TITLES,
        "shared": describe_shared([model.metrics for model in results.models]),
        "probes": describe_probes(results.leaderboard.rows),
        "majority": describe_majority(results.leaderboard.majority),
        "x": _scale([row.accuracy for row in results.leaderboard.rows]),
        "added": list(results.leaderboard.rows[0].model_extra or {}),
        "trials_shown": TRIALS_SHOWN,
        "openings": openings[:OPENINGS_SHOWN],
        "more_openings": len(openings[OPENINGS_SHOWN:]),
        "contents": {key: title for key, title in SECTIONS.items() if there.get(key, True)},
        "grouped": any(best.card.groups.values()),
        "commit": commit,
        "dirty": dirty,
    }


def _pictured(results: Results) -> dict[str, Any]:
    """Plots, confusion matrices, explanations, and as many mistakes as there is room for."""
    layout, models, classes = results.layout, results.models, results.winner.card.classes
    answers = {m.name: read_table(layout.evaluation_report(m.name) / CONFUSION) for m in models}
    matrices = confusions(answers, classes)
    drawn = {name: title for name, title in PLOTS.items() if name != CONFUSION_MATRIX or not matrices}
    pictures = {m.name: _pictures(layout.evaluation(m.name), drawn) for m in models}
    studies = [(study, inlined_plots(study)) for study in (read_study(results, model) for model in models)]
    taken = sum(len(uri) for some in (*pictures.values(), *(plots for _, plots in studies)) for uri in some.values())
    folders = [layout.explanation(model.name) for model in models]
    intervened = gather_interventions(models, folders)
    taken += sum(len(one.plot) for one in intervened)
    mistakes = {model.name: read_mistakes(layout.evaluation(model.name) / MISTAKES) for model in models}
    best = results.winner
    typical = read_mistakes(layout.evaluation(best.name) / TYPICAL)
    return {
        "confusions": matrices,
        "pictures": pictures,
        "studies": studies,
        "explained": gather_explanations(models, folders, results.validation.results, ROOM_FOR_MAPS),
        "intervened": intervened,
        "gallery": gather(mistakes, max(LEAST_ROOM, ROOM_FOR_PICTURES - taken)),
        "side_by_side": gather_pairs(best.metrics.confused, mistakes[best.name], typical, ROOM_FOR_PAIRS),
    }


def _hard(results: Results) -> dict[str, Any]:
    """What the template says of slices and of perturbed photographs."""
    best = results.winner
    robust = [model.robustness for model in results.models if model.robustness]
    return {
        "slices": worst_first(best.metrics.slices),
        "slices_said": describe_slices(best.metrics),
        "searches": [describe_search(model.metrics) for model in results.models],
        "robustness_said": [describe_robustness(found) for found in robust],
        "robust_images": robust[0].images if robust else 0,
        "perturbed": worst_corruptions_first(best.robustness),
    }


def _data(results: Results) -> dict[str, Any]:
    """What the template says of the data."""
    from podium.data.manifest import PREPARED_COLUMNS, read_manifest

    layout, checks, corrections = results.layout, results.validation.results, results.sources.corrections
    manifest = read_manifest(layout.manifest, PREPARED_COLUMNS, "image_id", "split", "duplicate_kind")
    splits = dict(zip(manifest["image_id"], manifest["split"], strict=True))
    return {
        "profile": Profile.read(layout.profile),
        "duplicates": Counter(manifest["duplicate_kind"]),
        "corrected": describe_corrections(corrections, splits) if corrections else "",
        "relabelled": [(one, splits.get(one.image_id)) for one in corrections.corrected] if corrections else [],
        "rows_shown": REJECTED_SHOWN,
        "rejected": read_table(layout.rejected).head(REJECTED_SHOWN).to_dict("records"),
        "not_passed": sum(not r.success for r in checks),
        "verdicts": {r.id: _verdict(r) for r in checks},
    }


def _pictures(folder: Path, drawn: Mapping[str, str]) -> dict[str, str]:
    """Those of a model's plots that evaluation drew, as addresses by title."""
    return {title: _inline(folder / name) for name, title in drawn.items() if (folder / name).is_file()}


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


FILTERS: Mapping[str, Callable[..., Any]] = {
    form.__name__: form
    for form in (
        *(share, between, count, compact, size, milliseconds, duration, number, setting_text),
        *(is_worse, perturbed_at, titles, with_latin, models_by_value, remedy, lead, verdict, round_up, describe_rate),
    )
}
"""What the template writes numbers, names and differences with, by the names they have in it."""
