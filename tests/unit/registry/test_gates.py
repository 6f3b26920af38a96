"""Every gate passes and fails, with the right number in the message."""

import base64
import itertools
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from podium.config.judging import Promote
from podium.config.params import load
from podium.core.errors import ParamsError
from podium.core.layout import Layout
from podium.data.manifest import RAW_COLUMNS, RawWriter, read_manifest, write_manifest
from podium.models.inference import load_classifier
from podium.records.evaluation import ClassMetrics, Interval
from podium.records.validate import ExpectationResult
from podium.registry import gates, predictor, recompute
from podium.registry.gates import Case, Verdict, gate
from podium.registry.predictor import LATENCY_CALLS, LATENCY_ROUNDS, LATENCY_WARM_UPS, serving_runtime
from tests.unit.registry.promotions import gathered


@pytest.fixture(scope="module")
def evidence(finished_project, tmp_path_factory):
    layout = Layout(finished_project)
    return gathered(layout, load(layout.params), tmp_path_factory.mktemp("package"))


@pytest.fixture(scope="module")
def classifier(evidence):
    return load_classifier(evidence.folder, serving_runtime(evidence.folder))


@pytest.fixture
def damaged(evidence, tmp_path):
    """The same evidence in a folder that a test may change."""
    shutil.copytree(evidence.folder, tmp_path / "artifacts")
    return replace(evidence, folder=tmp_path / "artifacts")


def judge(name, evidence, holder=None, classifier="not loaded", layout=None, **limits):
    """What one gate says, with lenient limits unless others are given."""
    lenient = {"minimum_accuracy": 0.0, "minimum_macro_f1": 0.0, "maximum_latency_seconds": 60.0}
    promote = Promote(**{**lenient, **limits})
    return gates.run_gate(name, Case(evidence, holder, classifier, promote, layout or Layout(evidence.folder)))


def rate(value):
    return Interval.model_construct(value=value, low=value, high=value)  # a file with NaN in it is refused


def answers(right: int, wrong: int) -> pd.DataFrame:
    """`right` images named rightly, then `wrong` ones named wrongly; ids i0, i1, ..."""
    total = right + wrong
    return pd.DataFrame(
        {
            "image_id": [f"i{n:03d}" for n in range(total)],
            "label": "apple",
            "predicted": ["apple"] * right + ["pear"] * wrong,
        }
    )


def test_data_validation_asks_the_tag_and_the_report(evidence):
    assert judge("data_validation", evidence).passed
    untagged = replace(evidence, tags={})
    assert judge("data_validation", untagged).detail == "data validation did not pass: tag missing, report true"
    tagged_only = replace(evidence, validation=evidence.validation.model_copy(update={"passed": False}))
    assert not judge("data_validation", tagged_only).passed


def test_data_validation_names_the_critical_expectation_that_failed(evidence):
    bad = ExpectationResult(
        id="minimum_rows", suite="rows", severity="critical", sentence="", success=False, expected="", observed="",
        offending=[], offending_count=0,
    )  # fmt: skip
    held = bad.model_copy(update={"id": "no_leaks", "success": True})
    warned = bad.model_copy(update={"id": "balance", "severity": "warning"})
    report = evidence.validation.model_copy(update={"passed": False, "results": [held, bad, warned]})
    result = judge("data_validation", replace(evidence, validation=report))
    assert "(failed: minimum_rows)" in result.detail


@pytest.mark.parametrize(
    ("tags", "observed", "told"),
    [
        (
            {"podium.comparable": "false", "podium.differences": "pretraining"},
            "better, not comparable: pretraining",
            "pretraining",
        ),
        ({"podium.comparable": "missing"}, "better, missing", "compare.accept"),
        ({"podium.outcome": "missing"}, "missing, comparable", "does not say how its comparison ended"),
        ({"podium.outcome": "undecided"}, "undecided, comparable", "compare.accept: {undecided: <why>}"),
    ],
)
def test_the_winner_of_an_unfair_or_undecided_comparison_is_refused(evidence, tags, observed, told):
    result = judge("comparison", replace(evidence, tags={**evidence.tags, **tags}))
    assert (result.passed, result.observed) == (False, observed)
    assert told in result.detail


