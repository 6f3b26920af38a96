"""The gates of a promotion: each looks at one piece of evidence, measures it, and says by how much it fails.

They are run in the order of this module.
"""

import math
import os
from collections.abc import Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

from podium.config.judging import Limits
from podium.config.problems import nearest
from podium.console.openings import opened
from podium.core.errors import DataError, ModelError, ParamsError, first_few
from podium.core.layout import MODEL_CARD, Layout
from podium.records.audit import GateResult
from podium.registry.gate import GATES, Case, Verdict, gate, run_gate
from podium.registry.golden import tolerance_of

if TYPE_CHECKING:
    from podium.registry.evidence import Evidence

LISTED = 5  # problems spelt out in one line


def run_gates(
    candidate: "Evidence", holder: "Evidence | str | None", limits: Limits, layout: Layout, *, thorough: bool = False
) -> list[GateResult]:
    """Runs every gate, in the order of `GATES`, on what `Case` describes.

    Raises:
        ParamsError: `promote.gates` names a gate that does not exist or has no limit there.
    """
    from podium.registry.predictor import load_model

    adjustable = [name for name, known in GATES.items() if known.default is not None]
    for name in limits.gates:
        if name not in adjustable:
            listed = ", ".join(adjustable) or "none"
            raise ParamsError(f"promote.gates.{name} is no gate{nearest(name, adjustable)} (gates: {listed})")
    case = Case(candidate, holder, load_model(candidate.folder), limits, layout, thorough=thorough)
    return [run_gate(name, case) for name in GATES]


def foresee(version: str, tags: Mapping[str, str], limits: Limits, layout: Layout) -> list[GateResult]:
    """What the gates say that need no more than a version's tags: quick, and no promise that the others pass."""
    from podium.registry.evidence import rate_in

    found = {name: rate_in(tags, name) for name in ("accuracy", "macro_f1")}
    rates = {name: SimpleNamespace(value=rate) for name, rate in found.items() if rate is not None}
    passed = tags.get("podium.validation_passed") == "true"
    told = SimpleNamespace(
        version=version,
        tags=tags,
        metrics=SimpleNamespace(**rates),
        validation=SimpleNamespace(passed=passed, results=[]),
        test_digest=tags.get("podium.test_digest", ""),
    )
    case = Case(cast("Evidence", told), None, "not loaded", limits, layout)
    return [run_gate(name, case) for name in ("data_validation", "comparison", "test_openings", *rates)]


@gate("The dataset passed its critical expectations, says the tag and says the report in the package.")
def data_validation(case: Case) -> Verdict:
    """The tag and the report must agree that it passed."""
    candidate = case.candidate
    tag = candidate.tags.get("podium.validation_passed", "missing")
    if tag == "true" and candidate.validation.passed:
        relaxed = [f"{r.id} ({r.because})" for r in candidate.validation.results if r.relaxed]
        return Verdict("passed", f"passed, relaxed: {', '.join(relaxed)}" if relaxed else "passed")
    critical = [r.id for r in candidate.validation.results if not r.success and r.severity == "critical"]
    failed = f" (failed: {first_few(critical, LISTED)})" if critical else ""
    report = str(candidate.validation.passed).lower()
    return Verdict("passed", "failed", f"data validation did not pass{failed}: tag {tag}, report {report}")


@gate("The version won a decided comparison on equal conditions, or what speaks against it is accepted with a reason.")
def comparison(case: Case) -> Verdict:
    """`compare` says so in the tags."""
    names = ("outcome", "undecided_because", "comparable", "differences")
    outcome, because, tag, differences = (case.candidate.tags.get(f"podium.{name}", "missing") for name in names)
    seen = {"true": "comparable", "false": "not comparable"}.get(tag, tag)
    unfair = (
        f"the models it won against were trained on other conditions ({differences}): make them equal, or accept "
        "each difference with a reason in compare.accept, and run `dvc repro`"
    )
    accepted = because not in ("none", "missing")
    unsure = {
        "missing": "it does not say how its comparison ended: run `dvc repro`, which says it of the present winner",
        "undecided": (
            "the test images do not tell it from another model: add test images (the report says how many), or accept "
            "that with a reason, compare.accept: {undecided: <why>}, and run `dvc repro`"
        ),
    }
    refused = [unfair] if tag != "true" else []
    refused += [unsure[outcome]] if outcome in unsure and not accepted else []
    ended = f"{outcome} (accepted: {because})" if outcome == "undecided" and accepted else outcome
    told = "" if differences in ("none", "missing") else f": {differences}"
    return Verdict("decided, comparable", f"{ended}, {seen}{told}", "; ".join(refused))


