"""`mistakes.parquet`: which answers are in it, with what, and how it is read back."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from podium.analysis.mistakes import find_mistakes, read_mistakes, write_mistakes
from podium.analysis.predictions import sort_predictions
from podium.core.errors import DataError

CLASSES = ("apple", "leek", "onion")
GROUPS = {"apple": "fruit", "leek": "vegetable", "onion": "vegetable"}
ANSWERS = [  # true class, probabilities
    (0, [0.4, 0.6, 0.0]),
    (1, [0.05, 0.05, 0.9]),  # the surest mistake, of the right coarse class
    (2, [0.0, 0.1, 0.9]),
    (1, [0.4, 0.3, 0.3]),  # the classes of its coarse class are likelier together
    (0, [0.3, 0.6, 0.1]),  # as sure as the first
]


def made(answers=ANSWERS):
    labels, probabilities = zip(*answers, strict=True)
    index = pd.DataFrame(
        {
            "image_id": [f"{number:016x}" for number in range(len(labels))],
            "path": [f"{number}.jpg" for number in range(len(labels))],
            "label": [CLASSES[label] for label in labels],
            "group": "",
        }
    )
    return sort_predictions(CLASSES, index, np.array(labels), np.array(probabilities, np.float32))


MASKS = {
    "dark": ("it is dark", np.array([True, True, False, False, False])),
    "small": ("it is small", np.array([False, True, True, False, False])),
}


def test_every_mistake_is_there_once_the_surest_first_with_its_slices():
    found = find_mistakes(made(), GROUPS, MASKS)
    assert [(m.path, m.label, m.predicted, m.confidence, m.label_probability, m.coarse_right) for m in found] == [
        ("1.jpg", "leek", "onion", 0.9, 0.05, True),
        ("0.jpg", "apple", "leek", 0.6, 0.4, False),
        ("4.jpg", "apple", "leek", 0.6, 0.3, False),
        ("3.jpg", "leek", "apple", 0.4, 0.3, True),
    ]
    assert [m.slices for m in found] == [("dark", "small"), ("dark",), (), ()]
    assert [m.coarse_right for m in find_mistakes(made(), {}, {})] == [None] * 4


@pytest.mark.parametrize("answers", [ANSWERS, ANSWERS[2:3]], ids=["mistakes", "none"])
@pytest.mark.parametrize("groups", [GROUPS, {}])
def test_what_is_written_is_read_back_with_a_picture_of_the_surest(tmp_path, answers, groups):
    masks = {name: (said, mask[: len(answers)]) for name, (said, mask) in MASKS.items()}
    found = find_mistakes(made(answers), groups, masks)
    for name in ("a", "b"):
        write_mistakes(tmp_path / name, found, 2, str.encode)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    pictured = [replace(m, picture=m.image_id.encode()) for m in found[:2]]
    assert read_mistakes(tmp_path / "a") == [*pictured, *found[2:]]


def test_a_file_of_an_earlier_version_is_named(tmp_path):
    pd.DataFrame({"image_id": ["a"]}).to_parquet(tmp_path / "mistakes.parquet")
    with pytest.raises(DataError, match=r"mistakes\.parquet lacks a column of image_id, path, .*dvc repro"):
        read_mistakes(tmp_path / "mistakes.parquet")
