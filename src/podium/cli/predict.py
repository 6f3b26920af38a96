"""`podium predict FOLDER --model staging`: what a model names on images, a row each, in a CSV or Parquet file.

Batches that are done lie in `.podium/predict/` until the table is written, so a killed run goes on where it was. Which
images are in a batch follows from their paths alone: rows and bytes do not depend on where a run was cut.
"""

import csv
import os
import shutil
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from glob import glob, has_magic
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from podium.cli.compare import load_model
from podium.config.params import Params, load
from podium.console.progress import show_progress
from podium.console.terminal import project
from podium.core.errors import DataError, UsageError, first_few, one_line, told
from podium.core.files import canonical_json, replacing, sha256_text
from podium.core.layout import Layout

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from podium.config.preprocess import Preprocessing
    from podium.registry.loading import LoadedModel

_BATCH_SIZE = 64  # images that are in memory at once, and at most lost by a kill
_DIGITS = 6
_COLUMNS = ("path", "image")  # of a table, the first that it has
_DELIMITERS = ",;\t"
_BYTES_A_PIXEL = 8  # four channels of 16 bits, not compressed
_HEADERS = 2**20  # bytes of an image file that are no pixels


@dataclass(frozen=True)
class _File:
    """A file to be asked about: what its row calls it, where it lies, why it is not opened (empty where it is)."""

    path: str
    place: Path
    refused: str = ""


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
    top_k: Annotated[int, typer.Option(min=1, help="Likeliest classes a row, each with its score.")] = 1,
) -> None:
    """Name what is on images: a row each with path, label, score, whether the model abstains, and its version.

    A file that cannot be read is a row with the reason in its column `error`. A run that was killed goes on where it
    was. Scores are calibrated.
    """
    layout = project()
    params = load(layout.params)
    if out.suffix not in (".csv", ".parquet") or out.is_dir():
        raise UsageError(f"--out {out} is neither a .csv nor a .parquet file: name one")
    files = [file for file in _list_files(layout, params, images) if file.place.absolute() != out.absolute()]
    if not files:
        raise DataError(f"{first_few(images, 3)}: no file is there: name a folder, a pattern, a CSV or an archive")
    loaded = load_model(layout, params, model)
    classes = len(loaded.classifier.card.classes)
    if top_k > classes:
        raise UsageError(f"--top-k {top_k} is more than the {classes} classes of {model}")
    key = _digest(loaded, files, top_k)
    with _alone(layout, key):
        folder = layout.work / "predict" / key
        parts = _answer_batches(loaded, files, top_k, folder, params.resources.workers)
        failed, abstained = _write(out, parts)
        shutil.rmtree(folder)
    read = len(files) - failed
    by = loaded.classifier.card.model + (f", version {loaded.version}" if loaded.version else "")
    print(f"{out}: {read:,} of {len(files):,} files named by {by}; abstained on {abstained:,}")
    if not read:
        raise DataError(f"none of the {len(files):,} files could be read: column `error` of {out} says why of each")
    if failed:
        print(f"{failed:,} could not be read: column `error` says why")


# --- which files ----------------------------------------------------------------------------------------------------


def _list_files(layout: Layout, params: Params, given: list[str]) -> list[_File]:
    """The files that are meant, each once, sorted by their path.

    Raises:
        UsageError: a table or an archive is given beside something else.
        DataError: a path is not there, or a table or an archive cannot be read.
    """
    from podium.sources.names import ARCHIVE_SUFFIXES

    found: list[_File] = []
    for one in given:
        place = Path(one)
        suffix = place.suffix.removeprefix(".").casefold()
        alone = suffix == "csv" or suffix in ARCHIVE_SUFFIXES
        if alone and len(given) > 1:
            raise UsageError(f"{one} is given with {len(given) - 1} more: name a table or an archive alone")
        if place.is_dir():
            found += _below(place, place)
        elif place.is_file() and suffix == "csv":
            found += _of_table(place)
        elif place.is_file() and alone:
            from podium.sources.archive import unpack

            folder, _ = unpack(layout, place.absolute(), None, params.fetch)
            found += _below(folder, Path())
        elif place.is_file():
            found.append(_file(one, place))
        elif has_magic(one):
            matching = glob(one, recursive=True)  # noqa: PTH207  # Path.glob takes no absolute pattern
            found += [_file(path, Path(path)) for path in matching if not Path(path).is_dir()]
        else:
            raise DataError(f"{one} does not exist: name a folder, a pattern, image files, a CSV or an archive")
    return sorted({file.path: file for file in found}.values(), key=lambda file: file.path)


