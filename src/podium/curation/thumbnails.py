"""Small pictures of prepared images, embedded in a page. Rule: those of the test split are not shown.

The same pixels give the same bytes. Depends on Pillow and `podium.data`.
"""

import io
from collections.abc import Sequence

import numpy as np
import pandas as pd
from PIL import Image

from podium.console.pages import inlined
from podium.core.errors import DataError
from podium.data.shards import PreparedSplit

SIDE = 96  # pixels at most
_QUALITY = 82  # of the JPEG


class Thumbnails:
    """Pictures of train and val by `image_id`."""

    def __init__(self, splits: Sequence[PreparedSplit]) -> None:
        """Remembers where each image is.

        Args:
            splits: train and val, opened for fitting.

        Raises:
            DataError: one of them is the test split.
        """
        if any(split.name == "test" for split in splits):
            raise DataError("images of the test split are not shown: only train and val are")
        self._splits = [(split, pd.Index(split.index["image_id"])) for split in splits]

    def uri(self, image_id: str) -> str:
        """A `data:` address of the picture as JPEG; empty for an image that is not in train or val."""
        for split, ids in self._splits:
            if image_id in ids:
                row = np.array([ids.get_loc(image_id)], dtype=np.int64)
                return _jpeg(Image.fromarray(split.images(row)[0]))
        return ""


def _jpeg(image: Image.Image) -> str:
    """A picture of at most `SIDE` pixels as a data URI."""
    if image.width > SIDE:
        image = image.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=_QUALITY, optimize=True)
    return inlined(out.getvalue(), "jpeg")
