"""`podium learning-curve`."""

import json
import shutil
from pathlib import Path

from podium.config.dataset import Fetch
from podium.config.params import load
from podium.core.files import sha256_file
from podium.data.tensors import save_weights
from podium.models import zoo
from podium.pipeline.fetch import write_weights
from podium.records.training import LearningCurve, LearningPoint, TuningResult
from tests.cards import no_weights
from tests.unit.cli.calls import change_params, one_line, podium


def test_parts_of_the_images_are_trained_on_and_the_test_images_stay_closed(project, monkeypatch):
    shutil.copytree(Path(__file__).parents[3] / "stages", project.root / "stages")
    no_weights("test_resnet").write(project.weights / "tiny_resnet" / "weights.json")
    change_params(project.root, "train", epochs=1)
    for file in (project.prepared / "test").iterdir():
        file.unlink()
    result = podium("learning-curve", "--model", "tiny_resnet", "--draws", "2")
    assert result.exit_code == 0, result.stderr
    said = " ".join(result.stdout.split())
    assert "12.5% of the images" in said
    assert "Twice the 6 training images would bring about" in said
    curve = LearningCurve.read(project.learning_curve)
    assert [point.share for point in curve.points] == [0.125, 0.25, 0.5, 1.0] * 2
    assert [point.images for point in curve.points][:4] == [3, 3, 3, 6]
    assert curve.val_images == 6
    # what was trained is not trained again
    monkeypatch.setattr("podium.models.engine.fit", None)
    again = json.loads(podium("learning-curve", "-m", "tiny_resnet", "--draws", "2", "--json").stdout)
    assert LearningCurve.model_validate_json(json.dumps(again)) == curve
    (kept, *_) = sorted((project.work / "learning_curve").iterdir())
    assert LearningPoint.read(kept) in curve.points


def test_a_model_that_is_not_there_is_named(project):
    result = podium("learning-curve", "--model", "tiny_resnt")
    assert result.exit_code == 2
    assert one_line(result.stderr)
    assert "did you mean 'tiny_resnet'" in result.stderr


def test_a_probe_has_a_learning_curve_too(project, tmp_path):
    shutil.copytree(Path(__file__).parents[3] / "stages", project.root / "stages")
    config = load(project.params).complete("tiny_resnet")
    first = tmp_path / "first.safetensors"
    save_weights(first, zoo.create(config, 3, 1).state_dict(), {})
    section = {
        "architecture": "test_resnet",
        "classifier": "nearest_neighbours",
        "weights": f"file:{first}",
        "weights_sha256": sha256_file(first),
        "weights_licence": "CC0-1.0",
    }
    change_params(project.root, "models", tiny_resnet=section)
    write_weights(project, project.weights, {"tiny_resnet": load(project.params).model("tiny_resnet")}, Fetch())
    best = project.tuning("tiny_resnet") / "best.json"
    TuningResult.read(best).model_copy(update={"parameters": {"k": 1}}).write(best)
    result = podium("learning-curve", "--model", "tiny_resnet", "--draws", "2")
    assert result.exit_code == 0, result.stderr
    assert [point.images for point in LearningCurve.read(project.learning_curve).points][:4] == [3, 3, 3, 6]