def _below(folder: Path, called: Path) -> Iterator[_File]:
    """The files below a folder, but for hidden ones and litter; `called` stands before their names."""
    from podium.sources.names import is_litter, reason_to_skip

    closed: list[OSError] = []
    for at, folders, names in os.walk(folder, onerror=closed.append):
        folders[:] = [name for name in folders if not is_litter(name)]
        here = called / Path(at).relative_to(folder)
        links = [(name, "a link to a folder, which is not followed") for name in folders if Path(at, name).is_symlink()]
        for name, refused in (*((name, reason_to_skip(name)) for name in names if not is_litter(name)), *links):
            yield _file(str(here / name), Path(at, name), refused)
    for error in closed:
        yield _file(str(called / Path(error.filename).relative_to(folder)), Path(error.filename), str(error.strerror))


def _of_table(table: Path) -> Iterator[_File]:
    """The files that a CSV lists.

    Raises:
        DataError: it is no CSV in UTF-8, or has no column for them.
    """
    from podium.sources.table_form import require_text

    require_text(table)
    try:
        with table.open(encoding="utf-8-sig", newline="") as stream:
            first = stream.readline()
            headers = {d: next(csv.reader([first], delimiter=d), []) for d in _DELIMITERS}
            named = next(((d, name) for d, row in headers.items() for name in _COLUMNS if name in row), None)
            if named is None:
                raise DataError(
                    f"{table} has no column `path` or `image` (its columns: {', '.join(map(repr, headers[',']))}): "
                    "name the column of the files so"
                )
            delimiter, column = named
            for row in csv.DictReader(stream, headers[delimiter], delimiter=delimiter, strict=True):
                path = row[column] or ""
                yield _file(path, table.parent / path, "" if path else "the table names no file here")
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table} is no CSV in UTF-8 ({one_line(error)}): save it as one") from error


def _file(path: str, place: Path, refused: str = "") -> _File:
    """A file under a name that any text file can hold."""
    from podium.sources.names import printable

    return _File(printable(path), place, refused)


# --- what is on them ------------------------------------------------------------------------------------------------


def _digest(loaded: "LoadedModel", files: list[_File], top_k: int) -> str:
    """Of all that the rows follow from; a file counts by its size and when it was changed."""
    from podium import __version__
    from podium.core.identity import library_versions
    from podium.sources.names import printable

    card = loaded.classifier.card
    by = [card.fingerprint, card.weights_sha256, loaded.version, loaded.temperature, loaded.threshold]
    code = [__version__, library_versions(), str(loaded.classifier.compute.device)]
    stamps = [[file.path, printable(str(file.place)), file.refused, *_stamp(file.place)] for file in files]
    return sha256_text(canonical_json([by, code, top_k, stamps]))


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


def _answer_batches(loaded: "LoadedModel", files: list[_File], top_k: int, folder: Path, workers: int) -> list[Path]:
    """Answers the batches that no earlier run has; images are decoded in threads, which the decoders let run at once.

    Returns:
        A Parquet file a batch, in order.
    """
    import pyarrow.parquet as pq

    batches = [files[start : start + _BATCH_SIZE] for start in range(0, len(files), _BATCH_SIZE)]
    parts = [folder / f"{number:08d}.parquet" for number in range(len(batches))]
    left = [number for number, part in enumerate(parts) if not part.is_file()]
    done = len(files) - sum(len(batches[number]) for number in left)
    if done:
        print(f"{done:,} of {len(files):,} files are done: going on")
    read = partial(_read, preprocessing=loaded.classifier.card.preprocessing)
    with (
        warnings.catch_warnings(),
        ThreadPoolExecutor(max(1, workers)) as pool,
        show_progress("predict", len(files), done=done) as advance,
    ):
        warnings.filterwarnings("ignore", module="PIL")  # what matters is in the row
        for number in left:
            table = _rows(loaded, batches[number], list(pool.map(read, batches[number])), top_k)
            with replacing(parts[number]) as temporary:
                pq.write_table(table, temporary)
            advance(len(batches[number]))
    return parts


def _read(file: _File, preprocessing: "Preprocessing") -> "NDArray[np.uint8] | str":
    """A file as the model sees it, uint8, shape (S, S, 3), or why it cannot be read."""
    from podium.data.preprocess import read_image

    if file.refused:
        return file.refused
    most = _BYTES_A_PIXEL * preprocessing.max_pixels + _HEADERS
    try:
        if not file.place.is_file():
            return "not a regular file" if file.place.exists() else "there is no such file"
        if file.place.stat().st_size > most:
            return f"the file is larger than any image of {preprocessing.max_pixels:,} pixels ({most:,} bytes)"
        return read_image(file.place.read_bytes(), preprocessing).pixels
    except DataError as error:
        return told(error)
    except OSError as error:
        return error.strerror or one_line(error)


def _rows(loaded: "LoadedModel", files: list[_File], read: "list[NDArray[np.uint8] | str]", top_k: int) -> "pa.Table":
    """The rows of a batch; of a file that was not read, `read` holds the reason."""
    import numpy as np
    import pyarrow as pa

    card = loaded.classifier.card
    pixels = [image for image in read if not isinstance(image, str)]
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
