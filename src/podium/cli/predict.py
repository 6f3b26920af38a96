"""`podium predict FOLDER --model staging`: what a model names on images, a row each, in a CSV or Parquet file.

Batches that are done lie in `.podium/predict/` until the table is written, so a killed run goes on where it was. Which
images are in a batch follows from their paths alone: rows and bytes do not depend on where a run was cut.
"""

import shutil
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from podium.cli.compare import RuntimeOption, load_model
from podium.cli.image_files import ImageFile, list_files
from podium.config.params import load
from podium.console.progress import show_progress
from podium.console.terminal import project
from podium.core.errors import DataError, UsageError, first_few, one_line, told
from podium.core.files import canonical_json, replacing, sha256_text
from podium.core.layout import Layout

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from podium.config.preprocess import Preprocessing
    from podium.data.preprocess import ReadImage
    from podium.registry.loading import LoadedModel
    from podium.serving.prediction_log import LoggedImage, PredictionLog

_BATCH_SIZE = 64  # images that are in memory at once, and at most lost by a kill
_DIGITS = 6
_BYTES_A_PIXEL = 8  # four channels of 16 bits, not compressed
_HEADERS = 2**20  # bytes of an image file that are no pixels


def predict(
    images: Annotated[
        list[str],
        typer.Argument(
            help="A folder, a pattern such as 'photos/**/*.jpg', image files, a CSV with a column `path` (or `image`) "
            "relative to it, or an archive (zip, tar, 7z).",
            show_default=False,
        ),
    ],
    model: Annotated[
        str,
        typer.Option(
            help="A version (its number, an alias, models:/NAME@ALIAS), or a model of the experiment in force.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="The table to write: .csv or .parquet.")] = Path("predictions.csv"),
    *,
    top_k: Annotated[int, typer.Option(min=1, help="Likeliest classes a row, each with its score.")] = 1,
    explain: Annotated[
        bool, typer.Option("--explain", help="Also draw what spoke for each label (Grad-CAM), in a folder beside it.")
    ] = False,
    runtime: RuntimeOption = "torch",
    log: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Also note each answer there for `podium drift`: measures of the image, no pixel."
        ),
    ] = None,
) -> None:
    """Name what is on images: a row each with path, label, score, whether the model abstains, and its version.

    A file that cannot be read is a row with the reason in its column `error`. A run that was killed goes on where it
    was. Scores are calibrated.
    """
    layout = project()
    params = load(layout.params)
    if out.suffix not in (".csv", ".parquet") or out.is_dir():
        raise UsageError(f"--out {out} is neither a .csv nor a .parquet file: name one")
    if explain and runtime != "torch":
        raise UsageError("--explain needs gradients, which --runtime onnx has none of: leave one of them out")
    maps = out.with_name(f"{out.stem}_heat_maps") if explain else None
    mine = {out.absolute(), maps and maps.absolute()}  # of an earlier run
    files = [file for file in list_files(layout, params, images) if mine.isdisjoint(_with_folder(file.place))]
    if not files:
        raise DataError(f"{first_few(images, 3)}: no file is there: name a folder, a pattern, a CSV or an archive")
    loaded = load_model(layout, params, model, runtime)
    classes = len(loaded.classifier.card.classes)
    if top_k > classes:
        raise UsageError(f"--top-k {top_k} is more than the {classes} classes of {model}")
    key = _digest(loaded, files, top_k, maps)
    with _alone(layout, key):
        folder = layout.work / "predict" / key
        notes = _open_log(log, loaded)
        parts = _answer_batches(loaded, files, top_k, folder, params.resources.workers, maps=maps, log=notes)
        failed, abstained = _write(out, parts)
        shutil.rmtree(folder)
    _tell(out, loaded, len(files), failed=failed, abstained=abstained, maps=maps)


def _tell(out: Path, loaded: "LoadedModel", files: int, *, failed: int, abstained: int, maps: Path | None) -> None:
    """Says what became of the files.

    Raises:
        DataError: none of them could be read.
    """
    by = loaded.classifier.card.model + (f", version {loaded.version}" if loaded.version else "")
    print(f"{out}: {files - failed:,} of {files:,} files named by {by}; abstained on {abstained:,}")
    if failed == files:
        raise DataError(f"none of the {files:,} files could be read: column `error` of {out} says why of each")
    if maps is not None:
        print(f"{maps}/: what spoke for each label, named in column `heat_map`")
    if failed:
        print(f"{failed:,} could not be read: column `error` says why")


