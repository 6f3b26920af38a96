"""What is in two splits, by the manifest and by the shards, or was seen by weights before: suite `leakage`."""

from typing import TYPE_CHECKING

from podium.config.validate import Critical
from podium.curation.expectations.expectation import CannotCheck, DatasetFacts, Figures, expectation, offending

if TYPE_CHECKING:
    from podium.curation.shard_check import ShardCheck

_DIGITS = 16  # of a digest
_TOLD = 3  # pairs


@expectation(
    Critical(),
    suite="leakage",
    sentence="No model starts from weights that were trained on images of val or test",
    why="Own weights of an earlier split remember its training images; where those are tested now, memory is measured.",
    expected="0 images of val and test seen",
    remedy="use the preprocess.split_seed and the images these weights were trained with, or other weights",
)
def first_weights_unseen(facts: DatasetFacts, _: Critical) -> Figures:
    """Images of val and test that weights trained by Podium have seen, or that belong to the group of such an image."""
    images = facts.columns("photo_sha256", "split", "split_group")
    held_out, photographs = images["split"].isin(["val", "test"]), images["photo_sha256"].str[:_DIGITS]
    seen = {
        model: held_out & images["split_group"].isin(images.loc[photographs.isin(digests), "split_group"])
        for model, digests in facts.trained_on.items()
    }
    counts = {model: int(rows.sum()) for model, rows in seen.items()}
    some = held_out & False
    for rows in seen.values():
        some |= rows
    told = ", ".join(f"{count} by the weights of {model}" for model, count in counts.items() if count)
    return Figures(
        values={f"images seen by the weights of {model}": count for model, count in counts.items()} or {"images": 0},
        most=0,
        observed=told or f"0 seen by the own weights of {len(counts)} models",
        images=facts.paths(some),
    )


@expectation(
    Critical(),
    suite="leakage",
    sentence="No picture (the same pixels) is in two splits",
    why="A test picture that was trained on measures memory, and makes every model look better than it is.",
    expected="0 pictures in two splits",
    remedy="run `dvc repro -f preprocess`, which keeps copies of a picture on one side",
)
def image_in_one_split(facts: DatasetFacts, _: Critical) -> Figures:
    """Pictures (by the digest of their pixels) in two or more splits."""
    return _count_straddling(facts, sha256="pictures")


@expectation(
    Critical(),
    suite="leakage",
    sentence="No group of duplicates is in two splits",
    why="A resized, cropped or flipped copy of a train picture is as good as the picture itself.",
    expected="0 groups in two splits",
    remedy="run `dvc repro -f preprocess`, which keeps duplicates on one side",
)
def duplicates_in_one_split(facts: DatasetFacts, _: Critical) -> Figures:
    """Groups of duplicates in two or more splits."""
    return _count_straddling(facts, duplicate_group="groups")


@expectation(
    Critical(),
    suite="leakage",
    sentence="No photograph has crops in two splits",
    why="Two crops of one photograph share its light, its background and its camera: the second one is no news.",
    expected="0 photographs in two splits",
    remedy="run `dvc repro -f preprocess`, which keeps the crops of a photograph on one side",
)
def photo_in_one_split(facts: DatasetFacts, _: Critical) -> Figures:
    """Photographs with crops in two or more splits, by their name and by the bytes of their file."""
    return _count_straddling(facts, photo_id="photographs", photo_sha256="files with the same bytes")


@expectation(
    Critical(),
    suite="leakage",
    sentence="No group of images that belong together is in two splits",
    why="Crops and copies form chains (a copy of the photograph of another crop); a chain must not straddle.",
    expected="0 groups in two splits",
    remedy="run `dvc repro -f preprocess`, which keeps such groups on one side",
)
def split_group_in_one_split(facts: DatasetFacts, _: Critical) -> Figures:
    """Groups of images that belong together (duplicates, crops, chains of both) in two or more splits."""
    return _count_straddling(facts, split_group="groups")


def _count_straddling(facts: DatasetFacts, **words: str) -> Figures:
    """How many values of each column are in two or more splits; given is what the columns name."""
    import numpy as np
    import pandas as pd

    counts: dict[str, int] = {}
    there = pd.Series(False, index=facts.manifest.index)
    for column, word in words.items():
        images = facts.columns(column, "split")
        codes, keys = pd.factorize(images[column])  # -1 where missing, which suite `schema` names
        sides, _ = pd.factorize(images["split"])
        known = (codes >= 0) & (sides >= 0)
        pairs = np.unique(codes[known] * (sides.max() + 1) + sides[known]) // (sides.max() + 1)
        straddling = np.bincount(pairs, minlength=len(keys)) > 1
        counts[f"{word} in two or more splits"] = int(straddling.sum())
        there |= known & straddling[codes]
    broken = [of for of, count in counts.items() if count]
    return Figures(
        values=counts,
        most=0,
        observed=", ".join(f"{counts[of]} {of}" for of in broken or counts),
        images=facts.paths(there),
    )


@expectation(
    Critical(),
    suite="leakage",
    sentence="The shards of train and val hold the images, pixels, labels and groups that the manifest says",
    why="The other leakage checks read the manifest: where it is wrong of what a model is fitted on, they see nothing.",
    expected="0 images in another split, with other pixels, another label or in another group",
    remedy="run `dvc repro -f preprocess`; do not edit artifacts/prepared",
)
def manifest_is_true(facts: DatasetFacts, _: Critical) -> Figures:
    """Images of which splits, digests, labels and groups, derived anew, differ from the manifest."""
    found = _checked(facts)
    words = {
        "images in another split than the manifest says": found.other_split,
        "images with other pixels": found.other_pixels,
        "images with another label": found.other_label,
        "images apart from what belongs together": found.other_group,
    }
    broken = [of for of, paths in words.items() if paths]
    return Figures(
        values={of: len(paths) for of, paths in words.items()},
        most=0,
        observed=", ".join(f"{len(words[of])} {of}" for of in broken or words),
        images=offending(path for paths in words.values() for path in paths),
    )


@expectation(
    Critical(),
    suite="leakage",
    sentence="No image of val looks like one of train by a second measure, and no prepared pixels are in two splits",
    why="The search that forms groups can miss a copy; the detail of small grey pictures is compared without its help.",
    expected="0 pairs of near copies in train and val, of a sample of val; 0 images with the same pixels in two splits",
    remedy="look at the pairs; where they are copies, join them with dataset.keep_together or delete one",
)
def near_copies_in_one_split(facts: DatasetFacts, _: Critical) -> Figures:
    """Pairs of near copies, one in train, one in val; both paths are named."""
    found = _checked(facts)
    pairs = [f"{one} and {other}" for one, other in found.near_copies]
    more = f" and {len(pairs) - _TOLD} more" if pairs[_TOLD:] else ""
    plain = f", {found.without_detail} too small or too plain for it" if found.without_detail else ""
    told = f": {'; '.join(pairs[:_TOLD])}{more}" if pairs else f" ({found.compared} images of val compared{plain})"
    return Figures(
        values={"pairs of near copies": len(pairs), "images with the same prepared pixels": len(found.same_pixels)},
        most=0,
        observed=f"{len(pairs)} pairs{told}; {len(found.same_pixels)} images with the same pixels in two splits",
        images=offending([*found.same_pixels, *(path for pair in found.near_copies for path in pair)]),
    )


def _checked(facts: DatasetFacts) -> "ShardCheck":
    """What was found.

    Raises:
        CannotCheck: the shards were not read.
    """
    if facts.shards is None:
        raise CannotCheck("the shards of train and val were not read")
    return facts.shards
