"""What the parts of an experiment cost, measured on this machine in small samples: the units of `scale_model`.

Seconds are of one core's processor time, the least of several rounds, so that other work on the machine hardly
matters; where a disk must answer (`fsync`), they are of the clock. All of it is done by the functions that stages call.
"""

import json
import os
import time
import zipfile
from collections import defaultdict
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import torch
from threadpoolctl import threadpool_limits

from benchmarks import million_rows
from benchmarks.copies import pictures
from benchmarks.photographs import FLOWERS
from benchmarks.scratch import ROOT
from benchmarks.trial_steps import random_images, training_steps, trial_job
from podium.config.dataset import ArchiveDataset, Fetch
from podium.config.models import ModelConfig
from podium.config.preprocess import Preprocess, Preprocessing
from podium.config.runtime import Runtime
from podium.config.train import Range, Train, Tune
from podium.core.files import sha256_file, write_json
from podium.core.layout import CHECKPOINT, Layout
from podium.curation.decoding import DecodeJob, RawImage, decode_all
from podium.curation.near_duplicates import candidates, grouping
from podium.curation.near_duplicates.signature import RECORD, SIGNATURE_BYTES, VECTOR_TURNS, signature
from podium.curation.temporary_arrays import TemporaryArrays
from podium.data.manifest import RawWriter
from podium.data.preprocess import read_image
from podium.models import zoo
from podium.models.callbacks import Callback
from podium.models.checkpoint import Checkpoint
from podium.models.engine import fit
from podium.models.study import Study
from podium.pipeline.fetch import fetch_dataset
from podium.records.training import EpochResult, TrialResult

ROUNDS = 3
_PHOTOGRAPHS, _SIGNATURES, _ROWS = 60, 6_000, 20_000
_TRIALS, _FILES, _FILE_BYTES = (10, 110), 1000, 2**26
_MAX_PIXELS = 50_000_000


@dataclass(frozen=True)
class ImageCosts:
    """Seconds an image: sha256 of its file, all of `fetch`, `read_image`, the signature, and all that `preprocess` does
    with one image by itself (the two before among it); bytes of its file.
    """

    hash: float
    fetch: float
    decode: float
    signature: float
    prepare: float
    file_bytes: float

    @property
    def hash_byte(self) -> float:
        """Seconds to hash a byte."""
        return self.hash / self.file_bytes


@dataclass(frozen=True)
class NetworkCosts:
    """Seconds an image: of a training step with loading and augmentation, and of an answer."""

    step: float
    answer: float


@dataclass(frozen=True)
class RowCosts:
    """Seconds a row of the manifest: grouping and splitting it, and holding it against the expectations."""

    split: float
    validate: float


@dataclass(frozen=True)
class EpochCosts:
    """Seconds of an epoch beside its images; bytes of ResNet-18's checkpoint, and seconds of the clock to save it."""

    epoch: float
    checkpoint_bytes: int
    checkpoint: float


@dataclass(frozen=True)
class AskCosts:
    """Seconds to draw the values of a trial, and what each earlier trial adds."""

    trial: float
    earlier: float


@dataclass(frozen=True)
class MlflowCosts:
    """Seconds of a trial's run, made and ended, and of a value in a `log_batch`; bytes that a value adds to SQLite."""

    run: float
    metric: float
    metric_bytes: float


@dataclass(frozen=True)
class DvcCosts:
    """Seconds a byte of a large file that `dvc add` has not seen, a small file that it has not, and one that it has."""

    byte: float
    new_file: float
    known_file: float


@dataclass(frozen=True)
class Units:
    """Unit costs in seconds, and bytes where a name says so.

    Attributes:
        images: by kind: `photograph` at 224 px and `sample` at 64.
        networks: by architecture and side, as `resnet18 64`.
        search_pair: the exact search for near duplicates, times the square of the number of images.
        record: a small file that is on the disk, on the clock.
        stages: seconds on the clock of the stages of the default experiment where it has run, of all models together.
    """

    images: dict[str, ImageCosts]
    networks: dict[str, NetworkCosts]
    search_pair: float
    signature_bytes: int
    rows: RowCosts
    epoch: EpochCosts
    record: float
    ask: AskCosts
    mlflow: MlflowCosts
    dvc: DvcCosts
    stages: dict[str, float]


def least(work: Callable[[], object], clock: Callable[[], float] = time.process_time, rounds: int = ROUNDS) -> float:
    """Seconds of the quickest round."""
    spent = []
    for _ in range(rounds):
        begun = clock()
        work()
        spent.append(clock() - begun)
    return min(spent)


