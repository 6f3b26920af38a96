"""`podium preview-augment` on a prepared dataset of noise images whose mean colour tells the class."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from podium.cli.experiment import switched_on
from podium.config.train import Augment
from tests.small_splits import write_prepared
from tests.unit.cli.calls import one_line, podium

ROOT = Path(__file__).parents[3]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with params.yaml, dvc.yaml and prepared images."""
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copyfile(ROOT / name, tmp_path / name)
    write_prepared(tmp_path / "artifacts" / "prepared")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def set_augment(root, **values):
    raw = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))
    raw["train"]["augment"].update({"flip": False, "shift": 0.0, "brightness": 0.0, "contrast": 0.0, **values})
    (root / "params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
    return next(iter(raw["models"]))


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB"))


def first_row(picture):
    """One line of pixels of each image in the first row (noise is nowhere white, the gaps between images are)."""
    line = picture[100]
    coloured = (line < 250).any(axis=1)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], coloured, [False]]).astype(int)))
    return [line[start:end] for start, end in edges.reshape(-1, 2) if end - start == 128]


def test_a_picture_of_originals_and_eight_versions_is_written(project):
    model = set_augment(project, flip=True, rotation=20, crop_area=0.5)
    done = podium("preview-augment", "--images", "5")
    assert done.exit_code == 0, done.output
    assert done.output == (
        f".podium/augmentation-{model}.png: 5 images, each with 8 changed versions (flip, crop_area 0.5, rotation 20)\n"
    )
    picture = pixels(project / ".podium" / f"augmentation-{model}.png")
    row = first_row(picture)
    assert len(row) == 9
    assert all(not np.array_equal(row[0], changed) for changed in row[1:])
    podium("preview-augment", "--images", "5", "--out", "again.png")
    assert np.array_equal(pixels("again.png"), picture)


def test_without_changes_all_columns_are_the_original(project):
    set_augment(project)
    done = podium("preview-augment", "--images", "1", "--out", "one.png")
    assert "1 images, each with 8 changed versions (nothing changes)" in done.output
    row = first_row(pixels("one.png"))
    assert len(row) == 9
    assert all(np.array_equal(row[0], one) for one in row)


def test_mixed_images_say_what_they_are_learned_as(project):
    set_augment(project, brightness=0.1)
    podium("preview-augment", "--out", "plain.png")
    set_augment(project, brightness=0.1, mixup=0.8, cutmix=1.0)
    assert podium("preview-augment", "--out", "mixed.png").exit_code == 0
    # a caption of two lines below each of the six rows
    assert len(pixels("mixed.png")) == len(pixels("plain.png")) + 6 * 30


def test_a_model_s_own_recipe_is_shown(project):
    raw = yaml.safe_load((project / "params.yaml").read_text(encoding="utf-8"))
    first, *_ = raw["models"]
    raw["models"]["other"] = {**raw["models"][first], "train": {"augment": {"flip": False, "noise": 0.2}}}
    (project / "params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
    assert "noise 0.2" in podium("preview-augment", "--model", "other").output
    assert "noise" not in podium("preview-augment", "--model", first).output


@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        (("--model", "nobody"), "model 'nobody' is not in params.yaml", 1),
        (("--out", "picture.jpg"), "ends in .png", 2),
        (("--out", "pictures/of/today.png"), "there is no folder pictures/of: make it first", 2),
        (("--images", "0"), "--images", 2),
    ],
)
def test_what_cannot_be_shown_is_refused_in_one_line(project, arguments, said, code):
    done = podium("preview-augment", *arguments)
    assert done.exit_code == code
    assert said in done.output
    assert one_line(done.output)
    assert not (project / "pictures").exists()


def test_without_prepared_images_it_says_what_to_run(project):
    shutil.rmtree(project / "artifacts")
    done = podium("preview-augment")
    assert done.exit_code == 1
    assert "run `dvc repro preprocess`" in done.output


def test_changes_are_named_as_in_params():
    told = switched_on(Augment.model_validate({"shift": 0, "hue": 0.05, "randaugment": {"operations": 3}}))
    assert told == ["flip", "brightness 0.1", "contrast 0.1", "hue 0.05", "randaugment 3 x 5"]
