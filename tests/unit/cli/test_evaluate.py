"""`podium evaluate`: new labelled images are measured as the test split was, and those a model knows are left out."""

import json
import zipfile
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from podium.config.params import load
from podium.core.files import sha256_file
from podium.data.manifest import RawImages
from podium.registry.evidence import VersionMetrics
from tests.raw_images import picture, png
from tests.unit.cli.calls import change_params, one_line, podium
from tests.unit.registry.promotions import gathered, register

HERE = {"<b>pear</b>": "birne", "apple": "apple", "감": "감"}
LABELS = ("--labels", "labels.yaml")


@pytest.fixture
def photos(project):
    """New photographs of each class, and what the model's classes are called among them."""
    for code, folder in enumerate(HERE.values()):
        for number in range(6):
            path = Path("photos", folder, f"{number}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(picture(folder, 50 + number, (48, 30 + 2 * code))))
    Path("labels.yaml").write_text('"<b>pear</b>": [birne]\n')
    return Path("photos")


def run(*arguments):
    result = podium("evaluate", *map(str, arguments))
    assert result.exit_code == 0, result.stderr
    return result.stdout


def with_data(project, tmp_path):
    """A registered version that says which prepared manifest it was made with: each picture is in one split alone."""
    table = pd.read_parquet(project.manifest)
    order = table["split"].map(["train", "val", "test"].index)
    table.loc[order.sort_values(kind="stable").index].drop_duplicates("sha256").to_parquet(project.manifest)
    evidence = gathered(project, load(project.params), tmp_path / "gathered")
    return register(project, evidence, podium__data_digest=sha256_file(project.manifest))


def known(project, split):
    """The files of the images of a split, by the folder of their class."""
    raw, files = pd.read_parquet(project.raw / "manifest.parquet"), RawImages(project.raw)
    return [(HERE[row.label], files.read(row.shard, row.photo_id)) for row in raw[raw["split"] == split].itertuples()]


def test_metrics_are_those_of_what_the_version_names(project, versions, photos):
    before = project.test_openings.read_bytes()
    said = run("1", "--on", photos, *LABELS, "--out", "found")
    assert podium("predict", "photos", "--model", "1").exit_code == 0
    named = pd.read_csv("predictions.csv").set_index("path")
    classes = {folder: label for label, folder in HERE.items()}
    right = [classes[Path(path).parent.name] == label for path, label in named["label"].items()]
    metrics = json.loads(Path("found/metrics.json").read_text())
    assert metrics["images"] == len(right) == 18
    assert metrics["accuracy"]["value"] == pytest.approx(sum(right) / len(right))
    stored = VersionMetrics.read(project.evaluation("tiny_resnet") / "metrics.json")
    assert (metrics["temperature"], metrics["abstention"]["threshold"]) == (stored.temperature, stored.threshold)
    assert metrics["abstention"]["coverage"]["value"] == pytest.approx(1 - named["abstained"].mean())
    assert {"aspect_lowest", "brightness_highest"} <= {*metrics["slices"]}
    answers = pd.read_parquet("found/predictions.parquet")
    assert set(answers["label"]) == {*HERE}
    assert "18 new images" in said and "cannot be said" in said  # whether it knows them: its data is not named
    page = Path("found/index.html").read_text()
    assert "tiny_resnet, version 1" in page and "&lt;b&gt;pear" in page and "<b>pear</b>" not in page
    assert project.test_openings.read_bytes() == before


def test_what_the_version_knows_is_counted_and_left_out_whatever_the_file(project, photos, tmp_path):
    number = with_data(project, tmp_path)
    for split, how in (("train", "BMP"), ("val", "PNG"), ("test", "PNG")):
        for place, (folder, data) in enumerate(known(project, split)):
            path = photos / folder / f"{split}-{place}.{how.lower()}"
            path.write_bytes(data)
            if how == "BMP":
                Image.open(path).save(path, how)  # other bytes, the same pixels
    (photos / "apple" / "broken.jpg").write_bytes(b"no image")
    given = (number, "--on", photos, *LABELS, "--json")
    found = json.loads(run(*given))
    assert found["known"] == {"train": 18, "val": 0, "test": 18}  # two pictures of each class were in all splits
    assert (found["metrics"]["images"], found["left_out"]) == (18, 37)
    left_out = pd.read_csv(Path(found["folder"]) / "left_out.csv", keep_default_na=False)
    assert left_out["known"].value_counts().to_dict() == {"test": 18, "train": 18, "": 1}
    assert left_out[left_out["known"] == ""]["path"].tolist() == ["apple/broken.jpg"]
    again = json.loads(run(*given, "--with-known"))
    assert (again["metrics"]["images"], again["left_out"]) == (36, 19)  # the test split stays closed


def test_where_all_is_known_nothing_is_measured(project, photos, tmp_path):
    number = with_data(project, tmp_path)
    trained = {data for _, data in known(project, "train")}
    for place, (folder, data) in enumerate(known(project, "test")):
        path = Path("sealed", folder, f"{place}.png")
        if data in trained:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    for more in ((), ("--with-known",)):
        result = podium("evaluate", number, "--on", "sealed", *LABELS, *more)
        assert result.exit_code == 1 and one_line(result.stderr)
        assert "no image is left to ask about" in result.stderr and "it was tested on" in result.stderr


def test_folder_table_and_archive_give_the_same_and_two_models_are_compared(project, photos):
    paths = sorted(photos.rglob("*.png"))
    with zipfile.ZipFile("photos.zip", "w") as archive:
        for path in paths:
            archive.write(path, path.relative_to(photos))
    lines = ["path,label", *(f"{path},{path.parent.name}" for path in paths)]
    Path("photos.csv").write_text("\n".join(lines))
    digests = {}
    for given in ("photos", "photos.zip", "photos.csv"):
        found = json.loads(run("tiny_resnet", "--on", given, *LABELS, "--json", "--out", "found"))
        digests[given] = (found["metrics"]["test_digest"], found["metrics"]["accuracy"], found["known"])
    assert len(set(map(str, digests.values()))) == 1
    for model in ("tiny_resnet", "tiny_convnext"):
        run(model, "--on", photos, *LABELS, "--out", model.removeprefix("tiny_"))
    result = podium("compare", "resnet/predictions.parquet", "convnext/predictions.parquet")
    assert result.exit_code == 0 and "18" in result.stdout


def test_a_slice_of_the_params_that_these_images_know_nothing_of_is_left_out(project, photos):
    added = {"wide": {"column": "width", "above": 40}, "hidden": {"column": "occlusion", "above": 0.2}}
    change_params(project.root, "evaluate", slices=added)
    said = run("tiny_resnet", "--on", photos, *LABELS, "--out", "found")
    assert "evaluate.slices.hidden is left out" in said
    assert "wide" in json.loads(Path("found/metrics.json").read_text())["slices"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--on", "photos"), 1, "1 of the 3 labels of photos are no class of the model: 'birne'"),
        (("--on", "nowhere"), 1, "does not exist: name a folder"),
        (("--on", "val"), 2, "python -m stages.evaluate --model MODEL --on val"),
        (("--on", "params.yaml"), 2, "is neither a folder, an archive (zip, tar, 7z) nor a .csv"),
        (("--on", "photos", "--labels", "list.yaml"), 1, "list.yaml is no label map"),
        (("--on", "photos", "--labels", "bad.yaml"), 1, "bad.yaml is no YAML"),
        (("--on", "photos", "--labels", "more.yaml"), 1, "has no such class"),
        (("--on", "photos", *LABELS, "--out", "photos"), 2, "a folder with other files"),
        (("--on", "photos", *LABELS, "--out", "params.yaml"), 2, "is a file"),
    ],
)
def test_what_cannot_be_measured_is_said_in_one_line_and_leaves_nothing(project, photos, arguments, code, message):
    Path("list.yaml").write_text("- birne\n")
    Path("bad.yaml").write_text("{\n")
    Path("more.yaml").write_text("apple: [pomme]\n")
    result = podium("evaluate", "tiny_resnet", *arguments)
    assert result.exit_code == code and one_line(result.stderr)
    assert message in result.stderr
    assert not (project.work / "evaluation").exists() and len(list(photos.rglob("*.png"))) == 18
