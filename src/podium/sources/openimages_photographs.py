"""Who made a photograph of Open Images, under which licence, and how it is turned. Stands on `core` and pyarrow."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
from numpy.typing import NDArray

from podium.sources.openimages_tables import scan, texts

UNKNOWN_ROTATION: Final = -1
_REQUIRED: Final = {"ImageID": pa.string(), "License": pa.string(), "Author": pa.string()}
_OPTIONAL: Final = {"OriginalLandingURL": pa.string(), "Rotation": pa.string()}


@dataclass(frozen=True)
class Photograph:
    """What the dataset says of one photograph; texts are empty where it says nothing.

    Attributes:
        licence: an address such as `https://creativecommons.org/licenses/by/2.0/`.
        author: name.
        page: where the photograph was published.
        rotation: degrees (0, 90, 180, 270) counterclockwise that picture and boxes would have to be turned by to stand
            upright; -1 where that is not known. Boxes are drawn on the picture as it is stored, so neither is turned.
            https://storage.googleapis.com/openimages/web/2018-05-17-rotation-information.html
    """

    licence: str = ""
    author: str = ""
    page: str = ""
    rotation: int = UNKNOWN_ROTATION


def photographs(path: Path, ids: NDArray[np.bytes_]) -> dict[str, Photograph]:
    """Streams the table of photographs and keeps some.

    Args:
        path: `...-images-with-rotation.csv`.
        ids: the photographs wanted.

    Returns:
        Those found, by id.

    Raises:
        DataError: a column is missing or a row is damaged.
    """
    found: dict[str, Photograph] = {}
    where = ds.field("ImageID").isin(texts(ids))
    for batch in scan(path, _REQUIRED, _OPTIONAL, where, line_breaks=True):
        for row in batch.to_pylist():
            found[row["ImageID"]] = Photograph(
                licence=(row["License"] or "").strip(),
                author=(row["Author"] or "").strip(),
                page=(row.get("OriginalLandingURL") or "").strip(),
                rotation=_degrees(row.get("Rotation")),
            )
    return found


def _degrees(said: str | None) -> int:
    """`270.0` and `270` are the same; empty, nan and anything else are unknown."""
    number = (said or "").strip().removesuffix(".0")
    return int(number) if number in ("0", "90", "180", "270") else UNKNOWN_ROTATION