def test_a_difference_that_was_accepted_by_name_passes_and_is_shown(evidence):
    tags = {**evidence.tags, "podium.differences": "images_seen (accepted: asked for)"}
    result = judge("comparison", replace(evidence, tags=tags))
    assert (result.passed, result.observed, result.detail) == (
        True,
        "better, comparable: images_seen (accepted: asked for)",
        "",
    )


@pytest.mark.parametrize("outcome", ["alone", "better", "equivalent", "undecided"])
def test_a_decided_comparison_passes_and_an_undecided_one_with_a_reason(evidence, outcome):
    because = "a demonstration" if outcome == "undecided" else "none"
    tags = {**evidence.tags, "podium.outcome": outcome, "podium.undecided_because": because}
    result = judge("comparison", replace(evidence, tags=tags))
    shown = "undecided (accepted: a demonstration)" if outcome == "undecided" else outcome
    assert (result.passed, result.observed) == (True, f"{shown}, comparable")


def test_how_often_the_test_set_was_used_counts_only_where_there_is_a_limit(evidence, finished_project, tmp_path):
    layout = Layout(tmp_path)
    shutil.copytree(Layout(finished_project).test_openings.parent, layout.test_openings.parent)
    tags = {"podium.fingerprint": evidence.card.fingerprint, "podium.test_digest": evidence.metrics.test_digest}
    evidence = replace(evidence, tags=tags)
    result = judge("test_openings", evidence, layout=layout)
    assert (result.passed, result.required, result.observed) == (True, "any number", "2 models")
    assert judge("test_openings", evidence, layout=layout, gates={"test_openings": 2}).passed
    above = judge("test_openings", evidence, layout=layout, gates={"test_openings": 1})
    assert above.detail == "the test set was opened for 2 models, 1 above 1: gather new test images"
    unknown = judge("test_openings", evidence, layout=Layout(tmp_path / "clone"), gates={"test_openings": 9})
    assert "the ledger of the test set does not hold this version" in unknown.detail
    layout.test_openings.write_text("{}\n")
    assert judge("test_openings", evidence, layout=layout).passed
    assert (
        "line 1 was cut or edited" in judge("test_openings", evidence, layout=layout, gates={"test_openings": 9}).detail
    )


def test_weights_hash_compares_the_file_with_the_tag_and_the_card(evidence, damaged):
    assert judge("weights_hash", evidence).passed
    other_tag = replace(evidence, tags={**evidence.tags, "podium.weights_sha256": "ab" * 32})
    assert judge("weights_hash", other_tag).detail.endswith("the tag says abababababab")
    with damaged.weights.open("r+b") as stream:
        stream.seek(-1, 2)
        stream.write(b"\xff")
    result = judge("weights_hash", damaged)
    assert not result.passed
    assert "the tag says" in result.detail
    assert "model.json says" in result.detail


def test_missing_weights_are_a_failed_gate_not_a_crash(damaged):
    damaged.weights.unlink()
    assert judge("weights_hash", damaged).observed == "missing"


def test_the_golden_batch_is_reproduced(evidence, classifier):
    result = judge("golden_batch", evidence, classifier=classifier)
    assert result.passed, result.detail
    assert float(result.observed) <= evidence.golden.tolerance


def test_a_golden_batch_that_differs_fails_with_the_largest_difference(evidence, classifier):
    first = evidence.golden.images[0]
    moved = first.model_copy(update={"probabilities": [first.probabilities[0] + 0.25, *first.probabilities[1:]]})
    golden = evidence.golden.model_copy(update={"images": [moved, *evidence.golden.images[1:]]})
    result = judge("golden_batch", replace(evidence, golden=golden), classifier=classifier)
    assert result.detail == "golden batch: largest difference 2.5e-01 of a probability is above 1e-04"