def measure_units(project: Path | None = None) -> Units:
    """Measures all of them with one thread; some 80 seconds of the processor.

    Args:
        project: where the default experiment has run.
    """
    cv2.setNumThreads(1)
    real = os.environ.get("PODIUM_REAL_DATA")
    if not real:
        print("PODIUM_REAL_DATA is not set: drawn pictures of the sample stand for photographs")
    sample = ROOT / "data" / "sample.zip"
    photographs = Path(real) / FLOWERS if real else sample
    with threadpool_limits(1), TemporaryDirectory(prefix="podium-units-", dir=Path.cwd()) as name:
        folder = Path(name)
        images = {
            kind: _images(archive, side, folder / kind)
            for kind, archive, side in (("photograph", photographs, 224), ("sample", sample, 64))
        }
        wanted = (("resnet18", 64, 32), ("resnet18", 224, 16), ("convnext_atto", 64, 32))
        networks = {f"{name} {side}": _network(name, side, batch) for name, side, batch in wanted}
        return Units(
            images=images,
            networks=networks,
            search_pair=_search_pair(),
            signature_bytes=SIGNATURE_BYTES,
            rows=_rows(folder),
            epoch=_epoch(networks["resnet18 64"], folder),
            record=least(lambda: write_json(folder / "record.json", {"text": "x" * 1000}), time.perf_counter, 20),
            ask=_ask(),
            mlflow=_mlflow(folder / "mlflow"),
            dvc=_dvc(folder / "dvc"),
            stages=_stages(project) if project else {},
        )


def _stages(project: Path) -> dict[str, float]:
    """What Podium noted of the stages that ran last, seconds by stage."""
    noted = json.loads(Layout(project).durations.read_text(encoding="utf-8"))
    stages = defaultdict[str, float](float)
    for name, seconds in noted.items():
        stages[name.partition("@")[0]] += seconds
    return dict(stages)


def _images(archive: Path, side: int, folder: Path) -> ImageCosts:
    """Costs of some images of an archive."""
    folder.mkdir()
    with zipfile.ZipFile(archive) as packed:
        names = sorted(name for name in packed.namelist() if name.lower().endswith((".jpg", ".jpeg", ".png")))
        chosen = np.random.default_rng(0).choice(names, _PHOTOGRAPHS, replace=False).tolist()
        files = [packed.read(name) for name in chosen]
    with zipfile.ZipFile(folder / "some.zip", "w") as some:
        for number, (name, data) in enumerate(zip(chosen, files, strict=True)):
            some.writestr(f"{Path(name).parent.name}/{number}{Path(name).suffix}", data)
    how = Preprocessing(**Preprocess(image_size=side).model_dump(include=set(Preprocessing.model_fields)))
    writer, paths, raw = RawWriter(folder), [], []
    for number, data in enumerate(files):
        paths.append(folder / f"{number}.bin")
        paths[-1].write_bytes(data)
        raw.append(RawImage(number, writer.add(f"{number:016x}", data), f"{number:016x}"))
    writer.close()
    arrays = TemporaryArrays(folder, len(files), side)
    arrays.allocate()
    _, decoded = pictures(archive, _PHOTOGRAPHS)
    given = ArchiveDataset(
        location=str(folder / "some.zip"), sha256=sha256_file(folder / "some.zip"), licence="CC0-1.0"
    )
    projects = (Layout(folder / str(number)) for number in range(ROUNDS))
    with redirect_stdout(StringIO()):
        fetched = least(lambda: fetch_dataset(next(projects), given, Fetch(), {}))
    return ImageCosts(
        hash=least(lambda: [sha256_file(path) for path in paths]) / len(files),
        fetch=fetched / len(files),
        decode=least(lambda: [read_image(data, how) for data in files]) / len(files),
        signature=least(lambda: [signature(image) for image in decoded]) / len(decoded),
        prepare=least(lambda: list(decode_all(DecodeJob(folder, arrays, how), raw, 0))) / len(files),
        file_bytes=sum(map(len, files)) / len(files),
    )


def _network(architecture: str, side: int, batch_size: int) -> NetworkCosts:
    """Costs of a network with fresh weights in float32, on images of noise."""
    config = ModelConfig(architecture=architecture, train=Train(epochs=1, batch_size=batch_size))
    images = random_images(2 * batch_size, side)
    job = trial_job(config, images, Runtime(threads=1), seed=0)
    module = zoo.create(config, len(images.classes), 0)
    with torch.random.fork_rng(devices=()):
        steps = training_steps(job, module)
        next(steps)  # kernels are chosen
        step = least(lambda: next(steps)) / batch_size
        steps.close()
    pixels = torch.rand(batch_size, 3, side, side)
    with torch.inference_mode():
        module.eval()(pixels)
        return NetworkCosts(step, least(lambda: module(pixels)) / batch_size)


@dataclass
class _EpochEnds(Callback):
    """Notes the processor's time at the end of each epoch."""

    seconds: list[float]

    def on_epoch_end(self, row: EpochResult, seconds: float, trial: int | None = None) -> None:
        self.seconds.append(time.process_time())


