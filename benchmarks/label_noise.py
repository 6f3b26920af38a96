"""How many planted wrong labels are found on the sample: `python -m benchmarks.label_noise [PROJECT]`.

PROJECT is a folder in which `dvc repro validate` has run on the sample (this checkout by default). 3 % of the labels of
train and val are replaced by others at random, with five seeds. The baseline is the same cheap model without confident
learning and calibrated probabilities: a label is doubted where the model predicts another class.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import numpy as np

from podium.core.layout import Layout
from podium.curation import findings, linear_probe
from podium.curation.linear_probe import ProbeImages
from podium.data.shards import open_for_fitting
from podium.records.base import read_parquet

SHARE, SEEDS = 0.03, 5
LEAST_RECALL, LEAST_PRECISION = 0.6, 0.4


def planted(drawn: ProbeImages, seed: int) -> tuple[ProbeImages, set[str]]:
    """The draw with some labels replaced, and the ids of those images."""
    random = np.random.default_rng(seed)
    rows = drawn.rows.copy()
    names = sorted(rows["label"].unique())
    wrong = random.choice(len(rows), int(SHARE * len(rows)), replace=False)
    column = rows["label"].tolist()
    for at in wrong:
        column[at] = str(random.choice([name for name in names if name != column[at]]))
    rows["label"] = column
    return replace(drawn, rows=rows), set(rows["image_id"].iloc[wrong])


def disagreeing(drawn: ProbeImages) -> set[str]:
    """Ids of the images that the cheap model, fitted on the others, names differently."""
    rows = drawn.rows
    judged = linear_probe.cross_validate(
        drawn.appearance, rows["label"], rows["split_group"], folds=5, seed=0, mirrored=drawn.mirrored
    )
    if judged is None:
        return set()
    differs = judged.probabilities.argmax(axis=1) != judged.codes
    return set(rows["image_id"].iloc[judged.rows[differs]])


def scores(found: set[str], wrong: set[str]) -> tuple[float, float]:
    """Recall and precision."""
    return len(found & wrong) / len(wrong), len(found & wrong) / max(1, len(found))


def main() -> int:
    """Prints recall and precision by seed, and one JSON line."""
    layout = Layout(Path(sys.argv[1]) if sys.argv[1:] else Path.cwd())
    splits = [open_for_fitting(layout.prepared, split) for split in ("train", "val")]
    drawn = linear_probe.draw_images(splits, read_parquet(layout.manifest), read_parquet(layout.measures))
    ours, plain = [], []
    print(f"{'seed':>4}{'planted':>9}{'found':>8}{'recall':>8}{'precision':>11}{'baseline':>18}{'seconds':>9}")
    for seed in range(SEEDS):
        changed, wrong = planted(drawn, seed)
        start = perf_counter()
        noise = findings.find_label_noise(changed)
        seconds = perf_counter() - start
        ours.append(scores({candidate.image_id for candidate in noise.candidates}, wrong))
        plain.append(scores(disagreeing(changed), wrong))
        print(
            f"{seed:>4}{len(wrong):>9}{noise.count:>8}{ours[-1][0]:>8.2f}{ours[-1][1]:>11.2f}"
            f"{plain[-1][0]:>10.2f}{plain[-1][1]:>8.2f}{seconds:>9.1f}"
        )
    (recall, precision), (_, baseline) = np.mean(ours, axis=0), np.mean(plain, axis=0)
    claim = {
        "claim": "wrong labels planted in 3 % of the sample are found among few candidates",
        "baseline": {"what": "the cheap model predicts another class", "precision": round(float(baseline), 3)},
        "figure": {"recall": round(float(recall), 3), "precision": round(float(precision), 3)},
        "target": {"recall": LEAST_RECALL, "precision": LEAST_PRECISION},
        "holds": bool(recall >= LEAST_RECALL and precision >= max(LEAST_PRECISION, baseline)),
        "unit": f"fraction, mean of {SEEDS} seeds",
    }
    print(json.dumps(claim))
    return 0


if __name__ == "__main__":
    sys.exit(main())
