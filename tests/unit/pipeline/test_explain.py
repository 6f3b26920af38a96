"""Stage explain@m on the finished toy experiment: pictures, checks, what is refused, the same bytes again."""

import json

import numpy as np
import pytest
from PIL import Image

from podium.config.judging import Explain
from podium.console.openings import read_openings
from podium.core.errors import DataError, ParamsError
from podium.core.files import sha256_tree
from podium.pipeline import explain
from podium.pipeline.explain import explain_model
from podium.records.evaluation import Metrics
from podium.records.explanation import Explanation
from tests.unit.conftest import CLASSES, SIZE


def run(experiment, model="tiny_resnet", **changes):
    params = experiment.params
    wish = Explain.model_validate({**params.explain.model_dump(), **changes})
    explain_model(experiment.layout, model, wish, params.runtime, params.seed)
    folder = experiment.layout.explanation(model)
    return Explanation.read(folder / "explanation.json"), folder


def test_every_class_has_its_surest_right_and_wrong_image_beside_its_maps(experiment, capsys):
    found, folder = run(experiment, methods=["gradcam", "occlusion"])
    assert {name: checks.images for name, checks in found.methods.items()} == {"gradcam": 6, "occlusion": 6}
    assert found.methods["gradcam"].boxes is None
    answers = np.array([(p.label, p.kind, p.label == p.predicted) for p in found.pictures])
    assert {tuple(row) for row in answers} <= {(c, "typical", "True") for c in CLASSES} | {
        (c, "worst", "False") for c in CLASSES
    }
    assert len({(p.label, p.kind) for p in found.pictures}) == len(found.pictures) >= 3
    assert sorted(p.name for p in folder.glob("0*.png")) == [p.file for p in found.pictures]
    with Image.open(folder / found.pictures[0].file) as strip:
        assert strip.size == (3 * SIZE, SIZE)
    said = capsys.readouterr().out
    assert "tiny_resnet: hiding first what it calls important" in said and "with random weights" in said


def test_pictures_are_changed_by_the_first_method_that_works_and_told(experiment, capsys):
    found, folder = run(experiment, "tiny_convnext", methods=["cam", "gradcam"])
    changed = found.interventions
    assert (changed.method, changed.images, changed.objects_known) == ("gradcam", 6, 0)
    assert {one.kind for one in changed.results} == {"salient", "background", "second_object"}
    assert (folder / "interventions.png").is_file()
    said = capsys.readouterr().out
    assert "Covering the 30% that speaks most for the answer (grey): tiny_convnext is right in" in said
    none, folder = run(experiment, "tiny_convnext", interventions={"images": 0})
    assert none.interventions is None and not (folder / "interventions.png").exists()


def test_a_unet_that_learned_from_boxes_finds_the_objects_where_no_box_is_known(experiment, monkeypatch, capsys):
    with pytest.raises(
        ParamsError, match=r"^explain\.interventions\.foreground: unet learns from boxes, and no training"
    ):
        run(experiment, interventions={"foreground": "unet"})

    def boxes(known, preprocessing):
        """Training images have a box all around them, test images none."""
        box = [0, 0, SIZE, SIZE] if set(known["split"]) == {"train"} else [np.nan] * 4
        return np.tile(box, (len(known), 1))

    monkeypatch.setattr(explain, "boxes_in_square", boxes)
    found, _ = run(experiment, interventions={"foreground": "unet"})
    assert found.interventions.foreground == "unet" and found.interventions.objects_known > 0
    assert {"object", "background"} <= {one.kind for one in found.interventions.results}
    assert "tiny_resnet: a U-Net learns from 6 training images" in capsys.readouterr().out


def test_a_rerun_gives_the_same_bytes_and_opens_nothing(experiment):
    _, folder = run(experiment, methods=["gradcam", "gradient_shap"])
    before, ledger = sha256_tree([folder], folder), read_openings(experiment.layout)
    run(experiment, methods=["gradcam", "gradient_shap"])
    assert sha256_tree([folder], folder) == before
    assert read_openings(experiment.layout) == ledger
    assert {opening.purpose for opening in ledger} == {"evaluate tiny_resnet", "evaluate tiny_convnext"}


def test_a_method_that_the_network_has_nothing_for_is_told_and_the_others_go_on(experiment, capsys):
    found, folder = run(experiment, "tiny_convnext", methods=["cam", "gradcam"])
    assert list(found.methods) == ["gradcam"]
    assert found.refused["cam"].endswith("use gradcam")
    assert f"tiny_convnext: {found.refused['cam']}" in capsys.readouterr().out
    with Image.open(folder / found.pictures[0].file) as strip:
        assert strip.size == (2 * SIZE, SIZE)


def test_nothing_is_explained_where_no_method_is_named(experiment):
    found, folder = run(experiment, methods=[])
    assert (found.methods, found.pictures) == ({}, [])
    assert [p.name for p in folder.iterdir()] == ["explanation.json"]


def test_what_does_not_fit_is_said_before_anything_is_written(experiment):
    with pytest.raises(ParamsError, match=r"^explain\.methods: there is no method 'gradcan'; did you mean 'gradcam'\?"):
        run(experiment, methods=["gradcan"])
    path = experiment.layout.evaluation("tiny_resnet") / "metrics.json"
    Metrics.read(path).model_copy(update={"fingerprint": "e" * 64}).write(path)
    before = json.loads((experiment.layout.explanation("tiny_resnet") / "explanation.json").read_text())
    with pytest.raises(DataError, match=r"artifacts/evaluation/tiny_resnet is of another model or other images: run"):
        run(experiment)
    assert json.loads((experiment.layout.explanation("tiny_resnet") / "explanation.json").read_text()) == before