def test_a_golden_batch_of_other_classes_or_of_no_image_fails(evidence, classifier):
    first = evidence.golden.images[0]
    short = first.model_copy(update={"probabilities": first.probabilities[:-1]})
    for images in ([short], []):
        golden = evidence.golden.model_copy(update={"images": images})
        assert "another shape" in judge("golden_batch", replace(evidence, golden=golden), classifier=classifier).detail


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_probability_that_is_no_number_fails_the_golden_batch(evidence, classifier, value):
    last = evidence.golden.images[-1]
    broken = last.model_copy(update={"probabilities": [*last.probabilities[:-1], value]})
    golden = evidence.golden.model_copy(update={"images": [*evidence.golden.images[:-1], broken]})
    result = judge("golden_batch", replace(evidence, golden=golden), classifier=classifier)
    assert not result.passed
    assert "a probability of its golden batch is not a number" in result.detail


def test_a_rate_that_is_no_number_is_below_every_floor(evidence):
    metrics = evidence.metrics.model_copy(update={"accuracy": rate(float("nan"))})
    result = judge("accuracy", replace(evidence, metrics=metrics))
    assert (result.passed, result.detail) == (False, "accuracy is not a number")


def test_an_unreadable_golden_image_fails_the_gate(evidence, classifier):
    junk = evidence.golden.images[0].model_copy(update={"bytes": base64.b64encode(b"junk").decode()})
    golden = evidence.golden.model_copy(update={"images": [junk]})
    broken = replace(evidence, golden=golden)
    assert "does not predict" in judge("golden_batch", broken, classifier=classifier).detail
    assert "cannot be measured" in judge("latency", broken, classifier=classifier).detail


@pytest.mark.parametrize(
    ("observed", "minimum", "detail"),
    [
        (0.742, 0.8, "accuracy 0.742 is 0.058 below 0.800"),
        (0.79996, 0.8, "accuracy 0.79996 is 0.00004 below 0.80000"),  # three decimals would say 0.800 below 0.800
        (0.8, 0.8, ""),
        (1.0, 0.8, ""),
        (0.0, 0.0, ""),
    ],
)
def test_accuracy_says_by_how_much_it_is_below(evidence, observed, minimum, detail):
    metrics = evidence.metrics.model_copy(update={"accuracy": rate(observed)})
    result = judge("accuracy", replace(evidence, metrics=metrics), minimum_accuracy=minimum)
    assert (result.passed, result.detail) == (not detail, detail)


def test_macro_f1_says_by_how_much_it_is_below(evidence):
    half = replace(evidence, metrics=evidence.metrics.model_copy(update={"macro_f1": rate(0.5)}))
    assert judge("macro_f1", half, minimum_macro_f1=0.5).passed
    assert judge("macro_f1", half, minimum_macro_f1=0.75).detail == "macro_f1 0.500 is 0.250 below 0.750"


@pytest.fixture
def two_classes(evidence):
    one = ClassMetrics(precision=1.0, recall=0.5, recall_low=0.2, recall_high=0.8, f1=0.6, support=10)
    classes = {"person": one, "animal": one.model_copy(update={"recall": 0.9})}
    return replace(evidence, metrics=evidence.metrics.model_copy(update={"per_class": classes}))


def test_recall_floors_hold_or_name_every_class_that_is_below(two_classes):
    assert judge("recall", two_classes, minimum_recall={}).passed
    assert judge("recall", two_classes, minimum_recall={"person": 0.5, "animal": 0.8}).passed
    result = judge("recall", two_classes, minimum_recall={"person": 0.6, "animal": 0.95})
    assert result.detail == "recall of person 0.500 is 0.100 below 0.600, recall of animal 0.900 is 0.050 below 0.950"
    assert result.required == ">= 0.600 (person)"


def test_a_recall_floor_for_an_unknown_class_fails(two_classes):
    result = judge("recall", two_classes, minimum_recall={"persn": 0.1, "animal": 0.1})
    assert result.detail == "class 'persn' has a recall floor but the model does not know it"


def test_without_a_holder_there_is_nothing_to_be_worse_than(evidence, tmp_path):
    result = judge("not_worse_than_holder", evidence, None, layout=Layout(tmp_path))
    assert (result.passed, result.observed) == (True, "no holder")