def _with_folder(place: Path) -> tuple[Path, Path]:
    """A file and the folder it lies in."""
    return place.absolute(), place.absolute().parent


def _digest(loaded: "LoadedModel", files: list[ImageFile], top_k: int, maps: Path | None) -> str:
    """Of all that rows and pictures follow from; a file counts by its size and when it was changed."""
    from podium import __version__
    from podium.core.identity import library_versions
    from podium.sources.names import printable

    card = loaded.classifier.card
    by = [card.fingerprint, card.weights_sha256, loaded.version, loaded.temperature, loaded.threshold, loaded.runtime]
    code = [__version__, library_versions(), str(loaded.classifier.compute.device)]
    stamps = [[file.path, printable(str(file.place)), file.refused, *_stamp(file.place)] for file in files]
    return sha256_text(canonical_json([by, code, top_k, maps and str(maps.absolute()), stamps]))


def _stamp(place: Path) -> list[int]:
    """Size and time of the last change (ns) of a file; nothing where there is none."""
    try:
        found = place.stat()
    except (OSError, ValueError):  # a NUL in a path
        return []
    return [found.st_size, found.st_mtime_ns]


def _alone(layout: Layout, key: str) -> AbstractContextManager[object]:
    """Lets one process at a time make the same predictions.

    Raises:
        DataError: another one is at work.
    """
    from filelock import FileLock, Timeout

    layout.locks.mkdir(parents=True, exist_ok=True)
    lock = FileLock(layout.locks / f"predict-{key[:16]}.lock")
    try:
        return lock.acquire(timeout=0)
    except Timeout as error:
        raise DataError("another process makes the same predictions now: wait for it") from error


def _open_log(folder: Path | None, loaded: "LoadedModel") -> "PredictionLog | None":
    """The log of predictions, where one is asked for."""
    if folder is None:
        return None
    from podium.serving.prediction_log import PredictionLog

    return PredictionLog(folder, loaded)


def _answer_batches(
    loaded: "LoadedModel",
    files: list[ImageFile],
    top_k: int,
    folder: Path,
    workers: int,
    *,
    maps: Path | None,
    log: "PredictionLog | None" = None,
) -> list[Path]:
    """Answers the batches that no earlier run has; images are decoded in threads, which the decoders let run at once.

    Returns:
        A Parquet file a batch, in order.
    """
    import pyarrow.parquet as pq

    from podium.data.preprocess import read_image

    batches = [files[start : start + _BATCH_SIZE] for start in range(0, len(files), _BATCH_SIZE)]
    parts = [folder / f"{number:08d}.parquet" for number in range(len(batches))]
    left = [number for number, part in enumerate(parts) if not part.is_file()]
    done = len(files) - sum(len(batches[number]) for number in left)
    if done:
        print(f"{done:,} of {len(files):,} files are done: going on")
    how = loaded.classifier.card.preprocessing
    read = partial(_read, preprocessing=how, reader=log.read if log else partial(read_image, preprocessing=how))
    with (
        warnings.catch_warnings(),
        ThreadPoolExecutor(max(1, workers)) as pool,
        show_progress("predict", len(files), done=done) as advance,
    ):
        warnings.filterwarnings("ignore", module="PIL")  # what matters is in the row
        for number in left:
            images = list(pool.map(read, batches[number]))
            table = _rows(loaded, batches[number], images, top_k)
            if maps is not None:
                table = table.append_column("heat_map", _draw(loaded, images, number * _BATCH_SIZE, maps))
            with replacing(parts[number]) as temporary:
                pq.write_table(table, temporary)
            if log is not None:
                log.append(_logged(images, table))
            advance(len(batches[number]))
    return parts


def _logged(images: "list[ReadImage | str]", table: "pa.Table") -> "Iterator[tuple[LoggedImage, str, float, bool]]":
    """What the log is to say of the rows of a batch."""
    from podium.serving.prediction_log import LoggedImage

    for image, row in zip(images, table.to_pylist(), strict=True):
        if isinstance(image, LoggedImage):
            yield image, row["label"], row["score"], row["abstained"]


