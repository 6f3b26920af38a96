"""The CSV files of earlier stages as tables. Depends on pandas, which is imported when one is read."""

from pathlib import Path
from typing import TYPE_CHECKING

from podium.core.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

_MAY_BE_EMPTY = ("val_loss", "val_accuracy")  # of a trial that ended before an epoch


def read_table(path: Path) -> "pd.DataFrame":
    """Reads a CSV file.

    Args:
        path: the file; a class in it may be called `NA` or `null`.

    Returns:
        Numbers exactly as they were written. Only an empty loss or accuracy is missing (NaN); other empty cells are "".

    Raises:
        DataError: the file does not exist.
    """
    import pandas as pd

    if not path.is_file():
        raise DataError(f"{path} does not exist: run `dvc repro` to make it")
    empty = {column: [""] for column in _MAY_BE_EMPTY}
    return pd.read_csv(path, keep_default_na=False, na_values=empty, float_precision="round_trip")