@gate("Its test images were opened for at most so many models, says the ledger; off unless set.", default=math.inf)
def test_openings(case: Case) -> Verdict:
    """Where there is a limit, the version's own opening must be on record."""
    digest, limit, off = case.candidate.test_digest, case.limit, math.isinf(case.limit)
    required = "any number" if off else f"<= {limit:g} models"
    try:
        found = opened(case.layout, digest)
    except DataError as error:
        return Verdict(required, "not known", "" if off else f"how often the test set was used is not known: {error}")
    seen = f"{len(found)} models"
    if not off and (case.candidate.tags.get("podium.fingerprint", ""), digest) not in found:
        told = "the ledger of the test set does not hold this version: merge the branch on which it was measured"
        return Verdict(required, seen, told)
    above = f"the test set was opened for {seen}, {len(found) - limit:g} above {limit:g}: gather new test images"
    return Verdict(required, seen, above if len(found) > limit else "")


@gate("The packaged weights are those the tag and the model card speak of.")
def weights_hash(case: Case) -> Verdict:
    """The tensors are hashed; a missing file fails."""
    from podium.data.tensors import digest_like

    candidate = case.candidate
    tag = candidate.tags.get("podium.weights_sha256", "missing")
    found = digest_like(candidate.weights, candidate.card.weights_sha256) if candidate.weights.is_file() else "missing"
    differs = [
        f"{what} says {said[:12]}"
        for what, said in (("the tag", tag), (MODEL_CARD, candidate.card.weights_sha256))
        if said != found
    ]
    refusal = f"weights hash {found[:12]} is not what was registered: {', '.join(differs)}" if differs else ""
    return Verdict(tag[:12], found[:12], refusal)


@gate("The packaged model gives the probabilities it gave when it was registered; none of them is not a number.")
def golden_batch(case: Case) -> Verdict:
    """The original images go through the packaged model once more; how far it may differ, the package does not say."""
    from podium.registry.predictor import golden_difference

    golden = case.candidate.golden
    required = f"difference <= {(allowed := tolerance_of(case.candidate.card.runtime)):.0e}"
    if golden.tolerance > allowed:
        return Verdict(required, f"tolerates {golden.tolerance:g}", f"its golden batch tolerates {golden.tolerance:g}")
    if isinstance(case.classifier, str):
        return Verdict(required, "does not load", f"the packaged model does not load: {case.classifier}")
    try:
        difference = golden_difference(case.classifier, golden)
    except (DataError, ModelError) as error:
        return Verdict(required, "does not predict", f"the packaged model does not predict its golden batch: {error}")
    above = f"golden batch: largest difference {difference:.1e} of a probability is above {allowed:.0e}"
    return Verdict(required, f"{difference:.1e}", above if difference > allowed else "")


@gate("The metrics are those that the predictions in the package give.")
def metrics(case: Case) -> Verdict:
    """Number of images, accuracy, macro F1, and precision, recall and F1 of each class are computed again."""
    from podium.registry.recompute import check_metrics

    return Verdict("as its predictions give", *check_metrics(case.candidate))


