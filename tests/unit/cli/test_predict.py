"""`podium predict`: a row for every file, whatever is in it, the same bytes however often a run is cut."""

import csv
import os
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from podium.cli import predict as module
from podium.registry.evidence import VersionMetrics
from podium.registry.predictor import ImageClassifier
from tests.data import hard_images, hard_names
from tests.data.archive_files import zip_named
from tests.raw_images import picture, png
from tests.unit.cli.calls import one_line, podium
from tests.unit.conftest import CLASSES
from tests.unit.registry.promotions import NAME, client_of, hold_staging, registry_of

MODEL = ("--model", "tiny_resnet")


def draw(folder, count=5):
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(count):
        pixels = np.random.default_rng(seed).integers(0, 256, (40, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{seed}.png")
    return folder


def run(*arguments):
    result = podium("predict", *map(str, arguments))
    assert result.exit_code == 0, result.stderr
    return result.stdout


def rows(out="predictions.csv"):
    with Path(out).open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def artifacts(layout, number="1"):
    return layout.root / "packages" / number / "artifacts"


# --- which files -----------------------------------------------------------------------------------------------------


def test_every_hard_file_of_a_folder_is_a_row_and_none_a_traceback(project):
    folder = Path("photos")
    hard_names.write(folder, [*hard_names.IMAGES, *hard_names.LEFT_OUT])
    for number, hard in enumerate([*hard_images.READABLE, *hard_images.UNREADABLE]):
        (folder / f"{number:03d} 사과.jpg").write_bytes(hard.make())
    os.mkfifo(folder / "pipe.png")
    (folder / "gone.png").symlink_to("nowhere.png")
    said = run(folder, *MODEL)
    found = {row["path"]: row for row in rows()}
    for number, hard in enumerate([*hard_images.READABLE, *hard_images.UNREADABLE]):
        row = found[f"photos/{number:03d} 사과.jpg"]
        assert getattr(hard, "reason", "") in row["error"], hard.name
        assert bool(row["label"]) != bool(row["error"]) and bool(row["score"]) == bool(row["label"])
    assert found["photos/pipe.png"]["error"] == "not a regular file"
    assert found["photos/gone.png"]["error"] == "there is no such file"
    assert list(found) == sorted(found) and all(row["error"].count("\n") == 0 for row in found.values())
    for name in hard_names.IMAGES:
        assert found[f"photos/{name.path}"]["label"] in CLASSES or name.path != name.known_as
    failed = sum(bool(row["error"]) for row in found.values())
    assert f"{failed:,} could not be read" in said


def test_folder_pattern_table_and_archive_name_the_same(project):
    draw(Path("photos/a"), 2)
    draw(Path("photos/b"), 3)
    names = sorted(str(path) for path in Path("photos").rglob("*.png"))
    answers = {}
    with zipfile.ZipFile("photos.zip", "w") as archive:
        for name in names:
            archive.write(name)
    lines = ["\ufeffid;image", *(f"1;{name}" for name in reversed(names)), f"2;{names[0]}"]
    Path("list.csv").write_text("\n".join(lines))
    for given in (["photos"], ["photos/**/*.png"], names, ["list.csv"], ["photos.zip"]):
        run(*given, *MODEL, "--top-k", 3)
        answers[given[0]] = Path("predictions.csv").read_bytes()
    assert len(set(answers.values())) == 1
    assert [row["path"] for row in rows()] == names


def test_a_table_is_relative_to_itself_and_every_line_of_it_a_row(project):
    draw(Path("photos"), 1)
    Path("photos/list.csv").write_text('path\n0.png\nno.png\n""\n"a\0b.png"\n.\n')
    run("photos/list.csv", *MODEL)
    assert {row["path"]: row["error"] for row in rows()} == {
        "0.png": "",
        "no.png": "there is no such file",
        "": "the table names no file here",
        "a\0b.png": "there is no such file",
        ".": "not a regular file",
    }


# --- what is answered ------------------------------------------------------------------------------------------------


def test_a_version_answers_as_its_package_does(project, versions):
    draw(Path("photos"))
    hold_staging(project, "1")
    packaged, folder = ImageClassifier(), artifacts(project)
    places = {"weights": str(folder / "weights.safetensors"), "metrics": str(folder / "metrics.json")}
    packaged.load_context(SimpleNamespace(artifacts=places))
    wanted = packaged.predict(None, pd.DataFrame({"image": [p.read_bytes() for p in sorted(Path("photos").iterdir())]}))
    threshold = VersionMetrics.read(folder / "metrics.json").threshold
    for model in ("1", "staging", f"models:/{NAME}@staging", f"models:/{NAME}/1"):
        said = run("photos", "--model", model, "--out", "found.parquet", "--top-k", "3")
        found = pd.read_parquet("found.parquet")
        assert found["label"].tolist() == wanted["label"].tolist()
        assert np.allclose(found["score"], wanted["score"], atol=1e-6)
        assert (found["abstained"] == (wanted["score"] < threshold)).all()
        shares = wanted[[f"p_{name}" for name in CLASSES]].to_numpy()
        assert np.allclose(found[["score", "score_2", "score_3"]], -np.sort(-shares), atol=1e-6)
        assert [set(row) for row in found[["label", "label_2", "label_3"]].to_numpy()] == [set(CLASSES)] * 5
        assert set(found["version"]) == {"1"} and set(found["model"]) == {"tiny_resnet"}
        assert found["error"].isna().all()
        assert "tiny_resnet, version 1" in said


def test_heat_maps_lie_beside_the_table_and_are_named_in_it(project):
    draw(Path("photos"), 3)
    Path("photos/1b.png").write_bytes(b"no image")
    said = run("photos", *MODEL, "--out", "out/found.csv", "--explain")
    found = rows("out/found.csv")
    assert [row["heat_map"] for row in found] == [f"found_heat_maps/{n:06d}.png" if n != 2 else "" for n in range(4)]
    assert "out/found_heat_maps/" in said
    explained = [Image.open(Path("out") / row["heat_map"]) for row in found if row["heat_map"]]
    assert [image.size for image in explained] == [(32, 32)] * 3
    assert len({image.tobytes() for image in explained}) == 3
    for _ in range(2):  # its own pictures are no images to ask about
        run("out", "photos", *MODEL, "--out", "out/found.csv", "--explain")
        assert rows("out/found.csv") == found
    run("photos", *MODEL, "--out", "plain.csv")
    assert [{**row, "heat_map": ""} for row in found] == [{**row, "heat_map": ""} for row in rows("plain.csv")]


def test_it_abstains_below_the_threshold_of_the_model(project):
    draw(Path("photos"))
    path = project.evaluation("tiny_resnet") / "metrics.json"
    metrics = VersionMetrics.read(path)
    found = []
    for threshold in (0.0, 1.01):
        metrics.__pydantic_extra__["abstention"]["threshold"] = threshold
        metrics.write(path)
        run("photos", *MODEL)
        found.append([row["abstained"] for row in rows()])
    assert found == [["false"] * 5, ["true"] * 5]


# --- a run that is cut -----------------------------------------------------------------------------------------------


def test_a_run_that_was_killed_goes_on_to_the_same_bytes(project, monkeypatch):
    draw(Path("photos"))
    Path("photos/broken.png").write_bytes(b"no image")
    monkeypatch.setattr(module, "_BATCH_SIZE", 2)
    for out in ("whole.csv", "whole.parquet"):
        run("photos", *MODEL, "--out", out)
    written = module.replacing

    def stop(path):
        if path.name == "00000001.parquet":
            raise KeyboardInterrupt
        return written(path)

    def cut():
        with monkeypatch.context() as patch:
            patch.setattr(module, "replacing", stop)
            assert podium("predict", "photos", *MODEL, "--out", "never.csv").exit_code != 0
        assert not Path("never.csv").exists()

    for out in ("cut.csv", "cut.parquet"):
        cut()
        assert "2 of 6 files are done: going on" in run("photos", *MODEL, "--out", out)
        assert Path(out).read_bytes() == Path(out.replace("cut", "whole")).read_bytes()
    assert not list((project.work / "predict").iterdir())
    cut()
    for arguments in (("--model", "tiny_convnext"), (*MODEL, "--top-k", "2")):
        assert "going on" not in run("photos", *arguments)
    Path("photos/0.png").write_bytes(png(picture("apple", 9)))
    assert "going on" not in run("photos", *MODEL)


# --- what is refused -------------------------------------------------------------------------------------------------


def edit_tag(layout):
    client_of(layout).set_model_version_tag(NAME, "1", "podium.accuracy", "1.0")


CHANGED = "the package of version 1 changed since"
REFUSED = {
    "package": (lambda layout: (artifacts(layout) / "golden.json").write_text("{}"), "1", CHANGED),
    "code": (lambda layout: (artifacts(layout).parent / "MLmodel").write_text("x"), "1", CHANGED),
    "lost": (lambda layout: (artifacts(layout) / "model.json").unlink(), "1", CHANGED),
    "tags": (edit_tag, "1", "the tags of version 1 changed since"),
    "alias": (
        lambda layout: client_of(layout).set_registered_model_alias(NAME, "staging", "1"),
        f"models:/{NAME}@staging",
        "staging is at version 1, and no entry of the record moved it there",
    ),
    "unrecorded": (
        lambda layout: client_of(layout).create_model_version(NAME, str(artifacts(layout).parent)),
        "3",
        "version 3 is not in the record of podium-tiny",
    ),
    "record": (
        lambda layout: client_of(layout).delete_registered_model_tag(NAME, "podium.record.000001"),
        "1",
        "the record of podium-tiny does not hold",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_on_record_is_asked_nothing(project, versions, case):
    change, asked, message = REFUSED[case]
    draw(Path("photos"), 1)
    change(project)
    result = podium("predict", "photos", "--model", asked)
    assert result.exit_code == 1 and one_line(result.stderr)
    assert result.stderr.startswith(f"refused: {message}")
    assert "podium audit" in result.stderr
    assert not Path("predictions.csv").exists()


def test_an_entry_that_only_the_store_has_counts(project, versions):
    draw(Path("photos"), 1)
    project.registry(NAME).unlink()
    run("photos", "--model", "1")
    assert registry_of(project).record().registration("1") is not None


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("photos", "--model", "tiny_resne"), 2, "did you mean 'tiny_resnet'?"),
        (("photos", *MODEL, "--out", "x.json"), 2, "neither a .csv nor a .parquet file"),
        (("photos", *MODEL, "--top-k", "4"), 2, "--top-k 4 is more than the 3 classes"),
        (("photos", "a.zip", *MODEL), 2, "name a table or an archive alone"),
        (("nowhere", *MODEL), 1, "nowhere does not exist: name a folder"),
        (("nowhere/*.jpg", *MODEL), 1, "no file is there"),
        (("empty", *MODEL), 1, "no file is there"),
        (("none.csv", *MODEL), 1, "has no column `path` or `image` (its columns: 'file')"),
        (("latin.csv", *MODEL), 1, "latin.csv is no CSV in UTF-8"),
        (("bad.zip", *MODEL), 1, "bad.zip"),
        (("climbs.zip", *MODEL), 1, "climbs out with `..`"),
    ],
)
def test_what_cannot_be_asked_is_said_in_one_line_and_leaves_nothing(project, arguments, code, message):
    draw(Path("photos"), 1)
    Path("empty").mkdir()
    Path("none.csv").write_text("file\na.png\n")
    Path("latin.csv").write_bytes(b"path\n\xe9.png\n")
    Path("bad.zip").write_bytes(b"PK\x03\x04 and no more")
    zip_named("../up.png")(Path("climbs.zip"))
    result = podium("predict", *arguments)
    assert result.exit_code == code
    assert message in result.stderr and one_line(result.stderr)
    assert not Path("predictions.csv").exists()


def test_where_nothing_could_be_read_the_rows_say_why_and_it_is_a_failure(project):
    Path("photos").mkdir()
    Path("photos/a.jpg").write_bytes(b"")
    Path("photos/notes.txt").write_text("notes")
    result = podium("predict", "photos", *MODEL)
    assert result.exit_code == 1 and one_line(result.stderr)
    assert "none of the 2 files could be read" in result.stderr
    assert [row["error"] for row in rows()] == ["unreadable: the file is empty", "not an image file (.txt)"]
