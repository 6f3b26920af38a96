"""Bad input through fetch and preprocess: nothing is lost without a row that says why, and too much of it stops."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pytest

from podium.config.dataset import Fetch, FolderDataset
from podium.config.models import ModelSection
from podium.config.preprocess import Preprocess
from podium.config.validate import Validate
from podium.core.errors import DataError, ValidationFailed, told
from podium.core.layout import Layout
from podium.data.manifest import PREPARED_COLUMNS, read_manifest
from podium.pipeline import preprocess, validate
from podium.pipeline.fetch import fetch_dataset
from tests.data.hard_images import READABLE, UNREADABLE
from tests.data.hard_names import IMAGES, LEFT_OUT, write
from tests.raw_images import picture, png

PHOTOS = FolderDataset(location="data/photos", licence="CC0-1.0")
SMALL = Preprocess(image_size=16)
PLAIN = 8  # more photographs in each class, so that every split gets some


def prepare(layout: Layout) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Runs both stages; the manifest and the rejected files."""
    fetch_dataset(layout, PHOTOS, Fetch(), {"m": ModelSection(architecture="resnet10t")})
    preprocess.preprocess_dataset(layout, SMALL, seed=0, workers=0)
    rejected = pd.read_csv(layout.rejected, dtype=str, keep_default_na=False)
    return read_manifest(layout.manifest, PREPARED_COLUMNS), rejected


def lay_down(layout: Layout, classes: Mapping[str, int]) -> Path:
    """`data/photos` with so many plain photographs a class."""
    folder = layout.data / "photos"
    for label, count in classes.items():
        (folder / label).mkdir(parents=True)
        for number in range(count):
            (folder / label / f"plain {number}.png").write_bytes(png(picture(label, 100 + number)))
    return folder


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    return Layout(tmp_path_factory.mktemp("hard"))


@pytest.fixture(scope="module")
def hard(project: Layout) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Everything hard at once: names, links, formats, damage."""
    layout = project
    folder = lay_down(layout, {"apple": PLAIN, "배 🍐": PLAIN})
    write(folder, [*IMAGES, *LEFT_OUT])
    for case in (*READABLE, *UNREADABLE):
        (folder / "apple" / f"{case.name}.png").write_bytes(case.make())
    return prepare(layout)


def test_every_file_is_an_image_or_a_row_with_its_reason(hard: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    manifest, rejected = hard
    images = {f"{label}/plain {n}.png" for label in ("apple", "배 🍐") for n in range(PLAIN)}
    images |= {file.known_as for file in IMAGES} | {f"apple/{case.name}.png" for case in READABLE}
    assert set(manifest["path"]) == images

    reasons = dict(zip(rejected["path"], rejected["reason"], strict=True))
    assert len(reasons) == len(rejected)
    assert reasons.keys() == {f.known_as for f in LEFT_OUT} | {f"apple/{case.name}.png" for case in UNREADABLE}
    assert {path: reasons[path] for path in (f.known_as for f in LEFT_OUT)} == {f.known_as: f.reason for f in LEFT_OUT}
    for case in UNREADABLE:
        assert case.reason in reasons[f"apple/{case.name}.png"]


def test_what_was_done_to_read_an_image_is_noted(hard: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    notes = hard[0].set_index("path")["note"]
    assert {case.name: notes[f"apple/{case.name}.png"] for case in READABLE} == {c.name: c.note for c in READABLE}


def test_images_that_cannot_be_used_count_and_other_files_do_not(hard: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    counted = set(hard[1].loc[hard[1]["kind"] == "unreadable", "path"])
    assert counted == {f.known_as for f in LEFT_OUT if f.counts} | {f"apple/{case.name}.png" for case in UNREADABLE}


def test_too_many_rejected_images_stop_the_experiment(project: Layout, hard: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    manifest, rejected = hard
    lost = int((rejected["kind"] == "unreadable").sum())
    linked = {"severity": "warning", "because": "a link leads from one class to the other"}
    few = {"minimum": 1, "because": "a test"}
    with pytest.raises(ValidationFailed, match="share_rejected") as stopped:
        validate.validate_dataset(
            project, Validate.model_validate({"minimum_rows": few, "one_label_per_picture": linked}), seed=0
        )
    assert f"({lost} of {lost + len(manifest)})" in str(stopped.value)
    assert "\n" not in told(stopped.value)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        # nothing to compare
        ({"apple": 9}, "one class, 'apple'"),
        # on disks that ignore case they are one folder
        ({"Apple": 9, "apple": 9}, "differ in case or spacing only"),
        # a split needs an image of every class in each of its three parts
        ({"apple": 9, "pear": 1}, "'pear'"),
    ],
    ids=["one class only", "classes that collide", "a class with one image"],
)
def test_a_dataset_that_cannot_be_compared_is_refused_in_one_line(
    classes: Mapping[str, int], message: str, tmp_path: Path
) -> None:
    layout = Layout(tmp_path)
    lay_down(layout, classes)
    with pytest.raises(DataError) as refused:
        prepare(layout)
    assert message in str(refused.value) and "\n" not in str(refused.value)


def test_a_class_of_broken_files_is_refused_in_one_line_whatever_their_names(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    folder = lay_down(layout, {"apple": 9})
    (folder / "pear").mkdir()
    (folder / "pear" / "two\nlines.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"no image of class 'pear' can be used .*the file is empty") as refused:
        prepare(layout)
    assert "\n" not in str(refused.value)