@gate("The weights give the predictions in the package, on test images that this clone holds.")
def predictions(case: Case) -> Verdict:
    """Some images are asked about again, all of them where the promotion is thorough; none without these images."""
    from podium.registry.recompute import check_predictions

    allowed = tolerance_of(case.candidate.card.runtime)
    seen = check_predictions(case.candidate, case.classifier, case.layout, allowed, thorough=case.thorough)
    return Verdict(f"difference <= {allowed:.0e}", *seen)


@gate("Test accuracy, a fraction in [0, 1], reaches `minimum_accuracy`.")
def accuracy(case: Case) -> Verdict:
    """At its floor it passes."""
    return _at_least("accuracy", case.candidate.metrics.accuracy.value, case.limits.minimum_accuracy)


@gate("The unweighted mean of the classes' F1, a fraction in [0, 1], reaches `minimum_macro_f1`.")
def macro_f1(case: Case) -> Verdict:
    """At its floor it passes."""
    return _at_least("macro_f1", case.candidate.metrics.macro_f1.value, case.limits.minimum_macro_f1)


@gate("Every class in `minimum_recall` reaches its floor; a floor for a class the model does not know fails.")
def recall(case: Case) -> Verdict:
    """The class that is worst off is shown."""
    metrics, minimum = case.candidate.metrics, case.limits.minimum_recall
    if not minimum:
        return Verdict("no floors", "-")
    unknown = sorted(set(minimum) - set(metrics.per_class))
    margins = {name: metrics.per_class[name].recall - floor for name, floor in minimum.items() if name not in unknown}
    by_margin = sorted(margins, key=lambda name: (margins[name], name))
    problems = [f"class {name!r} has a recall floor but the model does not know it" for name in unknown]
    problems += [
        _below(f"recall of {name}", metrics.per_class[name].recall, minimum[name])
        for name in by_margin
        if not margins[name] >= 0
    ]
    worst = (unknown or by_margin)[0]
    seen = "unknown" if unknown else _rate(metrics.per_class[worst].recall, minimum[worst])
    more = f" (lowest of {len(minimum)})" if len(minimum) > 1 else ""
    return Verdict(f">= {minimum[worst]:.3f} ({worst})", seen + more, first_few(problems, LISTED))


@gate("The candidate is not significantly worse than the present holder on the same images (exact McNemar test).")
def not_worse_than_holder(case: Case) -> Verdict:
    """A two-sided p below `holder_significance` counts. Where the holder was tested on other data, it is run anew."""
    candidate, holder, significance = case.candidate, case.holder, case.limits.holder_significance
    required = f"p >= {significance:g} if worse"
    if holder is None:
        return Verdict(required, "no holder")
    if isinstance(holder, str):
        return Verdict(required, "not comparable", f"the present holder cannot be read: {holder}")
    from podium.registry.predictor import compare_with_holder

    try:
        test = compare_with_holder(candidate, holder, case.layout)
    except (DataError, ModelError) as error:
        return Verdict(required, "not comparable", f"holder {holder.version} cannot be compared: {error}")
    gained, lost, p_value = test.only_first_right, test.only_second_right, test.p_value
    seen = f"{gained} won, {lost} lost, p {p_value:.3g}"
    worse = (
        f"significantly worse than holder {holder.version} on {len(candidate.predictions)} test images: {seen} is "
        f"{significance - p_value:.3g} below {significance:g}"
    )
    return Verdict(required, seen, worse if lost > gained and p_value < significance else "")


@gate("On no slice of `promote.slices` is it significantly worse than the holder (exact McNemar tests, Holm).")
def slices(case: Case) -> Verdict:
    """A two-sided adjusted p below `holder_significance` counts."""
    candidate, holder, significance = case.candidate, case.holder, case.limits.holder_significance
    names = case.limits.slices
    required = f"p >= {significance:g} if worse" if names else "no slices"
    if not names or holder is None:
        return Verdict(required, "no holder" if names else "-")
    if isinstance(holder, str):
        return Verdict(required, "not comparable", f"slices: the present holder cannot be read: {holder}")
    from podium.registry.predictor import compare_slices
    from podium.registry.recompute import find_slices

    try:
        masks = find_slices(candidate, case.layout, names)
        tests = compare_slices(candidate, holder, case.layout, masks)
    except (DataError, ModelError) as error:
        return Verdict(required, "not comparable", f"slices cannot be compared with holder {holder.version}: {error}")
    said = {
        name: f"{name}: {test.only_first_right} won, {test.only_second_right} lost, p {p_value:.3g}"
        for name, (test, p_value) in tests.items()
    }
    worse = [
        f"significantly worse than holder {holder.version} on slice {said[name]}"
        for name, (test, p_value) in tests.items()
        if test.only_second_right > test.only_first_right and p_value < significance
    ]
    return Verdict(required, "; ".join(said.values()), first_few(worse, LISTED))


