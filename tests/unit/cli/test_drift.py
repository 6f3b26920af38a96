"""`podium drift`: what a version is asked now, beside what it was trained on; the log it reads says nothing else."""

import json
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image, ImageEnhance

from podium.config.preprocess import Preprocessing
from podium.core.layout import TRAIN_MEASURES
from podium.curation.reading import read_measured
from podium.data.manifest import PREPARED_COLUMNS, read_manifest, write_manifest
from podium.serving.prediction_log import read_log
from tests.unit.cli.calls import one_line, podium
from tests.unit.conftest import SIZE, _picture
from tests.unit.registry.promotions import hold_staging

LIKE_TRAINING = [(label, number) for label in range(3) for number in range(100, 110)]


def draw(folder, change=lambda image: image):
    """Pictures as those of the experiment are made, changed."""
    Path(folder).mkdir()
    for label, number in LIKE_TRAINING:
        Path("one.png").write_bytes(_picture(label, number))
        with Image.open("one.png") as made:
            change(made.convert("RGB")).save(Path(folder, f"secret name {label} {number}.png"))


def predict(folder, log, model="1"):
    result = podium("predict", folder, "--model", model, "--log", log)
    assert result.exit_code == 0, result.stderr


def drift(*arguments, code=0):
    result = podium("drift", *arguments)
    assert result.exit_code == code, result.stderr + result.stdout
    return result.stdout


@pytest.fixture
def more_training_images(project):
    """As many training images as tell something, by their measures: further pictures like those of the experiment."""
    measures, manifest = pd.read_parquet(project.measures), read_manifest(project.manifest, PREPARED_COLUMNS)
    how = Preprocessing(image_size=SIZE, pad_value=0, max_pixels=10**6)
    numbers = [read_measured(_picture(label, n), how).measures for label in range(3) for n in range(1000, 1080)]
    ids = [f"{n:016x}" for n in range(len(numbers))]
    added = pd.DataFrame(numbers).assign(image_id=ids, split="train", label="apple", source="made-up")
    pd.concat([measures, added]).to_parquet(project.measures, index=False)
    rows = manifest.loc[[0] * len(ids)].assign(image_id=ids, split="train", width=48, height=40)
    write_manifest(project.manifest, pd.concat([manifest, rows]), PREPARED_COLUMNS)


def test_darker_photographs_drift_and_fresh_ones_do_not(project, more_training_images, versions):
    hold_staging(project, "1")
    draw("fresh")
    draw("dark", lambda image: ImageEnhance.Brightness(image).enhance(0.4))
    predict("fresh", "log")
    said = drift("log", "--model", "staging", "--fail")
    assert "Nothing drifts: none of 18 distances" in said and "30 logged images" in said
    predict("dark", "dark_log")
    found = json.loads(drift("dark_log", "--model", "1", "--json", "--fail", "--out", "found", code=1))
    drifts = {one["measure"] for one in found["results"] if one["drifts"]}
    assert {"brightness", "contrast", "red_mean"} <= drifts and not drifts & {"aspect", "shorter_side"}
    assert found["medians"]["brightness"] < 0.5 * found["medians_before"]["brightness"]
    assert (found["model"], found["version"], found["images"]) == ("tiny_resnet", "1", 30)
    assert json.loads(Path("found/drift.json").read_text()) == found
    with Image.open("found/drift.png") as plot:
        assert plot.width > 1000
    page = Path("found/index.html").read_text()
    assert "18 measures drift" in page and "<b>pear</b>" not in page
    drift("dark_log", "--model", "1")  # 0 where nobody asks for more


def test_the_package_tells_what_training_was_like_where_the_data_is_gone(project, more_training_images, versions):
    draw("fresh")
    predict("fresh", "log")
    with_data = drift("log", "--model", "1", "--json")
    project.measures.unlink()
    project.manifest.unlink()
    assert drift("log", "--model", "1", "--json") == with_data
    packed = Path(project.root, "packages", "1", "artifacts", TRAIN_MEASURES).read_bytes()
    assert b"image_id" not in packed and b"train/" not in packed


def test_the_log_of_a_run_that_is_called_again_holds_no_name_and_no_pixel(project, versions):
    draw("photos")
    predict("photos", "log")
    rows, broken = read_log(Path("log"))
    assert (len(rows), broken) == (30, 0) and len({row.id for row in rows}) == 30
    kept = b"".join(path.read_bytes() for path in Path("log").iterdir())
    assert b"secret" not in kept and b"photos" not in kept and b".png" not in kept
    assert len(kept) < 30 * 1000  # an image of 40 x 48 pixels has 5,760 bytes
    result = podium("predict", "photos", "--model", "1")  # nothing is noted unless it is asked for
    assert result.exit_code == 0 and len(read_log(Path("log"))[0]) == 30


def test_a_model_of_the_experiment_and_a_version_of_it_share_a_log_by_their_weights(project, versions):
    draw("photos")
    predict("photos", "log", "tiny_resnet")
    predict("photos", "log", "tiny_convnext")
    assert json.loads(drift("log", "--model", "1", "--json"))["images"] == 30
    assert json.loads(drift("log", "--model", "tiny_convnext", "--json"))["images"] == 30


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("nowhere", "--model", "tiny_resnet"), 1, "holds no prediction log: name the folder"),
        (("log", "--model", "tiny_convnext"), 1, "too few to compare; it has answers of tiny_resnet"),
        (("log", "--model", "tiny_resnet", "--since", "2999-01-01"), 1, "from 2999-01-01 00:00 on, 30 in all"),
        (("log", "--model", "tiny_resnet", "--since", "monday"), 2, "--since"),
        (("log", "--model", "tiny_resnet", "--out", "params.yaml"), 2, "is a file"),
        (("log", "--model", "tiny_resne"), 2, "did you mean 'tiny_resnet'?"),
    ],
)
def test_what_cannot_be_compared_is_said_in_one_line(project, arguments, code, message):
    draw("photos")
    predict("photos", "log", "tiny_resnet")
    result = podium("drift", *arguments)
    assert result.exit_code == code and one_line(result.stderr)
    assert message in result.stderr
