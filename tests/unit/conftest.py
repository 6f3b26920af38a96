"""A finished experiment and a fresh MLflow store, for the tests of publish and of the registry.

Two tiny networks with random weights went through the real evaluation and comparison; only training is made up. The
files are made once per session and copied, and so are MLflow's tables.
"""

import io
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from podium.config.params import Params, load
from podium.core.layout import Layout
from podium.tracking import store as registry_store
from tests.cards import a_card, a_tuning_result
from tests.raw_images import RawFile, write_raw
from tests.site import Site, open_site

MLFLOW_SETTINGS = (
    "MLFLOW_TRACKING_URI",
    "MLFLOW_REGISTRY_URI",
    "MLFLOW_RUN_ID",
    "MLFLOW_EXPERIMENT_ID",
    "MLFLOW_EXPERIMENT_NAME",
)
CLASSES = ["<b>pear</b>", "apple", "감"]
GROUPS = {"<b>pear</b>": "fruit", "apple": "fruit", "감": "감나무"}
IMAGES = {"train": 2, "val": 2, "test": 8}  # per class
SIZE = 32
ARCHITECTURES = {"tiny_resnet": "test_resnet", "tiny_convnext": "test_convnext"}
EPOCHS = 3


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with MLflow's tables and nothing in them (making them takes ten seconds)."""
    root = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        for name in MLFLOW_SETTINGS:
            patch.delenv(name, raising=False)
        registry_store.open_client(Layout(root))
    return root / "mlflow.db"