@pytest.mark.parametrize(
    ("right", "holder_right", "passed", "observed"),
    [
        (90, 95, True, "0 won, 5 lost, p 0.0625"),  # exact binomial: 2 x 1/2^5
        (90, 96, False, "0 won, 6 lost, p 0.0312"),
        (96, 90, True, "6 won, 0 lost, p 0.0312"),  # significantly better is welcome
        (90, 90, True, "0 won, 0 lost, p 1"),
    ],
)
def test_only_a_significantly_worse_candidate_fails(evidence, tmp_path, right, holder_right, passed, observed):
    candidate = replace(evidence, predictions=answers(right, 100 - right))
    holder = replace(evidence, version="7", predictions=answers(holder_right, 100 - holder_right))
    result = judge("not_worse_than_holder", candidate, holder, layout=Layout(tmp_path))
    assert (result.passed, result.observed) == (passed, observed)
    if not passed:
        assert result.detail == (
            "significantly worse than holder 7 on 100 test images: 0 won, 6 lost, p 0.0312 is 0.0188 below 0.05"
        )


def test_stored_sort_predictions_other_images_are_not_compared(evidence, tmp_path):
    holder = replace(evidence, version="7", predictions=answers(3, 3))
    result = judge("not_worse_than_holder", evidence, holder, layout=Layout(tmp_path))
    assert "different images" in result.detail


def test_a_holder_tested_on_other_data_is_run_on_the_present_test_images(evidence, finished_project):
    holder = replace(evidence, version="7", tags={**evidence.tags, "podium.test_digest": "e" * 64})
    holder = replace(holder, predictions=answers(3, 3))
    result = judge("not_worse_than_holder", evidence, holder, layout=Layout(finished_project))
    # It is the candidate's own network, so both are right about the same images.
    assert (result.passed, result.observed) == (True, "0 won, 0 lost, p 1"), result.detail


def test_labels_are_compared_by_name_when_the_holder_knows_other_classes(evidence, damaged, finished_project):
    card = damaged.card.model_copy(update={"classes": [f"old {name}" for name in damaged.card.classes]})
    card.write(damaged.folder / "model.json")
    holder = replace(damaged, version="7", tags={**damaged.tags, "podium.test_digest": "e" * 64})
    right = int((evidence.predictions["label"] == evidence.predictions["predicted"]).sum())
    result = judge("not_worse_than_holder", evidence, holder, layout=Layout(finished_project))
    assert result.observed.startswith(f"{right} won, 0 lost")


def test_a_holder_that_cannot_be_compared_fails_the_gate_and_says_why(evidence, damaged, tmp_path):
    elsewhere = {**evidence.tags, "podium.test_digest": "e" * 64}
    holder = replace(evidence, version="7", tags=elsewhere)
    no_raw = judge("not_worse_than_holder", evidence, holder, layout=Layout(tmp_path / "empty"))
    assert no_raw.detail.startswith("holder 7 cannot be compared: ")
    assert "dvc repro" in no_raw.detail
    gone = judge("not_worse_than_holder", evidence, "version 7 was deleted", layout=Layout(tmp_path))
    assert gone.detail == "the present holder cannot be read: version 7 was deleted"


def test_test_images_that_are_no_longer_in_raw_are_counted(evidence, finished_project, tmp_path):
    layout = Layout(tmp_path / "other")
    layout.raw.mkdir(parents=True)
    raw = read_manifest(Layout(finished_project).raw / "manifest.parquet", RAW_COLUMNS)
    keep = raw[raw["image_id"] != evidence.predictions["image_id"][0]]
    write_manifest(layout.raw / "manifest.parquet", keep, RAW_COLUMNS)
    RawWriter(layout.raw).close()
    holder = replace(evidence, version="7", tags={**evidence.tags, "podium.test_digest": "e" * 64})
    result = judge("not_worse_than_holder", evidence, holder, layout=layout)
    assert f"1 of the {len(evidence.predictions)} present test images" in result.detail


