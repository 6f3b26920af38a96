"""Which mistakes a page shows, and their pictures in MLflow."""

import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from podium.analysis.mistakes import Answer
from podium.records.evaluation import ConfusedPair
from podium.report.mistakes import captioned, confusions, gather, gather_pairs, sheet


def a_picture(side=64, name="WEBP"):
    out = io.BytesIO()
    Image.fromarray(np.full((side, side, 3), 7, np.uint8)).save(out, name)
    return out.getvalue()


def some_mistakes(*images, confidence=0.9, pictures=99):
    return [
        Answer(i, f"{i}.jpg", "apple", "leek", confidence, 0.05, None, ("dark",), b"x" * 300 if n < pictures else None)
        for n, i in enumerate(images)
    ]


def shown(tables, room=10**6, most=None):
    gallery = gather(tables, room, most)
    return [(image.first.image_id, list(image.mistakes)) for image in gallery.images], gallery.said


def test_an_image_is_shown_once_with_all_models_that_are_wrong_about_it_the_surest_first():
    tables = {"m": some_mistakes("a", "b"), "n": some_mistakes("c", "a", confidence=0.95)}
    images, said = shown(tables)
    assert images == [("a", ["n", "m"]), ("c", ["n"]), ("b", ["m"])]
    assert said == "Shown are all 2 of m and all 2 of n."


@pytest.mark.parametrize(
    ("limit", "left"),
    [
        ({"most": 2}, [("a", ["n", "m"]), ("c", ["n"])]),
        ({"room": 1000}, [("a", ["n", "m"]), ("c", ["n"])]),
        ({}, [("a", ["n", "m"]), ("c", ["n"])]),
    ],
)
def test_where_there_is_no_room_the_surest_of_each_model_are_shown_and_it_is_said(limit, left):
    pictures = 99 if limit else 1
    tables = {
        "m": some_mistakes("a", "b", "d", pictures=pictures),
        "n": some_mistakes("c", "a", confidence=0.95, pictures=pictures),
    }
    images, said = shown(tables, **limit)
    assert images == left
    assert said == "Shown are 1 of 3 of m and all 2 of n, the surest first; mistakes.parquet has all of them."


def test_a_model_without_mistakes_shows_none():
    assert shown({"m": [], "n": some_mistakes("a")}) == (
        [("a", ["n"])],
        "Shown are all 0 of m and all 1 of n.",
    )


@pytest.mark.parametrize(("side", "width"), [(8, 256), (64, 256), (96, 288), (300, 300)])
def test_a_picture_for_mlflow_is_enlarged_by_a_whole_factor_and_says_what_it_was_taken_for(side, width):
    page = np.asarray(captioned(Answer("i", "i.jpg", "사과", "leek", 0.9, 0.05, None, (), a_picture(side))))
    assert page.shape == (width + 50, width, 3)
    assert page[:width].max() < 20
    assert page[width:].min() < 100 < page[width:].mean()


def test_a_sheet_shows_several_mistakes_four_to_a_row():
    shown = [Answer(str(n), "i.jpg", "apple", "leek", 0.9, 0.05, None, (), a_picture()) for n in range(6)]
    assert sheet(shown).size == (4 * 256, 2 * 306)
    assert sheet(shown[:1]).size == (256, 306)


ANSWERS = pd.DataFrame({"actual": ["a", "a", "b", "c", "c"], "predicted": ["a", "c", "b", "c", "a"]})


def test_confusions_of_all_models_are_in_one_order_with_like_beside_like():
    right = pd.DataFrame({"actual": list("abc"), "predicted": list("abc")})
    found = confusions({"m": ANSWERS, "n": right}, ["a", "b", "c"])
    assert found["m"].classes == found["n"].classes
    assert abs(found["m"].classes.index("a") - found["m"].classes.index("c")) == 1
    at = {name: place for place, name in enumerate(found["m"].classes)}
    assert found["m"].counts[at["a"]][at["c"]] == found["m"].counts[at["c"]][at["a"]] == 1
    assert np.trace(np.array(found["n"].counts)) == 3


def test_confused_classes_stand_side_by_side_with_typical_images_at_both_ends():
    def about(label, predicted, count):
        return [Answer(f"{n}", f"{n}.jpg", label, predicted, 0.9, 0.1, None, (), a_picture(8)) for n in range(count)]

    pair = ConfusedPair(
        actual="apple", predicted="leek", mistakes=4, images=9, back=0, back_images=8, symmetry=0, share=0.5
    )
    mistakes = [*about("apple", "leek", 4), *about("apple", "onion", 1)]
    (shown,) = gather_pairs([pair], mistakes, [*about("apple", "apple", 3), *about("leek", "leek", 1)], 10**6)
    assert {heading: len(images) for heading, images in shown.items()} == {
        "apple, named rightly": 3,
        "apple taken for leek: 4 of 9": 3,
        "leek taken for apple: 0 of 8": 0,
        "leek, named rightly": 1,
    }
    assert gather_pairs([pair], mistakes, [], 10) == []  # no room


def test_of_many_classes_there_is_no_table():
    assert confusions({"m": ANSWERS}, [f"{number:03}" for number in range(41)]) == {}


def test_of_ten_thousand_mistakes_the_surest_of_every_model_fit_into_the_room():
    picture = a_picture(224)
    models = {
        model: [
            Answer(f"{model}{n}", "i.jpg", "apple", "leek", 1 - n / 10**5, 0.0, None, (), picture) for n in range(2500)
        ]
        for model in "abcd"
    }
    gallery = gather(models, 200_000)
    assert sum(len(image.uri) for image in gallery.images) <= 200_000
    shown = {model: [i.mistakes[model].image_id for i in gallery.images if model in i.mistakes] for model in models}
    assert len({len(ids) for ids in shown.values()}) <= 2  # alike but for one
    assert all(ids == [f"{model}{n}" for n in range(len(ids))] for model, ids in shown.items())
    assert "of 2\u202f500 of d, the surest first" in gallery.said