def _read(file: ImageFile, preprocessing: "Preprocessing", reader: "Callable[[bytes], ReadImage]") -> "ReadImage | str":
    """A file as the model sees it, or why it cannot be read."""
    if file.refused:
        return file.refused
    most = _BYTES_A_PIXEL * preprocessing.max_pixels + _HEADERS
    try:
        if not file.place.is_file():
            return "not a regular file" if file.place.exists() else "there is no such file"
        if file.place.stat().st_size > most:
            return f"the file is larger than any image of {preprocessing.max_pixels:,} pixels ({most:,} bytes)"
        return reader(file.place.read_bytes())
    except DataError as error:
        return told(error)
    except OSError as error:
        return error.strerror or one_line(error)


def _rows(loaded: "LoadedModel", files: list[ImageFile], read: "list[ReadImage | str]", top_k: int) -> "pa.Table":
    """The rows of a batch; of a file that was not read, `read` holds the reason."""
    import numpy as np
    import pyarrow as pa

    card = loaded.classifier.card
    pixels = [image.pixels for image in read if not isinstance(image, str)]
    answers: Iterator[NDArray[np.float64]] = iter(loaded.probabilities(np.stack(pixels), _BATCH_SIZE) if pixels else ())
    rows: list[dict[str, Any]] = []
    for file, image in zip(files, read, strict=True):
        row: dict[str, Any] = {"path": file.path, "model": card.model, "version": loaded.version or None}
        if isinstance(image, str):
            rows.append({**row, "error": image})
            continue
        shares = next(answers)
        row["abstained"] = loaded.threshold is not None and bool(shares.max() < loaded.threshold)
        for place, likely in enumerate(np.argsort(-shares, kind="stable")[:top_k]):
            row[_ranked("label", place)] = card.classes[likely]
            row[_ranked("score", place)] = round(float(shares[likely]), _DIGITS)
        rows.append(row)
    return pa.Table.from_pylist(rows, schema=_schema(top_k))


def _draw(loaded: "LoadedModel", read: "list[ReadImage | str]", first: int, folder: Path) -> "pa.Array":
    """Draws what spoke for the label of each image that was read; gives the pictures' paths from the table's folder.

    Args:
        loaded: the model.
        read: the images of a batch, as for `_rows`.
        first: the number of its first row in the table.
        folder: gets a PNG a row, named by the row's number.

    Raises:
        ModelError: the network has no feature map.
    """
    import numpy as np
    import pyarrow as pa
    from PIL import Image

    from podium.models.explanations import explain
    from podium.report.plots import overlay

    pixels = [image.pixels for image in read if not isinstance(image, str)]
    found = iter(explain(loaded.classifier, np.stack(pixels), "gradcam", batch_size=_BATCH_SIZE) if pixels else ())
    paths: list[str | None] = []
    for number, image in enumerate(read, first):
        if isinstance(image, str):
            paths.append(None)
            continue
        place = folder / f"{number:06d}.png"
        with replacing(place) as temporary:
            Image.fromarray(overlay(image.pixels, next(found))).save(temporary)
        paths.append(f"{folder.name}/{place.name}")
    return pa.array(paths, pa.string())


def _schema(top_k: int) -> "pa.Schema":
    """The columns of the table; those of the second likeliest class and further ones are numbered."""
    import pyarrow as pa

    kinds = {"label": pa.string(), "score": pa.float64()}
    ranked = [(_ranked(name, place), kind) for place in range(top_k) for name, kind in kinds.items()]
    text = [(name, pa.string()) for name in ("model", "version", "error")]
    return pa.schema([("path", pa.string()), *ranked[:2], ("abstained", pa.bool_()), *ranked[2:], *text])


def _ranked(column: str, place: int) -> str:
    """`label`, `label_2`, `label_3`, ...; `place` starts at 0."""
    return column if place == 0 else f"{column}_{place + 1}"


def _write(out: Path, parts: list[Path]) -> tuple[int, int]:
    """Writes the table from its batches, whole or not at all; how many files failed, and on how many it abstained."""
    import pyarrow.compute as pc
    import pyarrow.csv as pcsv
    import pyarrow.parquet as pq

    failed = abstained = 0
    schema = pq.read_schema(parts[0])
    with (
        replacing(out) as temporary,
        # csv.writer would leave a carriage return in a path without quotes
        pcsv.CSVWriter(temporary, schema)
        if out.suffix == ".csv"
        else pq.ParquetWriter(temporary, schema, compression="zstd") as writer,
    ):
        for part in parts:
            table = pq.read_table(part)
            failed += len(table) - table["error"].null_count
            abstained += pc.sum(table["abstained"]).as_py() or 0
            writer.write_table(table)
    return failed, abstained
