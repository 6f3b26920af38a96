"""The gates of a promotion: each looks at one piece of evidence, measures it, and says by how much it fails.

A gate never raises because a model is bad: it returns a failed result with the reason, so that all gates are seen at
once and a forced promotion records what it overrode. torch is imported only by the gates that run a model.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from podium.config.judging import Promote
from podium.core.errors import DataError, ModelError
from podium.core.files import sha256_file
from podium.core.layout import Layout
from podium.records.base import Record
from podium.records.evaluation import Metrics
from podium.registry import packaged_model
from podium.registry.evidence import Evidence

if TYPE_CHECKING:
    from podium.models.inference import Classifier

LISTED = 5  # problems spelt out in one line


class GateResult(Record):
    """What one gate asked for and saw; `detail` is the sentence of a refusal, empty where there is nothing to add."""

    name: str
    required: str
    observed: str
    passed: bool
    detail: str = ""


def run_gates(candidate: Evidence, holder: Evidence | str | None, limits: Promote, layout: Layout) -> list[GateResult]:
    """Runs every gate, cheap ones first.

    Args:
        candidate: the version to promote.
        holder: the version that holds the alias now, why its evidence cannot be read, or None where there is none.
        limits: section `promote` of `params.yaml`.
        layout: where the present test images lie, in case the holder was tested on other ones.

    Returns:
        One result per gate, in the order they are shown.
    """
    classifier = packaged_model.load(candidate.folder)
    return [
        data_validation(candidate),
        comparison(candidate),
        weights_hash(candidate),
        golden_batch(candidate, classifier),
        accuracy(candidate.metrics, limits.minimum_accuracy),
        macro_f1(candidate.metrics, limits.minimum_macro_f1),
        recall_floors(candidate.metrics, limits.minimum_recall),
        not_worse_than_holder(candidate, holder, limits.holder_significance, layout),
        latency(candidate, classifier, limits.maximum_latency_seconds),
    ]


def data_validation(candidate: Evidence) -> GateResult:
    """The dataset passed its critical expectations, says the tag and says the report in the package."""
    tag = candidate.tags.get("podium.validation_passed", "missing")
    critical = [r.id for r in candidate.validation.results if not r.success and r.severity == "critical"]
    passed = tag == "true" and candidate.validation.passed
    failed = f" (failed: {_listed(critical)})" if critical else ""
    return GateResult(
        name="data_validation",
        required="passed",
        observed="passed" if passed else "failed",
        passed=passed,
        detail=""
        if passed
        else f"data validation did not pass{failed}: tag {tag}, report {str(candidate.validation.passed).lower()}",
    )


def comparison(candidate: Evidence) -> GateResult:
    """The version won on equal conditions, or on differences accepted by name: `compare` says so in the tags."""
    tag, differences = (candidate.tags.get(f"podium.{name}", "missing") for name in ("comparable", "differences"))
    passed = tag == "true"
    seen = {"true": "comparable", "false": "not comparable"}.get(tag, tag)
    return GateResult(
        name="comparison",
        required="comparable",
        observed=seen if differences in ("none", "missing") else f"{seen}: {differences}",
        passed=passed,
        detail=""
        if passed
        else f"the models it won against were trained on other conditions ({differences}): make them equal, or accept "
        "each difference by name in compare.accept, and run `dvc repro`",
    )


def weights_hash(candidate: Evidence) -> GateResult:
    """The packaged weights are those the tag and the model card speak of."""
    tag = candidate.tags.get("podium.weights_sha256", "missing")
    found = sha256_file(candidate.weights) if candidate.weights.is_file() else "missing"
    differs = [
        f"{what} says {said[:12]}"
        for what, said in (("the tag", tag), ("model.json", candidate.card.weights_sha256))
        if said != found
    ]
    return GateResult(
        name="weights_hash",
        required=tag[:12],
        observed=found[:12],
        passed=not differs,
        detail=f"weights hash {found[:12]} is not what was registered: {', '.join(differs)}" if differs else "",
    )


def golden_batch(candidate: Evidence, classifier: "Classifier | str") -> GateResult:
    """The packaged model gives the probabilities it gave when it was registered.

    Args:
        candidate: the version's evidence, with the golden batch.
        classifier: the loaded model, or why it does not load.
    """
    tolerance = candidate.golden.tolerance
    required = f"difference <= {tolerance:.0e}"

    def result(observed: str, detail: str = "") -> GateResult:
        return GateResult(name="golden_batch", required=required, observed=observed, passed=not detail, detail=detail)

    if isinstance(classifier, str):
        return result("does not load", f"the packaged model does not load: {classifier}")
    try:
        now, stored = packaged_model.golden_probabilities(classifier, candidate.golden)
    except (DataError, ModelError) as error:
        return result("does not predict", f"the packaged model does not predict its golden batch: {error}")
    if stored.shape != now.shape or not len(stored):
        return result(f"shape {now.shape}", f"golden batch: shape {now.shape} is not the stored {stored.shape}")
    difference = float(abs(now - stored).max())
    if not difference <= tolerance:  # also when it is not a number
        return result(
            f"{difference:.1e}",
            f"golden batch: largest difference {difference:.1e} of a probability is above {tolerance:.0e}",
        )
    return result(f"{difference:.1e}")


def accuracy(metrics: Metrics, minimum: float) -> GateResult:
    """Test accuracy, a fraction in [0, 1], reaches its floor."""
    return _at_least("accuracy", metrics.accuracy.value, minimum)


def macro_f1(metrics: Metrics, minimum: float) -> GateResult:
    """Unweighted mean of the classes' F1, a fraction in [0, 1], reaches its floor."""
    return _at_least("macro_f1", metrics.macro_f1.value, minimum)


