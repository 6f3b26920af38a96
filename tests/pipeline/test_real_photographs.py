"""A few real photographs through the whole DAG. Needs $PODIUM_REAL_DATA; skips without it."""

import io
import json
import os
import unicodedata
import zipfile
from pathlib import Path

import pytest
import yaml
from PIL import Image

from benchmarks.scratch import commit, copy_project
from podium.core.files import sha256_file

GIVEN = os.environ.get("PODIUM_REAL_DATA")
ARCHIVE = Path(GIVEN) / "flowers-photos.zip" if GIVEN else None
pytestmark = pytest.mark.skipif(
    ARCHIVE is None or not ARCHIVE.is_file(), reason="PODIUM_REAL_DATA names no folder with flowers-photos.zip"
)


def test_real_photographs_of_any_size_run_the_whole_road(tmp_path, warm_path):
    project = copy_project(tmp_path / "project")
    archive = ARCHIVE.resolve()
    project.change_params(
        experiment="flowers",
        dataset={
            "source": "archive",
            "location": str(archive),
            "sha256": sha256_file(archive),
            "licence": "CC BY 2.0",
            "limit_per_class": 20,
        },
        preprocess={"image_size": 32, "split_seed": 5},  # every class has at least two images in every split
        models={"small_resnet": {"architecture": "resnet10t"}},
        tune={"trials": 1, "epochs": 1},
        train={"epochs": 1, "batch_size": 16},
        evaluate={"bootstrap_samples": 200},
        validate={"minimum_rows": {"severity": "critical", "minimum": 2, "because": "few are at hand"}},
    )
    (project.root / "data" / "README").write_text("the photographs lie elsewhere, pinned by their sha256\n")
    commit(project)
    done = project.run("dvc", "repro", timeout=600, PATH=warm_path)
    assert done.returncode == 0, done.stdout + done.stderr
    board = json.loads(project.read("reports/comparison/leaderboard.json"))
    assert [row["model"] for row in board["rows"]] == ["small_resnet"]
    assert str(tmp_path) not in project.read("dvc.lock")
    sources = json.loads(project.read("artifacts/raw/sources.json"))
    assert "flowers-photos.zip" in json.dumps(sources)
    assert str(archive.parent) not in json.dumps(sources), "results would differ between machines"


FORMATS = {
    ".JPG": "JPEG",
    ".png": "PNG",
    ".webp": "WEBP",
    ".tiff": "TIFF",
    ".avif": "AVIF",
    ".gif": "GIF",
    ".bmp": "BMP",
}
CLASSES = {"daisy": "데이지", "rose": "ورد 🌹 á"}  # Korean; Arabic with an emoji and a combining accent
PER_CLASS = 36


def lay_out(folder: Path) -> None:
    """Photographs in seven formats, nested two folders deep, under names as people give them."""
    with zipfile.ZipFile(ARCHIVE) as archive:
        members = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
        for plain, label in CLASSES.items():
            mine = [name for name in members if plain in Path(name).parent.name][:PER_CLASS]
            for number, member in enumerate(mine):
                ending = list(FORMATS)[number % len(FORMATS)]
                inside = folder / unicodedata.normalize("NFD", label) / f"{plain} 2024 día {number % 3}" / "- raw"
                inside.mkdir(parents=True, exist_ok=True)
                image = Image.open(io.BytesIO(archive.read(member))).convert("RGB")
                image.save(inside / f"foto ({number}) {'ñ' * (number % 4)}{ending}", FORMATS[ending])


def test_a_folder_of_photographs_needs_nothing_but_its_location_and_a_draw(tmp_path, warm_path):
    project = copy_project(tmp_path / "project", with_sample=True)
    project.check("git", "init", "-q")
    project.check("dvc", "pull", "-q", "data.dvc")  # the embedded weights that this experiment starts from
    lay_out(project.root / "data" / "my photos")
    project.check("podium", "use", "folder", "--offline")
    params = project.root / "params.yaml"
    text = params.read_text(encoding="utf-8").replace("data/photos", "data/my photos")
    # few photographs: a draw that leaves each split the five a class that `validate` asks for
    params.write_text(text.replace("split_seed: 0", "split_seed: 2"), encoding="utf-8")
    commit(project)
    done = project.run("dvc", "repro", timeout=900, PATH=warm_path)
    assert done.returncode == 0, done.stdout + done.stderr
    kept = yaml.safe_load((project.root / "experiments" / "folder.yaml").read_text(encoding="utf-8"))
    in_force = yaml.safe_load(params.read_text(encoding="utf-8"))
    kept["dataset"]["location"] = "data/my photos"
    kept["preprocess"]["split_seed"] = 2
    kept["models"] = yaml.safe_load((project.root / "experiments" / "sample.yaml").read_text(encoding="utf-8"))[
        "models"
    ]
    assert in_force == kept
    profile = json.loads(project.read("artifacts/prepared/profile.json"))
    assert set(profile["classes"]) == set(CLASSES.values())
    assert profile["images"] + profile["rejected"] == PER_CLASS * len(CLASSES)
    assert len(json.loads(project.read("reports/comparison/leaderboard.json"))["rows"]) == len(kept["models"])
