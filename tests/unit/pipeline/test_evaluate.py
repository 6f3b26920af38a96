"""Stage evaluate: what it writes, that it writes the same bytes again, and what it refuses."""

import hashlib
import io
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image

from podium.analysis.mistakes import read_mistakes
from podium.config.judging import Evaluate, Slice
from podium.config.preprocess import Preprocessing
from podium.config.runtime import Runtime
from podium.console.openings import read_openings
from podium.core.errors import DataError, ModelError
from podium.core.layout import Layout
from podium.data.shards import SplitRecord, finish_split
from podium.pipeline import evaluate
from podium.records.evaluation import Metrics
from podium.records.training import ModelCard
from tests.cards import a_card

CLASSES = ["lemon", "orange", "사과"]
PREPARED = Preprocessing(image_size=8, pad_value=114, max_pixels=1000)
SETTINGS = Evaluate(batch_size=4, bootstrap_samples=50, mistakes=3)
HISTORY = """\
epoch,step,learning_rate,train_loss,train_accuracy,val_loss,val_accuracy
1,5,0.1,1,0.5,1,0.5
2,9,0.1,1,0.6,1,0.6
"""


@dataclass
class FakeClassifier:
    """Answers with the brightness of the first three pixels, so that tests choose the answers by the pixels."""

    card: ModelCard
    calls: int = 0

    def probabilities(self, images: NDArray[np.uint8], batch_size: int) -> NDArray[np.float32]:
        assert images.dtype == np.uint8
        assert images.shape[1:] == (8, 8, 3)
        self.calls += 1
        scores = images[:, 0, :3, 0].astype(np.float32)
        return scores / scores.sum(axis=1, keepdims=True)

    def answers(self, images: NDArray[np.uint8], batch_size: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return self.probabilities(images, batch_size), images[:, 0, :3, 0].astype(np.float32)


def write_split(layout: Layout, name: str, answers: list[tuple[str, list[int]]], **known: list[object]) -> None:
    """Writes a split in which image i is of a class and gets certain (unnormalised) scores from the fake."""
    folder = layout.prepared / name
    folder.mkdir(parents=True)
    pixels = np.full((len(answers), 8, 8, 3), 7, np.uint8)
    for row, (_, scores) in enumerate(answers):
        pixels[row, 0, :3, 0] = scores
    np.save(folder / "images-00000.npy", pixels)
    index = pd.DataFrame(
        {
            "image_id": [hashlib.sha256(f"{name}{i}".encode()).hexdigest()[:16] for i in range(len(answers))],
            "path": [f"{label}/{i}.jpg" for i, (label, _) in enumerate(answers)],
            "label": [label for label, _ in answers],
            "group": "fruit",
            **known,
        }
    )
    finish_split(folder, name, CLASSES, PREPARED, index)


def write_known(layout: Layout) -> None:
    """Writes the manifest and measures of val and test; in each split, brightness is the number of the image."""
    parts = [pd.read_parquet(layout.prepared / split / "index.parquet") for split in ("val", "test")]
    images = pd.concat(part[["image_id", "label"]].assign(brightness=range(len(part))) for part in parts)
    images.to_parquet(layout.measures, index=False)
    manifest = images[["image_id"]].assign(width=64, height=48, duplicate_kind="", source="album")
    manifest.to_parquet(layout.manifest, index=False)


TEST = [
    ("lemon", [80, 10, 10]),
    ("lemon", [10, 85, 5]),  # the worst mistake
    ("orange", [5, 90, 5]),
    ("orange", [50, 45, 5]),
    ("사과", [1, 1, 98]),
    ("사과", [30, 40, 30]),
]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with a prepared val and test split and a trained fake model `m`."""
    layout = Layout(tmp_path)
    write_split(layout, "val", TEST[:3], occlusion=0.0, view="front")
    truth = {"occlusion": [0, 0.4, 0, 0, 0, 0], "view": ["front"] * 5 + ["rotated"]}
    write_split(layout, "test", TEST, **truth)
    write_known(layout)
    layout.model("m").mkdir(parents=True)
    (layout.model("m") / "history.csv").write_text(HISTORY)
    val = SplitRecord.read(layout.prepared / "val" / "split.json")
    card = a_card(
        classes=CLASSES,
        class_counts={"lemon": 3, "orange": 1, "사과": 3},
        preprocessing=PREPARED,
        learning_rate=1 / 3,
        best_epoch=2,
        data_digests={"train": "a" * 64, "val": val.digest},
    )
    fake = FakeClassifier(card)
    monkeypatch.setattr("podium.models.inference.load_classifier", lambda folder, runtime: fake)
    return layout, fake


def run(layout: Layout, settings: Evaluate = SETTINGS) -> None:
    evaluate.evaluate_model(layout, "m", settings, Runtime(), 0)


def files_of(*folders: Path) -> dict[str, bytes]:
    return {str(p.relative_to(f)): p.read_bytes() for f in folders for p in sorted(f.rglob("*")) if p.is_file()}


def test_metrics_are_of_the_test_split_and_round_floats(project):
    layout, _ = project
    run(layout)
    metrics = Metrics.read(layout.evaluation("m") / "metrics.json")
    assert (metrics.images, metrics.accuracy.value, metrics.val_accuracy) == (6, 0.5, 0.6666666667)
    assert metrics.architecture == "resnet18"
    assert metrics.learning_rate == 0.3333333333
    assert metrics.per_class["사과"].recall == 0.5
    assert {name: part.images for name, part in metrics.slices.items()} == {
        "clean": 4,
        "occluded": 1,
        "rotated_view": 1,
        "hard": 2,
        "brightness_lowest": 1,
        "brightness_highest": 4,
    }
    assert metrics.test_digest == SplitRecord.read(layout.prepared / "test" / "split.json").digest


def test_the_most_common_training_class_is_what_has_to_be_beaten(project):
    layout, fake = project
    run(layout)
    majority = Metrics.read(layout.evaluation("m") / "metrics.json").majority
    assert (majority.label, majority.accuracy.value) == ("lemon", 0.3333333333)
    assert 0.09 < majority.accuracy.low < majority.accuracy.high < 0.71
    fake.card = fake.card.model_copy(update={"class_counts": {}})  # a card of an earlier version
    run(layout)
    assert Metrics.read(layout.evaluation("m") / "metrics.json").majority is None


def test_a_slice_of_the_params_is_measured_and_a_wrong_one_stops_before_anything_is_computed(project):
    layout, fake = project
    dark = {"column": "brightness", "below": 4, "sentence": "taken at night"}
    run(layout, SETTINGS.model_copy(update={"slices": {"night": Slice(**dark)}}))
    night = Metrics.read(layout.evaluation("m") / "metrics.json").slices["night"]
    assert (night.images, night.sentence, night.accuracy.value, night.rest.value) == (4, "taken at night", 0.5, 0.5)
    calls = fake.calls
    with pytest.raises(DataError, match=r"slices\.night: there is no column 'brigthness'.*did you mean 'brightness'"):
        run(layout, SETTINGS.model_copy(update={"slices": {"night": Slice(**dark | {"column": "brigthness"})}}))
    assert fake.calls == calls


def test_coarse_classes_are_measured_besides_and_predictions_stay_as_they_are(project):
    layout, fake = project
    run(layout)
    plain = (layout.evaluation("m") / "predictions.parquet").read_bytes()
    assert Metrics.read(layout.evaluation("m") / "metrics.json").groups is None
    fake.card = a_card(**{**fake.card.model_dump(), "groups": {"lemon": "citrus", "orange": "citrus", "사과": "pome"}})
    run(layout)
    groups = Metrics.read(layout.evaluation("m") / "metrics.json").groups
    assert groups.accuracy.value == 0.8333333333  # lemon and orange are taken for each other, one apple for citrus
    assert {name: group.recall for name, group in groups.per_group.items()} == {"citrus": 1.0, "pome": 0.5}
    assert (layout.evaluation("m") / "predictions.parquet").read_bytes() == plain


def test_the_conditions_of_the_training_are_kept_beside_its_results(project):
    layout, fake = project
    run(layout)
    conditions = Metrics.read(layout.evaluation("m") / "metrics.json").conditions
    assert conditions.val_split == fake.card.data_digests["val"]
    assert (conditions.image_size, conditions.pretraining, conditions.images_seen) == (8, "none", 100)


def test_every_promised_file_is_written(project):
    layout, _ = project
    run(layout)
    assert sorted(files_of(layout.evaluation_report("m"))) == ["confusion.csv", "history.csv"]
    assert sorted(files_of(layout.evaluation("m"))) == [
        "classification_report.txt",
        "confusion_matrix.png",
        "learning_curves.png",
        "metrics.json",
        "mistakes.parquet",
        "per_class_accuracy.png",
        "predictions.parquet",
        "reliability.png",
        "risk_coverage.png",
        "robustness.json",
        "slices.png",
        "typical.parquet",
    ]
    assert (layout.evaluation_report("m") / "history.csv").read_text() == HISTORY


def test_confusion_csv_has_a_row_an_image(project):
    layout, _ = project
    run(layout)
    rows = pd.read_csv(layout.evaluation_report("m") / "confusion.csv")
    assert rows.columns.tolist() == ["actual", "predicted"]
    counts = rows.value_counts().to_dict()
    assert counts[("lemon", "orange")] == counts[("orange", "orange")] == counts[("사과", "사과")] == 1
    assert sum(counts.values()) == 6


def test_all_mistakes_are_kept_with_slices_and_calibrated_and_of_the_surest_what_the_model_saw(project):
    layout, _ = project
    run(layout, SETTINGS.model_copy(update={"mistakes": 2}))
    kept = read_mistakes(layout.evaluation("m") / "mistakes.parquet")
    assert [mistake.path for mistake in kept] == ["lemon/1.jpg", "orange/3.jpg", "사과/5.jpg"]
    assert "occluded" in kept[0].slices
    assert {"rotated_view", "hard"} <= set(kept[2].slices)
    temperature = Metrics.read(layout.evaluation("m") / "metrics.json").temperature
    raw = np.array([0.1, 0.85, 0.05]) ** (1 / temperature)
    assert kept[0].confidence == pytest.approx(raw[1] / raw.sum(), rel=1e-5)
    assert kept[0].label_probability == pytest.approx(raw[0] / raw.sum(), rel=1e-5)
    assert kept[2].picture is None
    picture = np.asarray(Image.open(io.BytesIO(kept[0].picture)), np.int64)
    assert picture.shape == (8, 8, 3)
    assert np.abs(picture[4:] - 7).max() <= 10  # lossy


def test_typical_images_of_confused_classes_are_the_surest_right_ones(project):
    layout, _ = project
    run(layout)
    typical = read_mistakes(layout.evaluation("m") / "typical.parquet")
    assert [(one.path, one.label == one.predicted) for one in typical] == [
        ("사과/4.jpg", True),
        ("orange/2.jpg", True),
        ("lemon/0.jpg", True),
    ]
    assert all(one.picture for one in typical)
    run(layout, SETTINGS.model_copy(update={"mistakes": 0}))
    assert not any(one.picture for one in read_mistakes(layout.evaluation("m") / "typical.parquet"))


def test_pictures_of_large_images_are_made_smaller():
    pixels = np.zeros((1, 600, 600, 3), np.uint8)
    split = SimpleNamespace(index=pd.DataFrame({"image_id": ["a"]}), images=lambda rows: pixels)
    assert Image.open(io.BytesIO(evaluate._picture_of(split)("a"))).size == (256, 256)


def test_predictions_are_in_the_order_of_image_ids(project):
    layout, _ = project
    run(layout)
    rows = pq.read_table(layout.evaluation("m") / "predictions.parquet").to_pandas()
    assert rows["image_id"].is_monotonic_increasing
    worst = rows.set_index("path").loc["lemon/1.jpg"]
    assert (worst["label"], worst["predicted"], worst["p_orange"]) == ("lemon", "orange", np.float32(0.85))


def test_a_second_run_writes_the_same_bytes(project):
    layout, _ = project
    run(layout)
    first = files_of(layout.evaluation_report("m"), layout.evaluation("m"))
    run(layout)
    assert files_of(layout.evaluation_report("m"), layout.evaluation("m")) == first


def test_the_opening_is_on_record_before_the_first_answer_and_the_same_model_costs_nothing(project, monkeypatch):
    layout, fake = project
    killed = fake.probabilities

    def answer(images, batch_size):
        if fake.calls == 1:  # those on validation came
            raise KeyboardInterrupt
        return killed(images, batch_size)

    monkeypatch.setattr(fake, "probabilities", answer)
    with pytest.raises(KeyboardInterrupt):
        run(layout)
    (line,) = read_openings(layout)
    digest = SplitRecord.read(layout.prepared / "test" / "split.json").digest
    assert (line.purpose, line.key) == ("evaluate m", (fake.card.fingerprint, digest))
    monkeypatch.undo()
    monkeypatch.setattr("podium.models.inference.load_classifier", lambda folder, runtime: fake)
    run(layout)
    run(layout, SETTINGS.model_copy(update={"mistakes": 1}))
    assert read_openings(layout) == [line]
    fake.card = fake.card.model_copy(update={"fingerprint": "ef" * 32})  # another recipe
    run(layout)
    assert [opening.fingerprint for opening in read_openings(layout)] == [line.fingerprint, "ef" * 32]


def test_a_damaged_ledger_stops_before_the_first_answer(project):
    layout, fake = project
    layout.test_openings.parent.mkdir()
    layout.test_openings.write_text("{}\n")
    with pytest.raises(DataError, match="line 1 was cut or edited"):
        run(layout)
    assert fake.calls == 1  # on validation


def test_measured_on_validation_no_test_image_is_opened_and_nothing_is_written(project, capsys):
    layout, _ = project
    shutil.rmtree(layout.prepared / "test")
    before = files_of(layout.root)
    evaluate.measure_on_validation(layout, "m", SETTINGS, Runtime(), 0)
    assert files_of(layout.root) == before
    assert capsys.readouterr().out.startswith("m: 3 validation images, accuracy 66.7%")


def test_a_perfect_model_has_no_mistakes_and_no_slices_without_truth(project):
    layout, fake = project
    for split in ("val", "test"):
        shutil.rmtree(layout.prepared / split)
        write_split(layout, split, [TEST[0], TEST[2], TEST[4]])
    for table in (layout.manifest, layout.measures):
        pd.read_parquet(layout.prepared / "test" / "index.parquet", columns=["image_id"]).to_parquet(table)
    val = SplitRecord.read(layout.prepared / "val" / "split.json").digest
    fake.card = fake.card.model_copy(update={"data_digests": {"train": "a" * 64, "val": val}})
    run(layout)
    metrics = json.loads((layout.evaluation("m") / "metrics.json").read_text())
    assert metrics["accuracy"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert metrics["mean_confidence_wrong"] is None
    assert metrics["slices"] == {}
    assert not (layout.evaluation("m") / "slices.png").exists()
    assert read_mistakes(layout.evaluation("m") / "mistakes.parquet") == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"classes": ["a", "b"]}, "other classes"),
        ({"preprocessing": Preprocessing(image_size=16, pad_value=0, max_pixels=9)}, "another image size"),
        ({"data_digests": {"val": "e" * 64}}, "another val split"),
    ],
)
def test_a_model_of_other_data_is_refused(project, change, said):
    layout, fake = project
    fake.card = fake.card.model_copy(update=change)
    with pytest.raises(DataError, match=said):
        run(layout)
    assert not layout.evaluation("m").exists()


def test_a_diverged_model_is_refused_and_the_old_results_stay(project, monkeypatch):
    layout, fake = project
    run(layout)
    before = files_of(layout.evaluation_report("m"), layout.evaluation("m"))
    monkeypatch.setattr(fake, "probabilities", lambda images, _: np.full((len(images), 3), np.nan, np.float32))
    with pytest.raises(ModelError, match="diverged"):
        run(layout)
    assert files_of(layout.evaluation_report("m"), layout.evaluation("m")) == before


@pytest.mark.parametrize("damage", ["missing", "text", "empty"])
def test_a_damaged_history_is_named_and_nothing_half_written(project, damage):
    layout, _ = project
    path = layout.model("m") / "history.csv"
    path.unlink() if damage == "missing" else path.write_text("" if damage == "empty" else "a,b\n1,2\n")
    with pytest.raises(DataError, match=r"history\.csv"):
        run(layout)
    assert not layout.evaluation("m").exists()
    assert not list(layout.root.glob("artifacts/evaluation/.*"))


def test_a_missing_test_split_is_named(project):
    layout, _ = project
    (layout.prepared / "test" / "split.json").unlink()
    with pytest.raises(DataError, match="dvc repro preprocess"):
        run(layout)