def _epoch(network: NetworkCosts, folder: Path) -> EpochCosts:
    config = ModelConfig(architecture="resnet18", train=Train(epochs=4, batch_size=32))
    job = trial_job(config, random_images(32, 64), Runtime(threads=1), seed=0)
    ends, checkpoint = _EpochEnds([]), Checkpoint(folder)
    fit(job, zoo.create(config, 10, 0), [ends])
    epoch = float(np.diff(ends.seconds).min()) - 32 * (network.step + network.answer)
    short = config.model_copy(update={"train": Train(epochs=1, batch_size=32)})
    fit(trial_job(short, job.train, Runtime(threads=1), seed=0), zoo.create(config, 10, 0), [], checkpoint)
    progress, tensors = checkpoint.restore()
    save = least(lambda: checkpoint.save(progress, tensors), time.perf_counter)
    return EpochCosts(max(0.0, epoch), (folder / CHECKPOINT).stat().st_size, save)


def _search_pair() -> float:
    """Seconds of the exact search, a pair, among drawn vectors."""
    drawn = np.random.default_rng(0).normal(size=(_SIGNATURES, *RECORD["vector"].shape))
    vectors = np.round(drawn * (2040 / np.linalg.norm(drawn, axis=1, keepdims=True))).astype(np.int16)
    limits = (np.zeros(_SIGNATURES, np.bool_), grouping.NEIGHBOURS, grouping.LEAST_PRODUCT)
    return least(lambda: candidates.nearest_neighbours(vectors, VECTOR_TURNS, *limits)) / _SIGNATURES**2


def _rows(folder: Path) -> RowCosts:
    million_rows.make(folder, _ROWS)
    million_rows.split(folder)
    million_rows.validate(folder)  # imports
    split = least(lambda: million_rows.split(folder), rounds=2)
    return RowCosts(split / _ROWS, least(lambda: million_rows.validate(folder), rounds=1) / _ROWS)


def _ask() -> AskCosts:
    spans = {"train.learning_rate": Range(low=3e-4, high=6e-3, log=True)}
    config = ModelConfig(architecture="resnet18", train=Train(epochs=6, batch_size=32))
    study = Study(config, spans, Tune(trials=1000, epochs=2, search={}), 0)
    rows = [
        EpochResult(epoch=at, step=at, train_loss=1.0, train_accuracy=0.5, val_loss=1.0 / at, val_accuracy=0.5)
        for at in (1, 2)
    ]
    results = [
        TrialResult(number=n, state="finished", parameters={"train.learning_rate": 3e-4 * 1.02**n}, epochs=tuple(rows))
        for n in range(_TRIALS[1])
    ]
    few, many = (least(partial(study.ask, results[:n], n), rounds=5) for n in _TRIALS)
    slope = max(0.0, (many - few) / (_TRIALS[1] - _TRIALS[0]))
    return AskCosts(max(0.0, few - slope * _TRIALS[0]), slope)


def _mlflow(folder: Path) -> MlflowCosts:
    from mlflow import MlflowClient

    from podium.tracking.run_writer import RunWriter

    folder.mkdir()
    database = folder / "mlflow.db"
    writer = RunWriter(MlflowClient(f"sqlite:///{database}"), Layout(folder), "units")
    parent = writer.open_experiment()
    numbers = iter(range(1000))
    rows = [
        EpochResult(epoch=e, step=e, train_loss=1.0, train_accuracy=0.5, val_loss=1.0, val_accuracy=0.5)
        for e in range(1, 201)
    ]
    made: list[str] = []

    def trial() -> None:
        made.append(writer.open_trial(parent, "resnet18", "0" * 64, next(numbers))[0])
        writer.finish(made[-1], None)

    run = least(trial, rounds=10)
    before = database.stat().st_size
    logged = iter(made)
    values = 4 * len(rows)
    seconds = least(lambda: writer.log_epochs(next(logged), rows))
    return MlflowCosts(run, seconds / values, (database.stat().st_size - before) / (ROUNDS * values))


def _dvc(folder: Path) -> DvcCosts:
    from dvc.repo import Repo

    files = folder / "files"
    files.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(_FILES):
        (files / f"{number}.jpg").write_bytes(rng.bytes(1000))
    (folder / "large.bin").write_bytes(rng.bytes(_FILE_BYTES))
    repo = Repo.init(str(folder), no_scm=True)
    try:
        large = least(lambda: repo.add([str(folder / "large.bin")]), rounds=1) / _FILE_BYTES
        new = least(lambda: repo.add([str(files)]), rounds=1) / _FILES
        return DvcCosts(large, new, least(repo.status) / _FILES)
    finally:
        repo.close()
