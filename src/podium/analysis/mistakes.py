"""The worst mistakes as pictures a person can look through.

A mistake is the worse the surer the model was of the wrong class.
"""

import unicodedata
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from podium.analysis.predictions import Predictions

SIDE = 256  # pixels a small image is enlarged to, at least
_PART_BYTES = 60  # of each of the three parts of a name, in UTF-8: three parts fit every file system's 255
_KEPT_CATEGORIES = ("L", "M", "N", "So", "Sk")
_KEPT_CHARACTERS = "-_.\u200d"  # the zero-width joiner holds some emoji together


def worst_mistakes(predictions: Predictions, count: int) -> NDArray[np.int64]:
    """Rows of the wrongly named images, the most confident first.

    Args:
        predictions: on the test split.
        count: how many at most.

    Returns:
        Row numbers, shape (M,) with M <= `count`; equals are in the order of `image_id`.
    """
    wrong = np.flatnonzero(~predictions.correct)
    order = np.argsort(-predictions.confidence[wrong], kind="stable")
    return wrong[order][:count].astype(np.int64)


def mistake_table(predictions: Predictions, rows: NDArray[np.int64]) -> pd.DataFrame:
    """What `mistakes.csv` says about them.

    Args:
        predictions: on the test split.
        rows: of the mistakes, shape (M,).

    Returns:
        M rows with `path label predicted confidence file`; `file` is unique, also where case is ignored.
    """
    index = predictions.index.iloc[rows]
    predicted = [predictions.classes[number] for number in predictions.predicted[rows]]
    taken: set[str] = set()
    files = [
        _unique(mistake_name(truth, answer, path), image_id, taken)
        for truth, answer, path, image_id in zip(
            index["label"], predicted, index["path"], index["image_id"], strict=True
        )
    ]
    return pd.DataFrame(
        {
            "path": index["path"].to_numpy(),
            "label": index["label"].to_numpy(),
            "predicted": predicted,
            "confidence": [float(f"{c:.6g}") for c in predictions.confidence[rows]],
            "file": files,
        }
    )


def mistake_name(truth: str, predicted: str, path: str) -> str:
    """A readable file name for one mistake.

    Args:
        truth: the true class.
        predicted: the predicted class.
        path: of the image inside its source, forward slashes.

    Returns:
        `<true>_to_<predicted>_<file>.png`; letters, digits and pictograms of any script stay, everything else becomes
        `_`; at most 192 bytes of UTF-8.
    """
    return f"{_part(truth)}_to_{_part(predicted)}_{_part(PurePosixPath(path).stem)}.png"


def write_picture(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Writes one prepared image as PNG, enlarged by a whole factor to at least `SIDE` pixels.

    Args:
        path: a `.png` file in a folder that exists.
        pixels: uint8, shape (H, W, 3).
    """
    from PIL import Image

    factor = max(1, -(-SIDE // min(pixels.shape[:2])))
    image = Image.fromarray(pixels)
    image.resize((image.width * factor, image.height * factor), Image.Resampling.LANCZOS).save(path, format="PNG")


def _part(text: str) -> str:
    """A text as a part of a file name, at most `_PART_BYTES` long in UTF-8, never empty."""
    kept = "".join(c if _stays(c) else "_" for c in unicodedata.normalize("NFC", text)).strip("._")
    while len(kept.encode()) > _PART_BYTES:
        kept = kept[:-1]
    return kept or "unnamed"


def _stays(character: str) -> bool:
    """Whether a character is kept; any other becomes `_`."""
    category = unicodedata.category(character)
    return character in _KEPT_CHARACTERS or category[0] in _KEPT_CATEGORIES or category in _KEPT_CATEGORIES


def _unique(name: str, image_id: str, taken: set[str]) -> str:
    """The name, with the image's id where another file has it up to case; adds it to `taken`."""
    if name.casefold() in taken:
        name = f"{name.removesuffix('.png')}_{image_id}.png"
    taken.add(name.casefold())
    return name
