"""The course of one run or of every trial of a study: an epoch as a line, all of them as `history.csv`.

Floats in files are in their shortest exact form. Depends on `core`.
"""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from podium.config.tuning import Value
from podium.records.training import EpochResult

EPOCH_COLUMNS = tuple(EpochResult.model_fields)


def epoch_line(row: EpochResult, epochs: int, seconds: float) -> str:
    """One epoch in words: loss / accuracy on train and val.

    Args:
        row: the epoch.
        epochs: of the whole run.
        seconds: measured.
    """
    return (
        f"epoch {row.epoch}/{epochs}  lr {row.learning_rate:.1e}  train {row.train_loss:.3f} / {row.train_accuracy:.3f}"
        f"  val {row.val_loss:.3f} / {row.val_accuracy:.3f}  {seconds:.1f} s"
    )


def shown(value: Value) -> str:
    """A tuned value for people: numbers with three digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


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
