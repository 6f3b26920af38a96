"""Two sources merged, boxes of photographs as images, steps before training: the whole road, up to a promotion."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from benchmarks.scratch import Scratch, commit, copy_project
from tests.small_project import CLASSES, GATES, draw_images

PHOTOGRAPHS = 24
SIDE = 48


def draw_photographs(folder) -> None:
    """Each photograph holds two things side by side, of two classes; a table names their boxes in pixels."""
    folder.mkdir(parents=True)
    rows = []
    names = list(CLASSES)
    for n in range(PHOTOGRAPHS):
        rng = np.random.default_rng(n)
        pixels = rng.integers(60, 200, (60, 120, 3), dtype=np.uint8)
        for place in range(2):
            label = names[(n + place) % len(names)]
            x, y = 60 * place + int(rng.integers(4, 16)), int(rng.integers(4, 16))
            pixels[y : y + 36, x : x + 36] = CLASSES[label]
            pixels[y : y + 36, x : x + 36] += rng.integers(0, 12, (36, 36, 3), dtype=np.uint8)
            box = {"left": x - 3, "top": y - 3, "right": x + 39, "bottom": y + 39}
            rows.append({"path": f"{n:02d}.png", "label": label, **box})
        rows.append({"path": f"{n:02d}.png", "label": names[0], "left": 0, "top": 0, "right": 5, "bottom": 5})
        Image.fromarray(pixels).save(folder / f"{n:02d}.png")
    pd.DataFrame(rows).to_csv(folder / "boxes.csv", index=False)


@pytest.fixture(scope="module")
def cropped(tmp_path_factory: pytest.TempPathFactory, warm_path: str) -> Scratch:
    project = copy_project(tmp_path_factory.mktemp("crops") / "project")
    draw_images(project.root / "data" / "photos")
    draw_photographs(project.root / "data" / "street")
    columns = {"box": {side: side for side in ("left", "top", "right", "bottom")}}
    street = {"location": "data/street/boxes.csv", "columns": columns, "box_units": "pixels"}
    project.change_params(
        experiment="crops",
        preprocess={
            "image_size": 32,
            "split_seed": 1,
            "fill": "corners",
            "train_placement": "random",
            "minimum_box_side": 8,
            "steps": [{"step": "clahe"}],
        },
        models={"small_resnet": {"architecture": "resnet10t"}},
        tune={"trials": 1, "epochs": 1},
        train={"epochs": 2, "batch_size": 8},
        evaluate={"bootstrap_samples": 200},
        publish={"registered_model": "crops", "export": []},
        **GATES,
    )
    project.replace_params(
        dataset={
            "source": "merge",
            "parts": [
                {"name": "photos", "source": "folder", "location": "data/photos", "licence": "CC0-1.0"},
                {"name": "street", "source": "csv", "licence": "CC-BY-4.0", **street},
            ],
        }
    )
    commit(project)
    done = project.run("dvc", "repro", timeout=900, PATH=warm_path)
    assert done.returncode == 0, done.stdout + done.stderr
    return project


def test_every_box_is_an_image_or_a_row_with_a_reason(cropped: Scratch) -> None:
    manifest = pd.read_parquet(cropped.root / "artifacts/prepared/manifest.parquet")
    street = manifest[manifest["source"] == "street"]
    assert len(street) == 2 * PHOTOGRAPHS
    assert set(street["licence"]) == {"CC-BY-4.0"}
    assert street["width"].eq(42).all() and street["height"].eq(42).all()
    rejected = pd.read_csv(cropped.root / "artifacts/prepared/rejected.csv")
    assert (rejected["kind"] == "too_small").sum() == PHOTOGRAPHS


def test_crops_of_one_photograph_stay_on_one_side(cropped: Scratch) -> None:
    manifest = pd.read_parquet(cropped.root / "artifacts/prepared/manifest.parquet")
    street = manifest[manifest["source"] == "street"]
    assert street.groupby("photo_id")["split"].nunique().eq(1).all()
    assert street["split"].nunique() == 3


def test_a_model_of_crops_is_promoted_because_serving_sees_what_evaluation_saw(cropped: Scratch) -> None:
    done = cropped.run("podium", "promote", "candidate", "--to", "staging", "--reason", "crops", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    gates = json.loads(done.stdout)["gates"]
    assert {gate["name"] for gate in gates} >= {"golden_batch", "data_validation"}
    assert all(gate["passed"] for gate in gates)
