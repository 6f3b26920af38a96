"""A few real photographs through the archive source and the whole DAG. Needs $PODIUM_REAL_DATA; skips without it."""

import json
import os
from pathlib import Path

import pytest

from benchmarks.scratch import commit, copy_project
from podium.core.files import sha256_file

GIVEN = os.environ.get("PODIUM_REAL_DATA")
ARCHIVE = Path(GIVEN) / "flowers-photos.zip" if GIVEN else None
pytestmark = pytest.mark.skipif(
    ARCHIVE is None or not ARCHIVE.is_file(), reason="PODIUM_REAL_DATA names no folder with flowers-photos.zip"
)


def test_real_photographs_of_any_size_run_the_whole_road(tmp_path):
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
        preprocess={"image_size": 32},
        models={"small_resnet": {"architecture": "resnet10t"}},
        tune={"trials": 1, "epochs": 1},
        train={"epochs": 1, "batch_size": 16},
        evaluate={"bootstrap_samples": 200},
        validate={"minimum_rows": {"severity": "critical", "minimum": 2}},
    )
    (project.root / "data" / "README").write_text("the photographs lie elsewhere, pinned by their sha256\n")
    commit(project)
    done = project.run("dvc", "repro", timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    board = json.loads(project.read("reports/comparison/leaderboard.json"))
    assert [row["model"] for row in board["rows"]] == ["small_resnet"]
    assert str(tmp_path) not in project.read("dvc.lock")
    sources = json.loads(project.read("artifacts/raw/sources.json"))
    assert "flowers-photos.zip" in json.dumps(sources)
    assert str(archive.parent) not in json.dumps(sources), "results would differ between machines"
