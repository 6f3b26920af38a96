"""Which form a table has: a class a row is read; one-hot columns, several classes a row and other files are refused.

A form that is not known would become other classes without a word: `0` and `1`, or `cat|dog` beside `cat` and `dog`.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from podium.config.dataset import CsvDataset
from podium.config.problems import nearest
from podium.core.errors import DataError
from podium.data.file_kinds import recognise

_START: Final = 2**12  # bytes of a file that are looked at
_FEW: Final = 2  # columns, a path and a label, that no one-hot table has to do with
_BINARY: Final = frozenset(("0", "1", "0.0", "1.0", "true", "false"))
_ONE: Final = frozenset(("1", "1.0", "true"))
_SHOWN: Final = 3  # columns that are told


def require_text(table: Path) -> None:
    """Refuses a file that is no table in text.

    Raises:
        DataError: it is one of another kind, which is named: Parquet, annotations of COCO or Pascal VOC, a web page.
    """
    with table.open("rb") as stream:
        kind = recognise(stream.read(_START))
    if kind:
        raise DataError(f"{table.name} is no CSV but {kind}")


def check_header(name: str, header: list[str], dataset: CsvDataset) -> None:
    """Refuses a table that lacks a column.

    Raises:
        DataError: it does, or has one twice; the nearest name or another delimiter is proposed.
    """
    twice = next((column for column in header if header.count(column) > 1), None)
    if twice is not None:
        raise DataError(f"{name} has two columns {twice!r}: rename one of them")
    columns = dataset.columns.model_dump(exclude_none=True)
    sides = columns.pop("box", {})
    wanted = {f"columns.{key}": column for key, column in columns.items()}
    wanted |= {f"columns.box.{side}": column for side, column in sides.items()}
    wanted |= {"keep_together.column": dataset.together} if dataset.together else {}
    for key, column in (wanted | {f"extras.{column}": column for column in dataset.extras}).items():
        if column not in header:
            other = next((d for d in ";\t|" if dataset.delimiter != d and len(header) == 1 and d in header[0]), None)
            hint = f"; is {other!r} its delimiter? set dataset.delimiter" if other else nearest(column, header)
            if key == "columns.label" and not hint and len(header) > _FEW:
                hint = "; has it a column a class (one-hot)? write the name of the class in one column"
            raise DataError(
                f"{name} has no column {column!r} (dataset.{key}){hint} (its columns: {', '.join(map(repr, header))}): "
                "correct the key or the table"
            )


class TableForm:
    """Watches the rows of a table go by: which columns hold nothing but 0 and 1, and how many 1 stand in a row."""

    def __init__(self, name: str, dataset: CsvDataset) -> None:
        """Nothing seen yet; `name` is the table's, for messages."""
        columns = dataset.columns
        self._name, self._label = name, columns.label
        self._known = {theirs for several in dataset.labels.values() for theirs in several}
        box = columns.box.model_dump().values() if columns.box else ()
        self._used = {columns.path, columns.split, columns.group, columns.licence, *box, *dataset.extras}
        self._binary: list[str] | None = None
        self._rows = 0
        self._sums: set[int] = set()

    def watch(self, rows: Iterable[tuple[dict[str, str], str]]) -> Iterator[tuple[dict[str, str], str]]:
        """The same rows, values by column and what is wrong with them."""
        for row, misfit in rows:
            if not misfit and (self._binary is None or self._label in self._binary):
                self._note(row)
            yield row, misfit

    def _note(self, row: Mapping[str, str]) -> None:
        candidates = [column for column in row if column not in self._used] if self._binary is None else self._binary
        self._binary = [column for column in candidates if row[column].strip().casefold() in _BINARY]
        self._rows += 1
        self._sums.add(sum(row[column].strip().casefold() in _ONE for column in self._binary))

    def require_one_class(self, labels: Iterable[str]) -> None:
        """Refuses a table that has several classes a row, or a column for each.

        Raises:
            DataError: it looks like that, and `dataset.labels` does not name what would be its classes.
        """
        given = set(labels) - self._known
        if given:
            self._refuse_one_hot()
        for label in sorted(given):
            if _is_list(label) or any(_is_combined(label, separator, given) for separator in "|;, "):
                raise DataError(
                    f"{self._name}: label {label!r} looks like several classes of one image (multi-label), of which "
                    "Podium compares none: keep one class a row, or name it in dataset.labels if it is one class"
                )

    def _refuse_one_hot(self) -> None:
        columns = self._binary or []
        one_hot = len(columns) > 1 and self._sums == {1}
        if self._label not in columns or self._rows < 2 or not (one_hot or len(columns) > _FEW):
            return
        told = ", ".join(map(repr, columns[:_SHOWN])) + ("" if len(columns) <= _SHOWN else ", ...")
        form = "one-hot" if one_hot else "multi-label"
        raise DataError(
            f"{self._name}: columns {told} hold nothing but 0 and 1, so it looks {form}, a column a class: write the "
            "name of the class in one column (dataset.columns.label), or name the classes behind 0 and 1 of "
            f"{self._label!r} in dataset.labels"
        )


def _is_list(label: str) -> bool:
    """Whether a label is a list as programs write one: `['cat', 'dog']`."""
    return label.startswith(("[", "{")) and label.endswith(("]", "}")) and "," in label


def _is_combined(label: str, separator: str, labels: set[str]) -> bool:
    """Whether a label is put together of others: all parts are labels too, or it has a bar, which no name has."""
    parts = [part.strip() for part in label.split(separator)]
    return len(parts) > 1 and all(parts) and (separator == "|" or labels.issuperset(parts))
