"""`history.csv`: the course of one run or of every trial of a study; floats in their shortest exact form."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from podium.core.records.training import EpochResult

EPOCH_COLUMNS = tuple(EpochResult.model_fields)


def write_history(path: Path, rows: Iterable[EpochResult]) -> None:
    """Writes one row per epoch, columns as in `EpochResult`.

    Args:
        path: the file, in a folder that is not in use yet.
        rows: in the order of the epochs.
    """
    write_table(path, EPOCH_COLUMNS, (row.model_dump() for row in rows))


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Writes a CSV file; a key that a row lacks, or None, becomes an empty cell.

    Args:
        path: the file, in a folder that is not in use yet.
        columns: all of them, in order.
        rows: cells by column.
    """
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