def recall_floors(metrics: Metrics, minimum: Mapping[str, float]) -> GateResult:
    """Every class with a floor reaches it; a floor for a class the model does not know fails.

    Args:
        metrics: of the candidate on the test split.
        minimum: lowest recall by class, fractions in [0, 1]; empty = no floors.
    """
    if not minimum:
        return GateResult(name="recall", required="no floors", observed="-", passed=True)
    unknown = sorted(set(minimum) - set(metrics.per_class))
    margins = {name: metrics.per_class[name].recall - floor for name, floor in minimum.items() if name not in unknown}
    by_margin = sorted(margins, key=lambda name: (margins[name], name))
    problems = [f"class {name!r} has a recall floor but the model does not know it" for name in unknown]
    problems += [
        _below(f"recall of {name}", metrics.per_class[name].recall, minimum[name])
        for name in by_margin
        if margins[name] < 0
    ]
    shown = (unknown or by_margin)[0]  # the worst off
    seen = "unknown" if unknown else _rate(metrics.per_class[shown].recall, minimum[shown])
    return GateResult(
        name="recall",
        required=f">= {minimum[shown]:.3f} ({shown})",
        observed=f"{seen} (lowest of {len(minimum)})" if len(minimum) > 1 else seen,
        passed=not problems,
        detail=_listed(problems),
    )


def not_worse_than_holder(
    candidate: Evidence, holder: Evidence | str | None, significance: float, layout: Layout
) -> GateResult:
    """The candidate is not significantly worse than the present holder on the same images (exact McNemar test).

    Where the holder was tested on other data, it is run on the candidate's test images now; its predictions count as
    right when the label's name is right.

    Args:
        candidate: the version to promote.
        holder: the version that holds the alias, or why its evidence cannot be read; None passes.
        significance: two-sided p below which a difference counts.
        layout: `artifacts/raw` holds the present test images.
    """

    def result(observed: str, detail: str = "") -> GateResult:
        required = f"p >= {significance:g} if worse"
        return GateResult(
            name="not_worse_than_holder", required=required, observed=observed, passed=not detail, detail=detail
        )

    if holder is None:
        return result("no holder")
    if isinstance(holder, str):
        return result("not comparable", f"the present holder cannot be read: {holder}")
    from podium.registry.paired import compare_with_holder

    try:
        test = compare_with_holder(candidate, holder, layout)
    except (DataError, ModelError) as error:
        return result("not comparable", f"holder {holder.version} cannot be compared: {error}")
    gained, lost, p_value = test.only_first_right, test.only_second_right, test.p_value
    seen = f"{gained} won, {lost} lost, p {p_value:.3g}"
    if lost > gained and p_value < significance:
        return result(
            seen,
            f"significantly worse than holder {holder.version} on {len(candidate.predictions)} test images: {seen} is "
            f"{significance - p_value:.3g} below {significance:g}",
        )
    return result(seen)


def latency(candidate: Evidence, classifier: "Classifier | str", maximum: float) -> GateResult:
    """Median seconds of one image, decoding included, measured now on this machine.

    Args:
        candidate: whose golden images are sent one at a time.
        classifier: the loaded model, or why it does not load.
        maximum: seconds.
    """

    def result(observed: str, detail: str = "") -> GateResult:
        return GateResult(
            name="latency", required=f"<= {maximum:g} s", observed=observed, passed=not detail, detail=detail
        )

    if isinstance(classifier, str):
        return result("not measured", "latency cannot be measured: the packaged model does not load")
    try:
        seconds = packaged_model.median_seconds(classifier, packaged_model.golden_files(candidate.golden))
    except (DataError, ModelError) as error:
        return result("not measured", f"latency cannot be measured: {error}")
    if seconds > maximum:
        return result(f"{seconds:.4f} s", f"latency {seconds:.4f} s is {seconds - maximum:.4f} s above {maximum:g} s")
    return result(f"{seconds:.4f} s")


def _at_least(name: str, observed: float, minimum: float) -> GateResult:
    """The gate on a rate: at its floor it passes."""
    return GateResult(
        name=name,
        required=f">= {minimum:.3f}",
        observed=_rate(observed, minimum),
        passed=observed >= minimum,
        detail="" if observed >= minimum else _below(name, observed, minimum),
    )


def _below(what: str, observed: float, minimum: float) -> str:
    """By how much a rate misses its floor, as a sentence."""
    places = _places(observed, minimum)
    return f"{what} {observed:.{places}f} is {minimum - observed:.{places}f} below {minimum:.{places}f}"


def _rate(observed: float, minimum: float) -> str:
    """A rate with the decimals that tell it from its floor."""
    return f"{observed:.{_places(observed, minimum)}f}"


def _places(observed: float, minimum: float) -> int:
    """Three decimals, or as many as it takes to tell two numbers apart: 0.79996 is not shown as 0.800 below 0.800."""
    places = 3
    while observed != minimum and round(observed, places) == round(minimum, places) and places < 16:
        places += 1
    return places


def _listed(items: Sequence[str]) -> str:
    """The first `LISTED` of them, and how many more there are."""
    more = f" and {len(items) - LISTED} more" if len(items) > LISTED else ""
    return ", ".join(items[:LISTED]) + more
