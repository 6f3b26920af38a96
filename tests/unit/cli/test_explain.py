"""`podium explain`: a picture, a map and a JSON for every image, of a model or a version."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from podium.records.evaluation import Metrics
from podium.records.training import ModelCard
from tests.unit.cli.calls import one_line, podium
from tests.unit.conftest import CLASSES, SIZE
from tests.unit.registry.promotions import NAME, hold_staging


def draw(path, seed=0):
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (40, 48, 3), dtype=np.uint8)).save(path)
    return str(path)


def test_every_image_gets_a_picture_a_map_and_what_they_are_of(project):
    images = [draw(Path("a/pear.png")), draw(Path("b/pear.jpg"), 1)]
    result = podium("explain", *images, "--model", "tiny_resnet", "--out", "found")
    assert result.exit_code == 0, result.stderr
    names = ["pear_gradcam", "pear_gradcam_2"]
    assert sorted(p.name for p in Path("found").iterdir()) == sorted(
        f"{n}.{e}" for n in names for e in ("json", "npy", "png")
    )
    said = json.loads(Path("found/pear_gradcam.json").read_text())
    card = ModelCard.read(project.model("tiny_resnet") / "model.json")
    assert (said["image"], said["fingerprint"]) == (images[0], card.fingerprint)
    assert said["class"] == said["predicted"] and said["class"] in CLASSES
    assert 1 / len(CLASSES) <= said["probability"] <= 1
    assert np.load(Path("found") / said["map"]).shape == (SIZE, SIZE)
    with Image.open(Path("found") / said["picture"]) as picture:
        assert picture.width > 500
    assert f"{said['class']} at {said['probability']:.1%}" in result.stdout


def test_a_version_explains_as_the_model_it_was_made_of(project, versions):
    hold_staging(project, "1")
    image = draw(Path("pear.png"))
    found = []
    for model in ("tiny_resnet", "1", "staging", f"models:/{NAME}@staging"):
        result = podium("explain", image, "--model", model, "--method", "occlusion", "--class", "apple", "--out", "x")
        assert result.exit_code == 0, result.stderr
        found.append((json.loads(Path("x/pear_occlusion.json").read_text()), np.load("x/pear_occlusion.npy")))
    assert all(said == found[0][0] and np.array_equal(values, found[0][1]) for said, values in found)
    assert found[0][0]["class"] == "apple"


def test_the_probability_is_the_calibrated_one(project):
    image = draw(Path("pear.png"))
    path = project.evaluation("tiny_resnet") / "metrics.json"
    Metrics.read(path).model_copy(update={"temperature": 1000.0}).write(path)
    assert podium("explain", image, "--model", "tiny_resnet").exit_code == 0
    assert json.loads(Path("explanations/pear_gradcam.json").read_text())["probability"] == pytest.approx(
        1 / 3, abs=0.01
    )


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("pear.png", "--model", "tiny_resne"), 2, "version of podium-tiny; did you mean 'tiny_resnet'? (known: tiny_"),
        (("pear.png", "--model", "tiny_resnet", "--method", "gradcan"), 2, "did you mean 'gradcam'?"),
        (("pear.png", "--model", "tiny_resnet", "--class", "appel"), 2, "did you mean 'apple'?"),
        (("pear.png", "--model", "tiny_convnext", "--method", "cam"), 1, "use gradcam"),
        (("none.png", "--model", "tiny_resnet"), 1, "none.png is no file"),
        (("text.png", "--model", "tiny_resnet"), 1, "text.png is not an image: unreadable"),
        (("pear.png", "--model", "models:/other@staging"), 1, "no model is registered as 'other'"),
    ],
)
def test_what_cannot_be_explained_is_said_in_one_line_and_leaves_nothing(project, versions, arguments, code, message):
    draw(Path("pear.png"))
    Path("text.png").write_text("no image")
    result = podium("explain", *arguments)
    assert result.exit_code == code
    assert message in result.stderr and one_line(result.stderr)
    assert not Path("explanations").exists()


def test_a_version_that_changed_since_it_was_registered_explains_nothing(project, versions):
    (project.root / "packages" / "1" / "artifacts" / "golden.json").write_text("{}")
    result = podium("explain", draw(Path("pear.png")), "--model", "1")
    assert result.exit_code == 1 and one_line(result.stderr)
    assert "the package of version 1 changed since" in result.stderr
    assert not Path("explanations").exists()
