"""`podium review`: which images are on the page and why, what the CSV holds, and what is refused."""

import csv
import io
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from podium.data.manifest import RawImages
from podium.data.preprocess import WHOLE
from podium.records.profile import LabelCandidate, LabelNoise
from podium.report.review import ROOM, Doubt, Shown, choose, picture, render_review
from tests.unit.cli.calls import change_params, one_line, podium


@pytest.fixture
def labels(project):
    """The `label_noise.json` of the finished experiment, which doubts one training image."""
    images = pd.read_parquet(project.manifest)
    row = images[images["split"] == "train"].iloc[0]
    candidate = LabelCandidate(
        image_id=row["image_id"],
        path=row["path"],
        split="train",
        label=row["label"],
        suggested=next(name for name in images["label"] if name != row["label"]),
        probability_label=0.02,
        probability_suggested=0.9,
    )
    LabelNoise(
        images=12, classes=3, folds=5, accuracy=0.9, chance=0.3, count=1, share=0.1, candidates=[candidate]
    ).write(project.validation / "label_noise.json")
    return candidate


def review(project, *arguments):
    """The rows of the CSV by path, the page, and what was said."""
    done = podium("review", "--no-open", "--out", "out", *arguments)
    assert done.exit_code == 0, done.stderr
    text = (project.root / "out" / "corrections.csv").read_text(encoding="utf-8-sig")
    page = (project.root / "out" / "review.html").read_text(encoding="utf-8")
    return {row["path"]: row for row in csv.DictReader(io.StringIO(text))}, page, done.stdout


def shown_on(page):
    return re.findall(r'data-path="([^"]+)"', page)


def test_train_and_val_images_are_shown_with_what_label_check_and_model_say(project, labels):
    rows, page, said = review(project, "--model", "tiny_resnet")
    images = pd.read_parquet(project.manifest).set_index("path")
    assert shown_on(page) == list(rows) and len(rows) > 1
    assert set(images.loc[list(rows), "split"]) <= {"train", "val"}
    mine = rows[labels.path]
    assert (mine["was"], mine["label"], mine["image_id"]) == (labels.label, "", labels.image_id)
    assert f"label check: {labels.suggested} 90.0%, {labels.label} 2.0%" in mine["said"]
    assert all("tiny_resnet: " in row["said"] for path, row in rows.items() if path != labels.path)
    assert "tiny_resnet was asked about the images of train and val." in said
    assert "Test images are among these" not in page
    assert list(review(project, "--model", "tiny_resnet", "--most", "1")[0]) == [
        labels.path
    ]  # two reasons, or the first


def test_the_winner_is_asked_by_default_and_before_there_is_one_nobody(project, labels):
    assert " was asked about the images" in review(project)[2]
    (project.comparison / "decision.json").unlink()
    rows, _, said = review(project)
    assert list(rows) == [labels.path] and "No model was asked: none has won yet" in said


def test_test_images_come_only_when_asked_for_and_with_a_warning(project, labels):
    rows, page, _ = review(project, "--model", "tiny_resnet", "--test")
    assert {row["split"] for row in rows.values()} >= {"train", "test"}
    assert "makes test accuracy look better than it is" in page
    refused = podium("review", "--model", "1", "--test")
    assert refused.exit_code == 2 and "--test needs a model of the experiment" in refused.stderr


def test_what_the_file_decides_is_not_shown_again_and_stays_in_the_file(project, labels):
    (project.root / "data").mkdir(exist_ok=True)
    (project.root / "data" / "fixed.csv").write_text(f"path,label,why\n{labels.path},left_out,blurred\n")
    change_params(project.root, "dataset", corrections="data/fixed.csv")
    rows, page, said = review(project, "--model", "tiny_resnet")
    assert (rows[labels.path]["label"], rows[labels.path]["why"]) == ("left_out", "blurred")
    assert labels.path not in shown_on(page)
    assert "1 rows of data/fixed.csv stay in the file" in said


def test_a_table_of_predictions_adds_what_a_model_abstained_on(project, labels, tmp_path):
    (project.comparison / "decision.json").unlink()
    images, raw = pd.read_parquet(project.raw / "manifest.parquet"), RawImages(project.raw)
    held_out = images["photo_sha256"].isin(images.loc[images["split"] != "test", "photo_sha256"])
    known, tested = images[images["split"] == "val"].iloc[-1], images[~held_out].iloc[0]
    for name, row in (("known.png", known), ("tested.png", tested)):
        (tmp_path / name).write_bytes(raw.read(row["shard"], row["photo_id"]))
    same = images[(images["photo_sha256"] == known["photo_sha256"]) & (images["split"] != "test")]["path"]
    Image.fromarray(np.full((30, 40, 3), 90, np.uint8)).save(tmp_path / "new.png")
    rows = [("sure.png", "apple", 0.99, False), ("known.png", "apple", 0.8, False), ("tested.png", "apple", 0.2, True)]
    rows += [("new.png", "감", 0.3, True), ("broken.png", None, None, None)]
    table = pd.DataFrame(rows, columns=["path", "label", "score", "abstained"])
    for name, write in (("p.csv", table.to_csv), ("p.parquet", table.to_parquet)):
        write(tmp_path / name, index=False)
        found, page, said = review(project, "--predictions", str(tmp_path / name))
        assert sorted(shown_on(page)) == sorted({labels.path, "new.png", *same})
        assert "new.png" not in found  # no image of the dataset: its label goes into another file
        assert "abstained: 감, 30.0% sure" in page and f"1 files of {tmp_path / name} are not here" in said


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "does not exist"), ("a,b\n1,2\n", "lacks one of abstained, label, path, score"), ("", "is no table")],
)
def test_what_is_no_table_of_predictions_is_refused(project, tmp_path, content, said):
    table = tmp_path / "p.csv"
    if content is not None:
        table.write_text(content)
    refused = podium("review", "--predictions", str(table))
    assert refused.exit_code == 1 and one_line(refused.stderr) and said in refused.stderr


def test_a_model_of_other_images_is_refused_by_name_and_left_out_otherwise(project, labels):
    split = project.prepared / "train" / "split.json"
    split.write_text(split.read_text().replace('"pad_value": 114', '"pad_value": 0'))
    assert "No model was asked: tiny_" in review(project)[2]
    refused = podium("review", "--model", "tiny_resnet")
    assert "was trained with other classes or another image size" in refused.stderr


def test_a_page_of_200_photographs_stays_below_5_mb():
    random = np.random.default_rng(0)
    photo = Image.fromarray(random.integers(0, 256, (40, 60, 3), np.uint8)).resize((900, 600), Image.Resampling.BICUBIC)
    out = io.BytesIO()
    photo.save(out, "JPEG", quality=95)
    uri = picture(out.getvalue(), WHOLE, 10**7, ROOM // 200)
    one = Shown("0" * 16, "a.jpg", "pear", "train", uri, (Doubt("0" * 16, "label", "said", "apple"),))
    assert len(render_review([one] * 200, ["apple", "pear"], [], experiment="e", notes=[])) < 5_000_000
    assert len(picture(out.getvalue(), WHOLE, 10**7, ROOM)) > len(uri)  # alone it has more room


def test_images_are_taken_in_turn_and_those_with_several_reasons_come_first():
    one, two = ([Doubt(key, "label", "", "") for key in keys] for keys in ("abc", "dbe"))
    assert list(choose([one, two], 4)) == ["b", "a", "d", "e"] or list(choose([one, two], 4)) == ["b", "a", "d", "c"]
    assert [len(reasons) for reasons in choose([one, two], 9).values()] == [2, 1, 1, 1, 1]
