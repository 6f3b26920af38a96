"""`podium compare A B`: models, versions and files, on the images both answered."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from podium.analysis.predictions import read_answers
from podium.records.evaluation import Decision
from tests.unit.cli.calls import change_params, one_line, podium
from tests.unit.registry.promotions import NAME, client_of

CLASSES = ("pear", "apple", "fig")


def write_answers(folder, name, wrong, images=400, first=0, **columns):
    """A file of predictions about so many images from a number on, those at some places named wrongly."""
    ids = [f"{number:06}" for number in range(first, first + images)]
    labels = [CLASSES[int(image) % 3] for image in ids]
    predicted = [CLASSES[(int(image) + (at in wrong)) % 3] for at, image in enumerate(ids)]
    frame = pd.DataFrame({"image_id": ids, "path": [f"photos/{i}.jpg" for i in ids], "label": labels})
    frame.assign(predicted=predicted, **columns).to_parquet(folder / name)
    return str(folder / name)


def said(*arguments):
    result = podium("compare", *arguments)
    assert result.exit_code == 0, result.stderr
    return " ".join(result.stdout.split())


def test_two_files_are_compared_on_the_images_both_answered(project):
    mine = write_answers(Path(), "mine.parquet", range(20, 40))
    theirs = write_answers(Path(), "theirs.parquet", range(80), first=20)
    told = said(mine, theirs)
    assert f"{mine} 94.7% [92.0\u201396.6] 400 380" in told
    assert f"{mine} is better than {theirs}: accuracy 94.7% against 78.9% on the same 380 test images" in told
    assert f"{mine} is right and {theirs} wrong about: photos/000040.jpg photos/000041.jpg" in told
    assert "and 55 more: --json lists them" in told
    assert f"{theirs} is right and" not in told
    document = json.loads(podium("compare", mine, theirs, "--json").stdout)
    assert (document["images"], document["comparison"]["outcome"], document["other_labels"]) == (380, "better", 0)
    assert [len(model["alone_right"]) for model in document["models"]] == [60, 0]
    assert document["models"][1]["accuracy"]["value"] == pytest.approx(300 / 380)


def test_no_difference_comes_with_the_one_that_would_have_been_found(project):
    mine = write_answers(Path(), "mine.parquet", range(20))
    theirs = write_answers(Path(), "theirs.parquet", range(10, 36))
    told = said(mine, theirs)
    assert f"It is undecided whether {mine} is better than {theirs}" in told
    points = re.search(r"With 400 test images a true difference of (\d\.\d) points is found in 8 of 10 cases", told)
    found = json.loads(podium("compare", mine, theirs, "--json").stdout)["comparison"]
    assert float(points[1]) == pytest.approx(100 * found["minimum_detectable_difference"], abs=0.05)


def test_models_of_the_experiment_and_versions_are_compared_as_compare_does(project, versions):
    told = said("tiny_resnet", "tiny_convnext")
    assert "on the same 24 test images" in told
    found = json.loads(podium("compare", "tiny_resnet", "tiny_convnext", "--json").stdout)["comparison"]
    (decided,) = Decision.read(project.comparison / "decision.json").comparisons
    assert found["p_value"] == pytest.approx(decided.p_value)
    assert found["minimum_detectable_difference"] == pytest.approx(decided.minimum_detectable_difference)
    client_of(project).set_registered_model_alias(NAME, "staging", "1")
    for given in ("1", "staging", f"models:/{NAME}/1", f"models:/{NAME}@staging"):
        told = said("tiny_convnext", given)
        assert f"version 1 of {NAME} (tiny_resnet)" in told
        assert "on the same 24 test images" in told
    assert f"version 1 of {NAME} (tiny_resnet)" in said("candidate", "1")


def test_images_under_another_label_are_left_out_and_counted(project):
    mine = write_answers(Path(), "mine.parquet", range(20))
    theirs = write_answers(Path(), "theirs.parquet", range(20), label=["fig"] * 400)
    assert "267 more images have another label" in said(mine, theirs)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("tiny_resnet", "tiny_convnex"), 2, "no file; did you mean 'tiny_convnext'? (known: tiny_"),
        (("tiny_resnet", "7"), 2, "'7' is no model of the experiment, no version of podium-tiny and no file"),
        (("tiny_resnet", "tiny_resnet"), 2, "tiny_resnet is both of the two"),
        (("tiny_resnet", "models:/other@staging"), 1, "no model is registered as 'other'"),
        (("tiny_resnet", "none.parquet"), 1, "none.parquet does not exist"),
        (("tiny_resnet", "broken.parquet"), 1, "broken.parquet is not a Parquet file"),
        (("tiny_resnet", "twice.parquet"), 1, "names an image twice"),
        (("tiny_resnet", "numbers.parquet"), 1, "is no text"),
        (("tiny_resnet", "elsewhere.parquet"), 1, "answered no image in common"),
    ],
)
def test_what_cannot_be_compared_is_said_in_one_line(project, versions, arguments, code, message):
    root = project.root
    write_answers(root, "elsewhere.parquet", ())
    write_answers(root, "twice.parquet", (), image_id=["1"] * 400)
    (root / "broken.parquet").write_text("no table")
    table = read_answers(root / "elsewhere.parquet")
    table.assign(label=1).to_parquet(root / "numbers.parquet")
    result = podium("compare", *arguments)
    assert result.exit_code == code
    assert message in result.stderr
    assert one_line(result.stderr)


def test_the_metric_is_that_of_the_params(project):
    change_params(project.root, "compare", metric="macro_f1")
    mine = write_answers(Path(), "mine.parquet", range(20))
    told = said(mine, write_answers(Path(), "theirs.parquet", range(80)))
    assert "macro F1 95.0% against" in told
    assert "randomisation test p = 0.0001" in told