@pytest.fixture
def store(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """Paths of an empty project whose MLflow store is a fresh SQLite file of its own."""
    for name in MLFLOW_SETTINGS:
        monkeypatch.delenv(name, raising=False)
    shutil.copyfile(empty_store, tmp_path / "mlflow.db")
    return Layout(tmp_path)


@dataclass(frozen=True)
class Experiment:
    """A project whose stages have all run, up to compare."""

    layout: Layout
    params: Params


@pytest.fixture
def experiment(store: Layout, finished_project: Path) -> Experiment:
    """A copy of the finished project with an empty MLflow store."""
    shutil.copytree(finished_project, store.root, dirs_exist_ok=True)
    return Experiment(store, load(store.params))


@pytest.fixture(scope="session")
def finished_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's files; never changed by a test."""
    layout = Layout(tmp_path_factory.mktemp("finished"))
    _write_params(layout)
    params = load(layout.params)
    _fetch(layout)
    _prepare(layout, params)
    _validate(layout)
    for number, name in enumerate(params.models):
        _train(layout, params, name, number)
    from podium.pipeline import compare, evaluate, explain

    for name in params.models:
        evaluate.evaluate_model(layout, name, params.evaluate, params.runtime, params.seed)
        explain.explain_model(layout, name, params.explain, params.runtime, params.seed)
    compare.compare_models(layout, list(params.models), params.compare)
    return layout.root


def _write_params(layout: Layout) -> None:
    raw = yaml.safe_load((Path(__file__).parents[2] / "params.yaml").read_text(encoding="utf-8"))
    raw["experiment"] = "tiny"
    raw["publish"] = {"registered_model": "podium-tiny", "export": []}
    raw["promote"]["maximum_latency_ratio"] = None  # of two tiny networks it says how busy the machine is
    raw["preprocess"]["image_size"] = SIZE
    raw["models"] = {name: {"architecture": architecture} for name, architecture in ARCHITECTURES.items()}
    raw["evaluate"].update(bootstrap_samples=50, mistakes=16, batch_size=16)
    raw["explain"].update(checks={"images": 6, "deletion": 3, "randomised": 2})
    raw["explain"]["interventions"].update(images=6, shares=[0.3])
    raw["runtime"].update(threads=1)
    raw["resources"].update(workers=0)
    layout.params.write_text(yaml.safe_dump(raw), encoding="utf-8")


def _picture(label: int, number: int) -> bytes:
    random = np.random.default_rng([label, number])
    pixels = random.integers(0, 120, (40, 48, 3), dtype=np.uint8)
    pixels[8:32, 8:40, label] = 230
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def _fetch(layout: Layout) -> None:
    from podium.records.fetch import SkippedFile

    images = [
        RawFile(f"{split}/{code}/{n}.png", label, _picture(code, n), split, occlusion=0.5 if n % 4 == 0 else 0.0)
        for split, count in IMAGES.items()
        for code, label in enumerate(CLASSES)
        for n in range(count)
    ]
    write_raw(layout, images, [SkippedFile(path="notes.txt", reason="not an image")])


def _prepare(layout: Layout, params: Params) -> None:
    from podium.config.preprocess import Preprocessing
    from podium.curation.dataset_profile import describe
    from podium.curation.measures import measure
    from podium.data.manifest import MEASURES, PREPARED_COLUMNS, RAW_COLUMNS, RawImages, read_manifest, write_manifest
    from podium.data.preprocess import read_image
    from podium.data.shards import finish_split

    raw, images = read_manifest(layout.raw / "manifest.parquet", RAW_COLUMNS), RawImages(layout.raw)
    how = Preprocessing(image_size=SIZE, pad_value=params.preprocess.pad_value, max_pixels=10**6)
    read = [read_image(images.read(s, i), how) for s, i in zip(raw["shard"], raw["photo_id"], strict=True)]
    for split in IMAGES:
        folder = layout.prepared / split
        folder.mkdir(parents=True)
        mine = (raw["split"] == split).to_numpy()
        np.save(folder / "images-00000.npy", np.stack([r.pixels for r, m in zip(read, mine, strict=True) if m]))
        index = raw.loc[mine, ["image_id", "path", "label", "group", "occlusion"]]
        finish_split(folder, split, CLASSES, how, index)
    prepared = raw.drop(columns="shard").assign(
        source_split=raw["split"],
        sha256=[r.sha256 for r in read],
        prepared_sha256=[sha256(r.pixels).hexdigest() for r in read],
        phash="0" * 16,
        width=48,
        height=40,
        duplicate_group=raw["image_id"],
        duplicate_kind="",
        split_group=raw["image_id"],
        note="",
    )
    write_manifest(layout.manifest, prepared, PREPARED_COLUMNS)
    measures = pd.DataFrame([measure(r.pixels) for r in read], columns=list(MEASURES))
    measures = pd.concat([prepared[["image_id", "split", "label", "source"]], measures], axis=1)
    measures.to_parquet(layout.measures, index=False)
    broken = ("broken.jpg", "apple", "unreadable: truncated", "unreadable", "f" * 16)
    rejected = pd.DataFrame([broken], columns=["path", "label", "reason", "kind", "image_id"])
    rejected.to_csv(layout.rejected, index=False)
    describe(prepared, measures, prepared["split"], rejected).write(layout.profile)


def _validate(layout: Layout) -> None:
    from podium.core.files import sha256_file
    from podium.records.validate import ExpectationResult, ValidationReport

    result = ExpectationResult(
        id="class_balance",
        suite="balance",
        severity="warning",
        sentence="The largest class has at most 3 times the images of the smallest.",
        success=True,
        expected="at most 3",
        observed="1",
        offending=[],
        offending_count=0,
    )
    digest = sha256_file(layout.manifest)
    rows = sum(IMAGES.values()) * len(CLASSES)
    report = ValidationReport(passed=True, manifest_sha256=digest, images=rows, rejected=1, results=[result])
    report.write(layout.validation_report)


def _train(layout: Layout, params: Params, name: str, number: int) -> None:
    from safetensors.torch import save_file

    from podium.core.files import sha256_file, sha256_text
    from podium.core.identity import library_versions
    from podium.data.shards import SplitRecord
    from podium.models import zoo
    from podium.records.training import EpochResult

    config = params.complete(name)
    splits = {split: SplitRecord.read(layout.prepared / split / "split.json") for split in IMAGES}
    module = zoo.create(config, len(CLASSES), number)
    folder, tuning = layout.model(name), layout.tuning(name)
    folder.mkdir(parents=True)
    tuning.mkdir(parents=True)
    weights = folder / "weights.safetensors"
    save_file({key: tensor.contiguous() for key, tensor in module.state_dict().items()}, weights)
    mean, std = zoo.normalisation(config.architecture)
    a_card(
        model=name,
        architecture=config.architecture,
        classes=CLASSES,
        class_counts=dict.fromkeys(CLASSES, IMAGES["train"]),
        groups=GROUPS,
        preprocessing=splits["train"].preprocessing,
        mean=mean,
        std=std,
        parameters=zoo.count_parameters(module),
        flops=zoo.flops(module, SIZE),
        weights_bytes=weights.stat().st_size,
        weights_sha256=sha256_file(weights),
        recipe=config.train.model_copy(update={"learning_rate": 0.002}),
        learning_rate=0.002,
        tuned={"train.learning_rate": 0.002},
        epochs=EPOCHS,
        best_epoch=2,
        images_seen=18,
        seed=params.seed,
        runtime=params.runtime.model_dump(),
        versions=library_versions(),
        data_digests={"train": splits["train"].digest, "val": splits["val"].digest},
        fingerprint=sha256_text(f"train {name}"),
    ).write(folder / "model.json")
    rows = [
        EpochResult(
            epoch=epoch,
            step=epoch * 2,
            learning_rate=0.002 / epoch,
            train_loss=1.2 / epoch,
            train_accuracy=0.3 * epoch,
            val_loss=1.3 / epoch,
            val_accuracy=0.25 * epoch,
        ).model_dump(exclude_none=True)
        for epoch in range(1, EPOCHS + 1)
    ]
    pd.DataFrame(rows).to_csv(folder / "history.csv", index=False)
    trials = [
        {
            "number": 0,
            "state": "finished",
            "val_loss": 0.65,
            "val_accuracy": 0.5,
            "epochs": 2,
            "train.learning_rate": 0.002,
        },
        {
            "number": 1,
            "state": "pruned",
            "val_loss": 1.3,
            "val_accuracy": 0.25,
            "epochs": 1,
            "train.learning_rate": 0.01,
        },
    ]
    pd.DataFrame(trials).to_csv(tuning / "trials.csv", index=False)
    history = [{"trial": t["number"], **row} for t in trials for row in rows[: int(t["epochs"])]]
    pd.DataFrame(history).to_csv(tuning / "history.csv", index=False)
    a_tuning_result(
        model=name,
        parameters={"train.learning_rate": 0.002},
        val_loss=0.65,
        trials=2,
        pruned=1,
        epochs_per_trial=2,
        images_budget=24,
        images_seen=18,
        fingerprint=sha256_text(f"tune {name}"),
    ).write(tuning / "best.json")


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A web site with nothing on it yet."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with open_site() as running:
        yield running
