"""A sound prepared dataset in memory, for tests of expectations: three classes, two sources, measures, probes."""

from typing import Any

import numpy as np
import pandas as pd

from podium.curation.expectations.expectation import NOBODY, DatasetFacts, Figures, Offending
from podium.curation.shard_check import ShardCheck
from podium.data.manifest import MEASURES, PREPARED_COLUMNS
from podium.records.base import ParquetTable
from podium.records.profile import LabelCandidate, LabelNoise, Probe, QualityFlag, Shortcuts
from tests.raw_images import raw_row

LABELS = ("lemon", "orange", "귤")


def manifest(rows: int = 4) -> pd.DataFrame:
    """`rows` images per class and split; nothing is wrong with them."""
    made: list[dict[str, object]] = []
    for label in LABELS:
        for split in ("train", "val", "test"):
            for number in range(rows):
                key = f"{label}-{split}-{number}"
                made.append(
                    {
                        **raw_row("", label),
                        "image_id": key,
                        "photo_id": f"photo {key}",
                        "photo_sha256": f"bytes {key}",
                        "path": f"{label}/{split}{number}.jpg",
                        "source": ("a", "b")[number % 2],
                        "split": split,
                        "source_split": "",
                        "sha256": f"sha {key}",
                        "prepared_sha256": "",
                        "phash": "0" * 16,
                        "width": 40,
                        "height": 32,
                        "duplicate_group": key,
                        "duplicate_kind": "",
                        "split_group": key,
                        "note": "",
                    }
                )
    return pd.DataFrame(made).loc[:, list(PREPARED_COLUMNS)]


def measures(frame: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Random measures that have nothing to do with the split."""
    rng = np.random.default_rng(seed)
    values = {name: rng.normal(size=len(frame)).astype(np.float32) for name in MEASURES}
    return pd.DataFrame({"image_id": frame.get("image_id"), "split": frame.get("split"), **values}, index=frame.index)


def probe(excess: float, giveaways: tuple[str, ...] = (), note: str = "") -> Probe:
    """A probe for the label that found so much more than chance."""
    return Probe(
        predicted="label",
        seen="8 pixels of border",
        images=24,
        classes=3,
        balanced_accuracy=1 / 3 + excess * 2 / 3,
        low=0.2,
        high=0.6,
        chance=1 / 3,
        excess=excess,
        giveaways=list(giveaways),
        note=note,
    )


def noise(count: int = 0, note: str = "") -> LabelNoise:
    """`count` of 24 labels are doubted, the first ones of lemon in train."""
    candidates = [
        LabelCandidate(
            image_id=f"lemon-train-{number}",
            path=f"lemon/train{number}.jpg",
            split="train",
            label="lemon",
            suggested="orange",
            probability_label=0.1,
            probability_suggested=0.8,
        )
        for number in reversed(range(count))
    ]
    return LabelNoise(
        images=24,
        classes=3,
        folds=5,
        accuracy=0.8,
        chance=1 / 3,
        count=count,
        share=count / 24,
        candidates=candidates,
        note=note,
    )


def shortcuts(border: Probe | None = None, source: Probe | None = None) -> Shortcuts:
    """What the probes found: little, unless others are given."""
    return Shortcuts(
        label_from_border=border or probe(0.1),
        label_from_aspect=probe(0, note="not run: all images have the same aspect ratio"),
        source_from_image=source or probe(0.1),
    )


def facts(frame: pd.DataFrame | ParquetTable | None = None, rejected: int = 0, **changes: Any) -> DatasetFacts:
    """Facts of a sound dataset, or of `frame`, with some parts changed."""
    sound: dict[str, Any] = {
        "manifest": manifest() if frame is None else frame,
        "rejected": pd.DataFrame({"path": [f"bad{n}.jpg" for n in range(rejected)], "kind": "unreadable"}),
        "image_size": 32,
        "quality": [QualityFlag(name="dark", sentence="is dark", threshold=0.1, count=0, worst=[])],
        "label_noise": noise(),
        "shortcuts": shortcuts(),
        "shards": ShardCheck(),
    }
    return DatasetFacts(**{**sound, **changes})


def judged(figures: Figures) -> tuple[list[str], str, Offending]:
    """What is out of bounds, what was observed and the offending images, as the engine would have it."""
    low = -np.inf if figures.least is None else figures.least
    high = np.inf if figures.most is None else figures.most
    broken = [of for of, value in figures.values.items() if not low <= value <= high]
    return broken, figures.observed, figures.images if broken else NOBODY
