"""predictions.parquet (order, columns, bytes, refusals), coarse classes."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.analysis.evaluation import confused_pairs, group_metrics
from podium.analysis.predictions import predict_groups, read_answers, sort_predictions, write_predictions
from podium.core.errors import DataError, ModelError

INDEX = pd.DataFrame({"image_id": ["b", "a"], "path": ["사과/2.jpg", "x/1.jpg"], "label": ["사과", "x"]})
PROBABILITIES = np.array([[0.25, 0.75], [0.125, 0.875]], np.float32)


def made():
    return sort_predictions(("x", "사과"), INDEX, np.array([1, 0]), PROBABILITIES)


def test_file_is_sorted_by_image_and_has_a_column_a_class(tmp_path):
    write_predictions(tmp_path / "p.parquet", made())
    table = pq.read_table(tmp_path / "p.parquet")
    assert table.to_pydict() == {
        "image_id": ["a", "b"],
        "path": ["x/1.jpg", "사과/2.jpg"],
        "label": ["x", "사과"],
        "predicted": ["사과", "사과"],
        "p_x": [0.125, 0.25],
        "p_사과": [0.875, 0.75],
    }
    assert table.schema.field("p_x").type == pa.float32()


def test_same_predictions_in_another_order_are_the_same_bytes(tmp_path):
    write_predictions(tmp_path / "1.parquet", made())
    other = sort_predictions(("x", "사과"), INDEX.iloc[::-1], np.array([0, 1]), PROBABILITIES[::-1])
    write_predictions(tmp_path / "2.parquet", other)
    assert (tmp_path / "1.parquet").read_bytes() == (tmp_path / "2.parquet").read_bytes()


def test_answers_are_read_back(tmp_path):
    write_predictions(tmp_path / "p.parquet", made())
    answers = read_answers(tmp_path / "p.parquet")
    assert answers.to_dict("list") == {"image_id": ["a", "b"], "label": ["x", "사과"], "predicted": ["사과", "사과"]}


def test_nan_is_called_divergence():
    with pytest.raises(ModelError, match="diverged"):
        sort_predictions(("x", "사과"), INDEX, np.array([1, 0]), PROBABILITIES * np.nan)


@pytest.mark.parametrize(
    ("labels", "probabilities", "said"),
    [([], np.empty((0, 2)), "split is empty"), ([1, 0], np.zeros((2, 3)), r"shape \(2, 2\), not \(2, 3\)")],
)
def test_wrong_shapes_are_refused(labels, probabilities, said):
    with pytest.raises(DataError, match=said):
        sort_predictions(("x", "사과"), INDEX, np.array(labels, np.int64), probabilities.astype(np.float32))


def test_damaged_files_are_named(tmp_path):
    path = tmp_path / "predictions.parquet"
    with pytest.raises(DataError, match="does not exist"):
        read_answers(path)
    for damaged in (b"not parquet", b"PAR1" + b"\0" * 40 + b"PAR1"):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="not a Parquet file"):
            read_answers(path)
    pq.write_table(pa.table({"image_id": ["a"]}), path)
    with pytest.raises(DataError, match=r"predictions\.parquet"):
        read_answers(path)


KINDS = ("apple", "leek", "onion")
GROUPS = {"apple": "fruit", "leek": "vegetable", "onion": "vegetable"}


def over_classes(labels, probabilities, classes=KINDS):
    ids = [f"{number:016x}" for number in range(len(labels))]
    index = pd.DataFrame({"image_id": ids, "path": ids, "label": [classes[label] for label in labels]})
    return sort_predictions(classes, index, np.array(labels), np.array(probabilities, np.float32))


def test_the_most_probable_group_need_not_be_that_of_the_most_probable_class():
    fine = over_classes([1], [[0.4, 0.3, 0.3]])
    found = predict_groups(fine, GROUPS)
    assert found.classes == ("fruit", "vegetable")
    assert fine.predicted_names == ["apple"]
    assert (found.predicted_names, found.correct.tolist()) == (["vegetable"], [True])
    assert found.probabilities == pytest.approx(np.array([[0.4, 0.6]]))


def test_recall_is_told_by_group():
    certain = np.eye(3)
    found = group_metrics(over_classes([0, 1, 2, 2], certain[[0, 2, 1, 0]]), GROUPS, 50, 0)
    assert found.accuracy.value == 0.75  # leek and onion are taken for each other, one onion for an apple
    assert {name: (g.recall, g.support) for name, g in found.per_group.items()} == {
        "fruit": (1.0, 1),
        "vegetable": (pytest.approx(2 / 3), 3),
    }
    assert found.macro_f1.value == pytest.approx((2 / 3 + 0.8) / 2)
    # two of three wrong answers are vegetables for vegetables; each has one such class among the two wrong ones
    assert (found.fine_mistakes.value, found.fine_by_chance) == (pytest.approx(2 / 3), 0.5)


def test_pairs_that_are_taken_for_each_other_with_direction_and_symmetry():
    truth, answers = [0, 0, 0, 1, 1, 1, 1, 2], [0, 1, 2, 0, 0, 1, 2, 2]
    found = confused_pairs(over_classes(truth, np.eye(3)[answers]))
    first, *others = [pair.model_dump() for pair in found]
    assert first == {
        "actual": "leek",
        "predicted": "apple",
        "mistakes": 2,
        "images": 4,
        "back": 1,
        "back_images": 3,
        "symmetry": pytest.approx(2 / 3),
        "share": 0.6,
        "distance": None,
        "nearness": None,
    }
    assert [(pair["actual"], pair["predicted"], pair["symmetry"]) for pair in others] == [
        ("apple", "onion", 0),
        ("leek", "onion", 0),
    ]
    assert confused_pairs(over_classes([0, 1], np.eye(3)[[0, 1]])) == []


def test_a_class_without_a_group_is_one_of_its_own():
    found = predict_groups(
        over_classes([0], [[0.2, 0.5, 0.3]]), {"leek": "vegetable", "onion": "vegetable", "apple": ""}
    )
    assert found.classes == ("apple", "vegetable")


@pytest.mark.parametrize(
    "groups",
    [
        {},
        dict.fromkeys(KINDS, ""),
        dict.fromkeys(KINDS, "food"),
        {"apple": "a", "leek": "b", "onion": "c"},
    ],
    ids=["none", "empty", "one for all", "one each"],
)
def test_groups_that_tell_nothing_new_are_not_measured(groups):
    assert predict_groups(over_classes([0], [[0.2, 0.5, 0.3]]), groups) is None


@given(st.lists(st.sampled_from("abc"), min_size=5, max_size=5), st.integers(0, 2**32 - 1))
def test_a_group_is_right_whenever_its_class_is_certain_and_sums_stay_one(of_class, seed):
    classes = tuple("vwxyz")
    random = np.random.default_rng(seed)
    labels = random.integers(0, 5, 20)
    probabilities = random.dirichlet(np.full(5, 0.1), 20)
    fine = over_classes(labels, probabilities, classes)
    found = predict_groups(fine, dict(zip(classes, of_class, strict=True)))
    if found is None:
        assert len(set(of_class)) in (1, 5)
        return
    assert found.probabilities.sum(axis=1) == pytest.approx(np.ones(20), abs=1e-6)
    assert found.correct[fine.correct & (fine.confidence > 0.5)].all()
