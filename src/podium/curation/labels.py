"""Labels that look wrong: confident learning on cross-validated probabilities of a cheap model.

Rule: candidates for a person to look at; nothing is ever removed. Judged are train and val only. Depends on cleanlab
and scikit-learn; import it at the point of use.
"""

import numpy as np
from cleanlab.filter import find_label_issues

from podium.curation.cheap import LEAST_PICTURES, judge
from podium.curation.features import Drawn
from podium.records.profile import LabelCandidate, LabelNoise

MOST_CANDIDATES = 100
DOUBTFUL = 0.05
"""Calibrated probability of the given label below which an image can be a candidate.

Confident learning alone names most of the images that a weak model gets wrong. Measured on the sample with 3 % of the
labels replaced at random: of the candidates about 36 % were planted without this and 52 % with it, at a recall of 0.72
instead of 0.76; without planted labels 2 % of the images are candidates instead of 4 %.
"""


def label_noise(drawn: Drawn, *, folds: int = 5, seed: int = 0) -> LabelNoise:
    """Ranks images whose label looks wrong.

    The rule is confident learning (Northcutt et al., Confident learning: estimating uncertainty in dataset labels,
    2021), pruned both by class and by noise rate, ranked by the probability of the given label.

    Args:
        drawn: images of train and val as features.
        folds: of the cross-validation.
        seed: of the folds.

    Returns:
        Candidates, the most doubtful first.
    """
    rows = drawn.rows
    judged = judge(drawn.looks, rows["label"], rows["split_group"], folds=folds, seed=seed, mirrored=drawn.mirrored)
    if judged is None:
        note = f"not judged: fewer than two classes have {max(folds, LEAST_PICTURES)} different pictures"
        return LabelNoise(
            images=0, classes=0, folds=folds, accuracy=0, chance=0, count=0, share=0, candidates=[], note=note
        )
    own = judged.probabilities[np.arange(len(judged.codes)), judged.codes]
    found = find_label_issues(judged.codes, judged.probabilities, filter_by="both", n_jobs=1)
    doubted = np.flatnonzero(found & (own < DOUBTFUL))
    ranked = doubted[np.lexsort((doubted, own[doubted].round(6)))]
    best = judged.probabilities.argmax(axis=1)
    candidates = []
    for at in ranked[:MOST_CANDIDATES]:
        row = rows.iloc[int(judged.rows[at])]
        candidates.append(
            LabelCandidate(
                image_id=row["image_id"],
                path=row["path"],
                split=row["split"],
                label=row["label"],
                suggested=judged.names[best[at]],
                probability_label=round(float(own[at]), 4),
                probability_suggested=round(float(judged.probabilities[at, best[at]]), 4),
            )
        )
    images = len(judged.rows)
    return LabelNoise(
        images=images,
        classes=len(judged.names),
        folds=folds,
        accuracy=round(float((best == judged.codes).mean()), 4),
        chance=round(float(np.bincount(judged.codes).max() / images), 4),
        count=len(ranked),
        share=round(len(ranked) / images, 4),
        candidates=candidates,
    )
