"""The golden batch: original test images with the probabilities that a loaded package must give for them."""

import base64
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, Field

from podium.config.runtime import Runtime
from podium.core.errors import DataError
from podium.core.layout import MANIFEST, MODEL_CARD, PREDICTIONS, Layout
from podium.records.base import Record, read_parquet
from podium.records.training import ModelCard

GOLDEN_IMAGES = 16
GOLDEN_BYTES = 16 * 2**20
TOLERANCE = 1e-4
TOLERANCE_ELSEWHERE = 2e-2
"""bfloat16 keeps 8 bits of a number, and CUDA adds in another order than the CPU a package may be served on."""


def _base64(text: str) -> str:
    """The text, if it is base64; `binascii.Error` is a ValueError otherwise."""
    base64.b64decode(text, validate=True)
    return text


class GoldenImage(Record):
    """An original test image and what the model said about it.

    `bytes` is the file in base64: the original one, or for a crop its part of the photograph as a PNG.
    """

    image_id: str
    path: str
    label: str
    bytes: Annotated[str, AfterValidator(_base64)]
    probabilities: Annotated[list[float], Field(min_length=1)]


class GoldenBatch(Record):
    """`golden.json`: images whose probabilities a loaded package must reproduce within `tolerance`."""

    classes: list[str]
    tolerance: Annotated[float, Field(gt=0, lt=1)]
    images: Annotated[list[GoldenImage], Field(min_length=1)]

    @property
    def files(self) -> list[bytes]:
        """The images as the files they were."""
        return [base64.b64decode(image.bytes) for image in self.images]


def choose_golden_batch(layout: Layout, model: str, runtime: Runtime) -> GoldenBatch:
    """Picks test images, classes in turn, and what was predicted for them with `runtime`, which decides the tolerance.

    Returns:
        At most `GOLDEN_IMAGES` images of together at most `GOLDEN_BYTES` (but at least one).

    Raises:
        DataError: predictions or raw images are missing.
    """
    from podium.data.manifest import RAW_COLUMNS, RawImages, read_manifest
    from podium.data.preprocess import crop_file, region_of

    card = ModelCard.read(layout.model(model) / MODEL_CARD)
    stored = read_parquet(layout.evaluation(model) / PREDICTIONS).sort_values("image_id", ignore_index=True)
    stored["turn"] = stored.groupby("label").cumcount()
    chosen = stored.sort_values(["turn", "label", "image_id"]).head(GOLDEN_IMAGES)
    known = read_manifest(layout.raw / MANIFEST, RAW_COLUMNS).set_index("image_id")
    raw = RawImages(layout.raw)
    columns = [f"p_{name}" for name in card.classes]
    images: list[GoldenImage] = []
    size = 0
    for row in chosen.to_dict("records"):
        if row["image_id"] not in known.index:
            raise DataError(f"test image {row['path']!r} is not in artifacts/raw: run `dvc repro`")
        where = known.loc[row["image_id"]].to_dict()
        photograph = raw.read(where["shard"], where["photo_id"])
        data = crop_file(photograph, region_of(where), card.preprocessing.max_pixels)
        size += len(data)
        if images and size > GOLDEN_BYTES:
            break
        images.append(
            GoldenImage(
                image_id=row["image_id"],
                path=row["path"],
                label=row["label"],
                bytes=base64.b64encode(data).decode(),
                probabilities=[float(row[c]) for c in columns],
            )
        )
    return GoldenBatch(classes=card.classes, tolerance=tolerance_of(runtime.model_dump()), images=images)


def tolerance_of(runtime: Mapping[str, object]) -> float:
    """How far a probability may be from the one that was stored, by the runtime in the model's card."""
    exact = runtime.get("device") == "cpu" and runtime.get("dtype") == "float32"
    return TOLERANCE if exact else TOLERANCE_ELSEWHERE
