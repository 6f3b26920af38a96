"""Stage compare: leaderboard.json, decision.json, what is printed, and what is refused."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import yaml

from podium.analysis.predictions import sort_predictions, write_predictions
from podium.config.judging import Compare
from podium.core.errors import DataError
from podium.core.layout import Layout
from podium.pipeline import compare
from podium.records.evaluation import Decision, Interval, Leaderboard
from podium.records.validate import ValidationReport
from tests.measurements import some_metrics

IMAGES = 40


@pytest.fixture
def layout(tmp_path):
    layout = Layout(tmp_path)
    report = ValidationReport(passed=True, manifest_sha256="0" * 64, images=100, rejected=0, results=[])
    report.write(layout.validation_report)
    return layout


def add_model(layout, name, wrong, *, flops=100, digest="d", first_image=0, f1=None, conditions=None):
    """Writes the evaluation of a model that is wrong about the given images."""
    labels = np.arange(IMAGES) % 2
    ids = [f"{first_image + i:016x}" for i in range(IMAGES)]
    answers = np.array([1 - label if i in wrong else label for i, label in enumerate(labels)])
    index = pd.DataFrame({"image_id": ids, "path": ids, "label": [("a", "b")[i] for i in labels]})
    predictions = sort_predictions(("a", "b"), index, labels, np.eye(2, dtype=np.float32)[answers])
    write_predictions(layout.evaluation(name) / "predictions.parquet", predictions)
    accuracy = 1 - len(wrong) / IMAGES
    rate = Interval(value=accuracy, low=accuracy / 2, high=1)
    macro = Interval(value=f1, low=0, high=1) if f1 is not None else rate
    some_metrics(
        conditions,
        model=name,
        fingerprint=name * 8,
        test_digest=digest,
        images=IMAGES,
        accuracy=rate,
        macro_f1=macro,
        flops=flops,
    ).write(layout.evaluation(name) / "metrics.json")


def results(layout):
    return (
        Leaderboard.read(layout.comparison / "leaderboard.json"),
        Decision.read(layout.comparison / "decision.json"),
    )


def test_clearly_better_model_wins(layout, capsys):
    add_model(layout, "good", range(2), flops=1000)
    add_model(layout, "bad", range(10, 30), flops=1)
    compare.compare_models(layout, ["bad", "good"], Compare(margin=0.02))
    leaderboard, decision = results(layout)
    assert [(row.rank, row.model) for row in leaderboard.rows] == [(1, "good"), (2, "bad")]
    assert (decision.winner, decision.fingerprint, decision.outcome) == ("good", "good" * 8, "better")
    (comparison,) = decision.comparisons
    assert (comparison.only_first_right, comparison.only_second_right) == (20, 2)
    assert comparison.p_value == comparison.adjusted_p == pytest.approx(2 * (1 + 22 + 231) / 2**22)
    assert decision.validation_passed
    out = capsys.readouterr().out
    assert "95.0%" in out
    assert "good wins" in out


def test_dvc_compares_a_few_numbers(layout):
    add_model(layout, "good", range(2))
    add_model(layout, "bad", range(10, 30))
    compare.compare_models(layout, ["bad", "good"], Compare(margin=0.02))
    metrics = layout.comparison_report / "metrics.json"
    models = {"good": 0.95, "bad": 0.5}
    assert json.loads(metrics.read_text()) == {"winner": "good", "accuracy": 0.95, "each": models}
    add_model(layout, "good", range(2), f1=0.5)
    add_model(layout, "bad", range(10, 30), f1=0.9)
    compare.compare_models(layout, ["bad", "good"], Compare(margin=0.02, metric="macro_f1"))
    models = {"good": 0.5, "bad": 0.9}
    assert json.loads(metrics.read_text()) == {"winner": "bad", "macro_f1": 0.9, "each": models}


def test_dvc_shows_the_default_experiment_within_100_columns(tmp_path, request):
    root = tmp_path / "project"
    (root / ".dvc").mkdir(parents=True)
    (root / ".dvc" / "config").write_text("[core]\n    no_scm = true\n    analytics = false\n")
    dag = yaml.safe_load((request.config.rootpath / "dvc.yaml").read_text(encoding="utf-8"))
    metrics = dag["stages"]["compare"]["metrics"]
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"compare": {"cmd": "x", "metrics": metrics}}}))
    layout = Layout(root)
    ValidationReport(passed=True, manifest_sha256="0" * 64, images=9, rejected=0, results=[]).write(
        layout.validation_report
    )
    for name, wrong in (("resnet18", range(7)), ("convnext_atto", range(3))):
        add_model(layout, name, wrong)
    compare.compare_models(layout, ["resnet18", "convnext_atto"], Compare(margin=0.02))
    shown = subprocess.run(
        [sys.executable, "-m", "dvc", "metrics", "show"], cwd=root, capture_output=True, text=True, check=True
    ).stdout
    assert "0.925" in shown
    assert max(map(len, shown.splitlines())) < 100


def test_too_few_images_to_tell_leave_it_undecided_and_the_higher_leads(layout, capsys):
    add_model(layout, "large", range(3), flops=1000)
    add_model(layout, "small", range(2, 7), flops=10)
    compare.compare_models(layout, ["large", "small"], Compare(margin=0.02))
    decision = results(layout)[1]
    assert (decision.winner, decision.outcome) == ("large", "undecided")
    (comparison,) = decision.comparisons
    assert comparison.p_value == pytest.approx(0.6875)  # 2 against 4
    assert comparison.images_needed > IMAGES
    assert "large leads provisionally" in capsys.readouterr().out


def test_models_within_the_margin_are_equivalent_and_the_cheaper_wins(layout):
    add_model(layout, "large", range(3), flops=1000)
    add_model(layout, "small", range(2, 7), flops=10)
    compare.compare_models(layout, ["large", "small"], Compare(margin=0.3))
    decision = results(layout)[1]
    assert (decision.winner, decision.outcome) == ("small", "equivalent")


def test_the_best_is_compared_with_every_other_model(layout):
    for name, wrong in {"a": range(1), "b": range(12), "c": range(30)}.items():
        add_model(layout, name, wrong)
    compare.compare_models(layout, ["c", "b", "a"], Compare(margin=0.02))
    assert [(c.first, c.second) for c in results(layout)[1].comparisons] == [("a", "b"), ("a", "c")]


def test_metric_of_the_params_decides(layout):
    add_model(layout, "a", range(2), f1=0.5)
    add_model(layout, "b", range(3), f1=0.9)
    compare.compare_models(layout, ["a", "b"], Compare(metric="macro_f1", margin=0.02))
    leaderboard, decision = results(layout)
    assert (leaderboard.metric, leaderboard.rows[0].model) == ("macro_f1", "b")
    assert "macro F1" in decision.rule


def test_unequal_conditions_are_labelled_in_both_files_and_on_the_terminal(layout, capsys):
    add_model(layout, "good", range(2))
    add_model(layout, "bad", range(10, 30), conditions={"pretraining": "none", "tuning_images": 1})
    compare.compare_models(layout, ["bad", "good"], Compare(margin=0.02, accept={"pretraining": "a test"}))
    for document in results(layout):
        assert not document.comparable
        assert [(d.condition, d.accepted) for d in document.differences] == [
            ("pretraining", True),
            ("tuning_images", False),
        ]
        assert document.differences[1].values == {"bad": 1, "good": 3780}
    printed = " ".join(capsys.readouterr().out.split())
    assert "Not comparable: the models differ in tuning budget in images (1: bad; 3,780: good)." in printed


def test_accepting_every_difference_makes_the_models_comparable(layout):
    add_model(layout, "good", range(2))
    add_model(layout, "bad", range(10, 30), conditions={"images_seen": 15120})
    compare.compare_models(layout, ["bad", "good"], Compare(margin=0.02, accept={"images_seen": "a test"}))
    leaderboard, decision = results(layout)
    assert (leaderboard.comparable, decision.comparable, decision.differences[0].accepted) == (True, True, True)


def test_one_model_wins_without_a_test(layout):
    add_model(layout, "a", range(2))
    compare.compare_models(layout, ["a"], Compare(margin=0.02))
    decision = results(layout)[1]
    assert (decision.winner, decision.outcome, decision.comparisons) == ("a", "alone", [])


def test_order_of_the_models_and_a_second_run_change_no_byte(layout):
    add_model(layout, "a", range(2))
    add_model(layout, "b", range(3))
    compare.compare_models(layout, ["a", "b"], Compare(margin=0.02))
    first = {p.name: p.read_bytes() for p in layout.comparison.iterdir()}
    compare.compare_models(layout, ["b", "a"], Compare(margin=0.02))
    assert {p.name: p.read_bytes() for p in layout.comparison.iterdir()} == first


@pytest.mark.parametrize(
    ("difference", "said"),
    [({"digest": "e"}, "different test splits"), ({"first_image": 1}, "did not answer the same images")],
)
def test_models_measured_on_other_images_are_refused(layout, difference, said):
    add_model(layout, "a", range(2))
    add_model(layout, "b", range(3), **difference)
    with pytest.raises(DataError, match=said):
        compare.compare_models(layout, ["a", "b"], Compare(margin=0.02))
    assert not layout.comparison.exists()


def test_a_missing_evaluation_is_named(layout):
    add_model(layout, "a", range(2))
    with pytest.raises(DataError, match=r"b/metrics\.json does not exist"):
        compare.compare_models(layout, ["a", "b"], Compare(margin=0.02))


def test_starts_without_the_heavy_libraries():
    heavy = "('torch', 'sklearn', 'matplotlib')"
    code = f"import sys; import podium.pipeline.compare; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
