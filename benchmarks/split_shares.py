"""How far shares of a class fall from what was asked: `python -m benchmarks.split_shares`.

Every image draws its own split, so shares hold on average. Many classes of one size are drawn with the default shares,
alone and in groups of near copies, and their test images counted; the formulas are those of docs/data.md.
"""

import json

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from podium.config.preprocess import Preprocess
from podium.curation.splits import assign_splits

HOW = Preprocess(image_size=8)
SIZES, CLASSES, IMAGES = (12, 36, 60, 100, 300, 1000, 3000), 400, 300_000  # images a class; drawn in all, at most
GROUPS = (1, 2, 3, 5, 10)
TARGET = 0.01


def main() -> int:
    """Prints two tables and one JSON line."""
    print("images a class | in test, mean | deviation (formula) | 95 % of classes | below half | fewer than 5")
    worst = 0.0
    for size in SIZES:
        test = counts(size, 1)
        mean, formula = test.mean(), (size * HOW.test * (1 - HOW.test)) ** 0.5
        low, high = np.quantile(test, (0.025, 0.975))
        half, five = (test < size * HOW.test / 2).mean(), (test < 5).mean()
        print(
            f"{size:,} | {mean / size:.1%} | {test.std() / size:.1%} ({formula / size:.1%}) | "
            f"{low / size:.1%} to {high / size:.1%} | {half:.1%} | {five:.1%}",
            flush=True,
        )
        if size > min(SIZES):  # there, a split without an image is filled
            worst = max(worst, abs(mean / size - HOW.test))
    print("\nimages a group | in test (formula)")
    for group in GROUPS:
        share, formula = counts(300, group).mean() / 300, 1 - (1 - HOW.test) ** group
        print(f"{group} | {share:.1%} ({formula:.1%})", flush=True)
        worst = max(worst, abs(share - formula))
    found = {"figure": round(worst, 4), "target": TARGET, "holds": bool(worst <= TARGET)}
    claim = {
        "claim": "shares of test hold on average, as the formulas say",
        "unit": "largest distance from the formula",
    }
    print(json.dumps(claim | found))
    return 0


def counts(size: int, group: int) -> NDArray[np.float64]:
    """Test images of each of many classes of `size` images, in groups of `group` near copies."""
    rows = np.arange(min(CLASSES, IMAGES // size) * size)
    ids = pd.Series([f"{size}-{group}-{row}" for row in rows])
    within = rows // size * size + rows % size // group * group
    images = pd.DataFrame({"image_id": ids, "photo_sha256": ids, "split_group": ids[within].to_numpy()})
    images = images.assign(source="a", label=rows // size, source_split="", keep_together="")
    drawn = assign_splits(images, HOW).split == "test"
    return np.asarray(np.bincount(rows // size, drawn), np.float64)


if __name__ == "__main__":
    raise SystemExit(main())
