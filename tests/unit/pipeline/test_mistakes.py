"""Which mistakes are kept, and how their pictures are named."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from podium.analysis.predictions import sort_predictions
from podium.pipeline.evaluate import mistake_name, mistake_table, worst_mistakes, write_picture


def made(labels, probabilities, paths, classes=("a", "b")):
    index = pd.DataFrame(
        {"image_id": [f"{i:016x}" for i in range(len(labels))], "path": paths, "label": [classes[i] for i in labels]}
    )
    return sort_predictions(classes, index, np.array(labels), np.array(probabilities, np.float32))


def test_surest_mistakes_come_first_and_right_answers_never():
    predictions = made([0, 0, 0, 1], [[0.4, 0.6], [0.1, 0.9], [0.9, 0.1], [0.7, 0.3]], ["1", "2", "3", "4"])
    assert worst_mistakes(predictions, 10).tolist() == [1, 3, 0]
    assert worst_mistakes(predictions, 1).tolist() == [1]
    assert worst_mistakes(predictions, 0).tolist() == []


@pytest.mark.parametrize(
    ("truth", "predicted", "path", "name"),
    [
        ("lemon", "orange", "train/lemon/img_007.jpg", "lemon_to_orange_img_007.png"),
        ("bell pepper", "a/b", "x.jpeg", "bell_pepper_to_a_b_x.png"),  # separators and spaces
        ("..", "\\", "../../etc/passwd", "unnamed_to_unnamed_passwd.png"),
        ("사과", "🍎", "사과 1.jpg", "사과_to_🍎_사과_1.png"),
        ("a", "b", "what?#*:<>|.jpg", "a_to_b_what.png"),
        ("a", "b", "tab\tnew\nline\x00.jpg", "a_to_b_tab_new_line.png"),
        ("a", "b", "cafe\u0301.jpg", "a_to_b_café.png"),  # composed, so that file systems agree
        ("a", "b", "", "a_to_b_unnamed.png"),
    ],
)
def test_names_are_readable_and_safe(truth, predicted, path, name):
    assert mistake_name(truth, predicted, path) == name


@given(st.text(max_size=300), st.text(max_size=300), st.text(max_size=300))
def test_any_names_give_a_file_name_every_file_system_takes(truth, predicted, path):
    name = mistake_name(truth, predicted, path)
    assert len(name.encode()) <= 200
    assert not set(name) & set('/\\:*?"<>|\0\n')
    assert not name.startswith(".")


@pytest.mark.parametrize("stem", ["n" * 250, "과" * 250, "🍎" * 250])
def test_over_long_names_can_be_written(tmp_path, stem):
    write_picture(tmp_path / mistake_name("한" * 250, "b", f"{stem}.jpg"), np.zeros((8, 8, 3), np.uint8))
    assert len(list(tmp_path.iterdir())) == 1


def test_files_of_the_same_name_stay_apart_also_where_case_is_ignored():
    predictions = made([0, 0, 0], [[0.1, 0.9], [0.2, 0.8], [0.3, 0.7]], ["x/1.jpg", "y/1.jpg", "z/1.JPG"])
    table = mistake_table(predictions, np.array([0, 1, 2]))
    assert table["file"].tolist() == [
        "a_to_b_1.png",
        "a_to_b_1_0000000000000001.png",
        "a_to_b_1_0000000000000002.png",
    ]
    assert table.columns.tolist() == ["path", "label", "predicted", "confidence", "file"]
    assert table["confidence"].tolist() == [0.9, 0.8, 0.7]


def test_small_pictures_are_enlarged_by_a_whole_factor(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    write_picture(tmp_path / "small.png", pixels)
    write_picture(tmp_path / "large.png", np.tile(pixels, (5, 5, 1)))
    with Image.open(tmp_path / "small.png") as small, Image.open(tmp_path / "large.png") as large:
        assert small.size == (256, 256)
        assert np.array_equal(np.asarray(large), np.tile(pixels, (5, 5, 1)))
