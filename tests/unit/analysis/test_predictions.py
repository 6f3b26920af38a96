"""predictions.parquet: order, columns, bytes and refusals."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from podium.analysis.predictions import predictions_of, read_answers, write_predictions
from podium.core.errors import DataError, ModelError

INDEX = pd.DataFrame({"image_id": ["b", "a"], "path": ["사과/2.jpg", "x/1.jpg"], "label": ["사과", "x"]})
PROBABILITIES = np.array([[0.25, 0.75], [0.125, 0.875]], np.float32)


def made():
    return predictions_of(("x", "사과"), INDEX, np.array([1, 0]), PROBABILITIES)


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
    other = predictions_of(("x", "사과"), INDEX.iloc[::-1], np.array([0, 1]), PROBABILITIES[::-1])
    write_predictions(tmp_path / "2.parquet", other)
    assert (tmp_path / "1.parquet").read_bytes() == (tmp_path / "2.parquet").read_bytes()


def test_answers_are_read_back(tmp_path):
    write_predictions(tmp_path / "p.parquet", made())
    answers = read_answers(tmp_path / "p.parquet")
    assert answers.to_dict("list") == {"image_id": ["a", "b"], "label": ["x", "사과"], "predicted": ["사과", "사과"]}


def test_nan_is_called_divergence():
    with pytest.raises(ModelError, match="diverged"):
        predictions_of(("x", "사과"), INDEX, np.array([1, 0]), PROBABILITIES * np.nan)


@pytest.mark.parametrize(
    ("labels", "probabilities", "said"),
    [([], np.empty((0, 2)), "split is empty"), ([1, 0], np.zeros((2, 3)), r"shape \(2, 2\), not \(2, 3\)")],
)
def test_wrong_shapes_are_refused(labels, probabilities, said):
    with pytest.raises(DataError, match=said):
        predictions_of(("x", "사과"), INDEX, np.array(labels, np.int64), probabilities.astype(np.float32))


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