def test_latency_is_measured_and_its_excess_told(evidence, classifier):
    assert judge("latency", evidence, classifier=classifier).passed
    result = judge("latency", evidence, classifier=classifier, maximum_latency_seconds=1e-9)
    assert result.detail.startswith("latency 0.0")
    assert " above 1e-09 s" in result.detail


def test_how_busy_the_machine_is_stands_beside_its_latency(evidence, classifier, monkeypatch):
    monkeypatch.setattr(gates.os, "cpu_count", lambda: 2)
    for busy, wait in ((9.4, ": promote again when it is quiet"), (0.3, "")):
        monkeypatch.setattr(gates.os, "getloadavg", lambda busy=busy: (busy, 0, 0))
        result = judge("latency", evidence, classifier=classifier, maximum_latency_seconds=1e-9)
        assert result.observed.endswith(f" s at load {busy} on 2 processors")
        assert result.detail.endswith(f"above 1e-09 s{wait}")


@pytest.mark.parametrize(("times", "passed"), [(1.4, True), (1.6, False)])
def test_latency_may_be_held_against_that_of_the_holder(evidence, classifier, monkeypatch, times, passed):
    """Both models are measured in turn, so that what keeps the machine busy keeps both."""
    asked = []
    monkeypatch.setattr(predictor, "predict_bytes", lambda model, _: asked.append(model))
    monkeypatch.setattr(predictor, "load_model", lambda folder: holder_model)
    holder_model, clock = object(), [0.0]

    def now():
        clock[0] += 0.01 * (times if len(asked) and asked[-1] is classifier else 1)
        return clock[0]

    monkeypatch.setattr(predictor.time, "perf_counter", now)
    limits = {"maximum_latency_seconds": None, "maximum_latency_ratio": 1.5}
    result = judge("latency", evidence, replace(evidence, version="7"), classifier=classifier, **limits)
    assert (result.passed, result.required) == (passed, "<= 1.5 x holder")
    assert f"{times:.2f} x holder's 0.0100 s at load" in result.observed
    assert bool(re.match(r"latency 1\.6000 x holder is above 1\.5 x holder", result.detail)) != passed
    turns = [next(group) for _, group in itertools.groupby(asked)]
    assert turns == [classifier, holder_model] * (LATENCY_ROUNDS + 1)
    alone = judge("latency", evidence, None, classifier=classifier, **limits)
    assert alone.passed and "holder" not in alone.observed


def test_a_slice_on_which_it_is_worse_than_the_holder_is_told(evidence, finished_project):
    layout = Layout(finished_project)
    right = evidence.predictions.assign(predicted=evidence.predictions["label"])
    holder = replace(evidence, version="7", predictions=right)
    names = ["sharpness_lowest", "hard"]
    assert judge("slices", evidence, holder, layout=layout).observed == "-"
    assert judge("slices", evidence, None, layout=layout, slices=names).observed == "no holder"
    assert judge("slices", holder, evidence, layout=layout, slices=names).passed
    masks = recompute.find_slices(evidence, layout, names)
    lost = {
        name: int((mask & (right["predicted"] != evidence.predictions["predicted"])).sum())
        for name, mask in masks.items()
    }
    result = judge("slices", evidence, holder, layout=layout, slices=names, holder_significance=0.9)
    assert not result.passed
    for name, count in lost.items():
        assert f"{name}: 0 won, {count} lost, p " in result.observed
    assert "significantly worse than holder 7 on slice " in result.detail
    misspelt = judge("slices", evidence, holder, layout=layout, slices=["sharpnes_lowest"])
    assert "there is no slice 'sharpnes_lowest'; did you mean 'sharpness_lowest'?" in misspelt.detail
    assert "dvc checkout" in judge(
        "slices", replace(evidence, metrics=evidence.metrics.model_copy(update={"test_digest": "0" * 64})), holder,
        layout=layout, slices=names,
    ).detail  # fmt: skip