@gate("The expected calibration error, a fraction, is at most the limit; off unless set.", default=math.inf)
def calibration_error(case: Case) -> Verdict:
    """It is computed again, at the temperature in the package."""
    from podium.registry.recompute import measure_calibration

    required = "any" if math.isinf(case.limit) else f"<= {case.limit:g}"
    temperature = case.candidate.metrics.temperature
    try:
        error = measure_calibration(case.candidate)
    except DataError as problem:
        return Verdict(required, "not computed", f"its calibration cannot be computed: {problem}")
    above = f"expected calibration error {error:.3f} is {error - case.limit:.3f} above {case.limit:g}"
    at = "not calibrated" if temperature is None else f"temperature {temperature:.2f}"
    return Verdict(required, f"{error:.3f}, {at}", above if error > case.limit else "")


@gate(
    "One image, decoding included, takes at most `maximum_latency_seconds`, and `maximum_latency_ratio` times what the "
    "holder takes: the best of several rounds in turn, now, here."
)
def latency(case: Case) -> Verdict:
    """The golden images are sent one at a time, to both. How busy the machine is stands beside what was measured."""
    from podium.registry.predictor import load_model, seconds_for_one

    limits = {"s": case.limits.maximum_latency_seconds, "x holder": case.limits.maximum_latency_ratio}
    required = ", ".join(f"<= {limit:g} {unit}" for unit, limit in limits.items() if limit is not None) or "any"
    models = [case.classifier]
    if limits["x holder"] is not None and case.holder is not None:
        models.append(case.holder if isinstance(case.holder, str) else load_model(case.holder.folder))
    loaded = [model for model in models if not isinstance(model, str)]
    if len(loaded) < len(models):
        who = "the packaged model" if isinstance(case.classifier, str) else "the holder"
        return Verdict(required, "not measured", f"latency cannot be measured: {who} does not load")
    try:
        seconds, *holders = seconds_for_one(loaded, case.candidate.golden.files)
    except (DataError, ModelError) as error:
        return Verdict(required, "not measured", f"latency cannot be measured: {error}")
    load, processors = os.getloadavg()[0], os.cpu_count() or 1
    wait = ": promote again when it is quiet" if load > processors / 2 else ""
    measured = dict(zip(("s", "x holder"), (seconds, *(seconds / others for others in holders)), strict=False))
    above = [
        f"latency {value:.4f} {unit} is above {limit:g} {unit}{wait}"
        for unit, value in measured.items()
        if (limit := limits[unit]) is not None and value > limit
    ]
    beside = "".join(f", {seconds / others:.2f} x holder's {others:.4f} s" for others in holders)
    return Verdict(required, f"{seconds:.4f} s{beside} at load {load:.1f} on {processors} processors", "; ".join(above))


def _at_least(name: str, observed: float, minimum: float) -> Verdict:
    """The verdict on a rate; one that is not a number is below every floor."""
    refusal = "" if observed >= minimum else _below(name, observed, minimum)
    return Verdict(f">= {minimum:.3f}", _rate(observed, minimum), refusal)


def _below(what: str, observed: float, minimum: float) -> str:
    """By how much a rate misses its floor, as a sentence."""
    if observed != observed:  # noqa: PLR0124  # NaN
        return f"{what} is not a number"
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
