"""The gates of a promotion: each looks at one piece of evidence, measures it, and says by how much it fails.

A gate is one function under `@gate`, run in the order of this module. It never raises because a model is bad: it
returns a verdict with the reason, so that all gates are seen at once and a forced promotion records what it overrode.
"""

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

from podium.config.judging import Limits
from podium.config.problems import nearest
from podium.console.openings import opened
from podium.core.errors import DataError, ModelError, ParamsError, first_few
from podium.core.layout import MODEL_CARD, Layout
from podium.records.audit import GateResult
from podium.registry.golden import tolerance_of

if TYPE_CHECKING:
    from podium.models.inference import Classifier
    from podium.registry.evidence import Evidence

LISTED = 5  # problems spelt out in one line


@dataclass(frozen=True)
class Verdict:
    """What a gate says: what it requires, what it saw, and the sentence of a refusal; empty where the gate passes."""

    required: str
    observed: str
    refusal: str = ""


@dataclass(frozen=True)
class Case:
    """What a gate may look at.

    Attributes:
        candidate: the version to promote.
        holder: the version that holds the alias now, why its evidence cannot be read, or None where there is none.
        classifier: the candidate's loaded model, or why it does not load.
        limits: section `promote` of `params.yaml`, or what a move says otherwise.
        layout: where the present test images lie, in case the holder was tested on other ones.
        limit: for a gate that has a default, `promote.gates.<name>` or that default; 0 for others.
        thorough: whether the model is asked about every test image again, or about some.
    """

    candidate: "Evidence"
    holder: "Evidence | str | None"
    classifier: "Classifier | str"
    limits: Limits
    layout: Layout
    limit: float = 0.0
    thorough: bool = False


@dataclass(frozen=True)
class Gate:
    """A gate: its name in the audit record, what it asks for, and the default of its own limit where it has one."""

    name: str
    sentence: str
    default: float | None
    judge: Callable[[Case], Verdict]


GATES: dict[str, Gate] = {}
"""Every gate by name, in the order they are run and shown."""


def gate(
    sentence: str, default: float | None = None
) -> Callable[[Callable[[Case], Verdict]], Callable[[Case], Verdict]]:
    """Makes a function a gate, under its own name.

    Args:
        sentence: what the gate asks for.
        default: its limit where `promote.gates` does not name another one; None for a gate without.
    """

    def register(judge: Callable[[Case], Verdict]) -> Callable[[Case], Verdict]:
        """Puts the function into `GATES` and gives it back as it is."""
        GATES[judge.__name__] = Gate(judge.__name__, sentence, default, judge)
        return judge

    return register


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


def run_gate(name: str, case: Case) -> GateResult:
    """Runs one gate, a key of `GATES`."""
    known = GATES[name]
    limit = 0.0 if known.default is None else case.limits.gates.get(name, known.default)
    said = known.judge(replace(case, limit=limit))
    return GateResult(
        name=name, required=said.required, observed=said.observed, passed=not said.refusal, detail=said.refusal
    )


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
        return Verdict("passed", "passed")
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


@gate("One image, decoding included, takes at most `maximum_latency_seconds`: the best of several rounds, now, here.")
def latency(case: Case) -> Verdict:
    """The golden images are sent one at a time. How busy the machine is stands beside what was measured."""
    from podium.registry.predictor import seconds_for_one

    required = f"<= {(maximum := case.limits.maximum_latency_seconds):g} s"
    if isinstance(case.classifier, str):
        return Verdict(required, "not measured", "latency cannot be measured: the packaged model does not load")
    try:
        seconds = seconds_for_one(case.classifier, case.candidate.golden.files)
    except (DataError, ModelError) as error:
        return Verdict(required, "not measured", f"latency cannot be measured: {error}")
    load, processors = os.getloadavg()[0], os.cpu_count() or 1
    busy = f" at load {load:.1f} on {processors} processors" if load > processors / 2 else ""
    wait = ": promote again when it is quiet" if busy else ""
    above = f"latency {seconds:.4f} s is {seconds - maximum:.4f} s above {maximum:g} s{busy}{wait}"
    return Verdict(required, f"{seconds:.4f} s{busy}", above if seconds > maximum else "")


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