def test_calibration_is_computed_again_and_its_limit_is_off_unless_set(evidence):
    result = judge("calibration_error", evidence)
    ece = evidence.metrics.ece
    assert (result.passed, result.required) == (True, "any")
    assert result.observed == f"{ece:.3f}, temperature {evidence.metrics.temperature:.2f}"
    strict = judge("calibration_error", evidence, gates={"calibration_error": ece / 2})
    assert strict.detail == f"expected calibration error {ece:.3f} is {ece / 2:.3f} above {ece / 2:g}"


def test_severities_that_were_relaxed_are_told(evidence):
    one = evidence.validation.results[0].model_copy(update={"relaxed": True, "because": "a small project"})
    report = evidence.validation.model_copy(update={"results": [one]})
    result = judge("data_validation", replace(evidence, validation=report))
    assert (result.passed, result.observed) == (True, f"passed, relaxed: {one.id} (a small project)")


def test_other_programs_do_not_decide_about_latency(monkeypatch):
    """Most calls are held up by others, as on a machine with five programs on two processors; one round is not."""
    calls = LATENCY_WARM_UPS + LATENCY_ROUNDS * LATENCY_CALLS
    seconds = [0.8 if call % 5 else 0.2 for call in range(calls)]
    quiet = slice(LATENCY_WARM_UPS + LATENCY_CALLS, LATENCY_WARM_UPS + 2 * LATENCY_CALLS)
    seconds[quiet] = [0.021, 0.9, 0.022]
    clock = iter(np.array([(0, second) for second in seconds]).ravel())
    monkeypatch.setattr(predictor, "predict_bytes", lambda *_: None)
    monkeypatch.setattr(predictor.time, "perf_counter", lambda: next(clock))
    assert predictor.seconds_for_one([None], [b""]) == [0.022]


def test_a_model_that_does_not_load_fails_its_gates_and_the_others_still_run(damaged, finished_project):
    damaged.weights.write_bytes(b"not safetensors")
    limits = load(Layout(finished_project).params).promote
    results = {gate.name: gate for gate in gates.run_gates(damaged, None, limits, Layout(finished_project))}
    assert not results["golden_batch"].passed
    assert not results["latency"].passed
    assert not results["weights_hash"].passed
    assert results["data_validation"].passed
    assert list(results) == [
        "data_validation", "comparison", "test_openings", "weights_hash", "golden_batch", "metrics",
        "predictions", "accuracy", "macro_f1", "recall", "not_worse_than_holder",
        "slices", "calibration_error", "latency",
    ]  # fmt: skip


@pytest.fixture
def calibration():
    """A gate of somebody else's module: one decorated function."""

    @gate("The expected calibration error is at most the limit, a fraction.", default=0.5)
    def calibration(case: Case) -> Verdict:
        ece = case.candidate.metrics.ece
        return Verdict(
            f"<= {case.limit:g}", f"{ece:.2f}", f"ece {ece:.2f} is above {case.limit:g}" * (ece > case.limit)
        )

    yield gates.GATES["calibration"]
    del gates.GATES["calibration"]


def test_a_gate_is_added_by_one_function(calibration, evidence, finished_project):
    layout = Layout(finished_project)
    limits = load(layout.params).promote
    evidence = replace(evidence, metrics=evidence.metrics.model_copy(update={"ece": 0.25}))
    by_default = gates.run_gates(evidence, None, limits, layout)[-1]
    assert (by_default.name, by_default.required, by_default.passed) == ("calibration", "<= 0.5", True)
    strict = limits.model_copy(update={"gates": {"calibration": 0.125}})
    assert gates.run_gates(evidence, None, strict, layout)[-1].detail == "ece 0.25 is above 0.125"
    misspelt = limits.model_copy(update={"gates": {"calibraton": 0.125}})
    with pytest.raises(ParamsError, match="is no gate; did you mean 'calibration'"):
        gates.run_gates(evidence, None, misspelt, layout)


def test_every_gate_is_documented():
    said = (Path(__file__).parents[3] / "docs" / "runbook.md").read_text(encoding="utf-8")
    rows = [f"| `{known.name}` | {known.sentence} |" for known in gates.GATES.values()]
    assert [row for row in rows if row not in said] == []
