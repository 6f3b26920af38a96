"""What stands in two places: a picture in two classes (suite `labels`), an image in two splits (suite `leakage`).

A picture is its pixels. One that stands in two classes teaches a contradiction and makes one of its test answers wrong
whatever the model says; one that stands everywhere is what a site shows for a picture it no longer has. What is in two
splits is told by the manifest and by the shards, and what was seen before by the weights.
"""

import re
from typing import TYPE_CHECKING, Final

from podium.config.validate import Advisory, Critical
from podium.core.errors import first_few
from podium.curation.expectations.expectation import CannotCheck, DatasetFacts, Figures, expectation, offending

if TYPE_CHECKING:
    import pandas as pd

    from podium.curation.shard_check import ShardCheck

_SHOWN: Final = 3  # pictures or pairs that are told
_REPEATS: Final = 3  # copies of a picture, in several classes, that make it a placeholder
_NAMED_SO: Final = re.compile(
    r"(image|img|photo|pic|picture)[\s_-]*(is[\s_-]*)?(not|no[\s_-]*longer|un)[\s_-]*(found|available)"
    r"|no[\s_-]*(image|img|photo|picture|pic)([\s_-]*(found|available)|$)|placeholder|(image|photo)[\s_-]*missing"
    r"|coming[\s_-]*soon|^404$",
    re.IGNORECASE,
)
_WORTH_A_LOOK: Final = (
    r"(?i)avail|found|placeholder|missing|soon|404|no.?(?:image|img|photo|pic)"  # in millions of names
)
_DIGITS = 16  # of a digest


@expectation(
    Critical(),
    suite="labels",
    sentence="No picture (the same pixels) has two labels",
    why="One of its labels is wrong, or it shows both: whatever a model answers is counted wrong for one copy.",
    expected="0 pictures with two labels",
    remedy="look at the paths, delete the wrong file or both",
)
def one_label_per_picture(facts: DatasetFacts, _: Critical) -> Figures:
    """Pictures (by the digest of their pixels) with several labels; the paths of all their copies are named."""
    copies = _copies_across_classes(facts)
    told = [_told(of_one) for _, of_one in copies.sort_values("path").groupby("sha256", sort=False)]
    return Figures(
        values={"pictures with several labels": len(told)},
        most=0,
        observed=f"{len(told)} pictures with several labels" + (f": {first_few(told, _SHOWN, '; ')}" if told else ""),
        images=offending(copies["path"]),
    )


def _copies_across_classes(facts: DatasetFacts) -> "pd.DataFrame":
    """`sha256 label path` of the pictures that stand in several classes."""
    images = facts.columns("sha256", "label", "path")
    twice = images[images["sha256"].notna() & images["sha256"].duplicated(keep=False)]
    return twice[twice.groupby("sha256")["label"].transform("nunique") > 1]


def _told(copies: "pd.DataFrame") -> str:
    """A picture by one path of each of its labels, and how often it stands there."""
    first = copies.drop_duplicates("label")
    named = " and ".join(f"{path!r} ({label})" for path, label in zip(first["path"], first["label"], strict=True))
    return f"{named}, {len(copies)} times in all" if len(copies) > len(first) else named


@expectation(
    Advisory(),
    suite="labels",
    sentence="No picture stands for one that could not be had",
    why="Sites answer with a picture of their own where a photograph is gone: it shows nothing of its class.",
    expected=f"0 pictures in {_REPEATS} or more copies across classes, 0 files named like a placeholder",
    remedy="look at the paths and delete what is no photograph of its class",
)
def placeholders(facts: DatasetFacts, _: Advisory) -> Figures:
    """Pictures repeated across classes, and files whose name says that they are placeholders (`imageNotFound.gif`)."""
    copies = _copies_across_classes(facts)
    repeated = copies[copies.groupby("sha256")["path"].transform("size") >= _REPEATS]
    pictures = [
        f"{of_one['path'].iloc[0]!r} {len(of_one)} times in {of_one['label'].nunique()} classes"
        for _, of_one in repeated.sort_values("path").groupby("sha256", sort=False)
    ]
    paths = facts.columns("path")["path"].dropna().astype("string")
    suspects = paths[paths.str.contains(_WORTH_A_LOOK)].drop(repeated.index, errors="ignore")
    named = sorted(path for path in suspects if _is_named_so(path))
    told = [*pictures, *(f"{path!r} by its name" for path in named)]
    return Figures(
        values={"placeholders": len(told)},
        most=0,
        observed=f"{len(told)} placeholders" + (f": {first_few(told, _SHOWN)}" if told else ""),
        images=offending([*repeated["path"], *named]),
    )


def _is_named_so(path: str) -> bool:
    """Whether the name of a file says that it is no picture of its class."""
    stem = path.rpartition("/")[2].rpartition(".")[0]
    return _NAMED_SO.search(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", stem)) is not None


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
    there = pd.Series(False, index=facts.columns("split").index)
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
    plain = f", {found.without_detail} too small or too plain for it" if found.without_detail else ""
    told = f": {first_few(pairs, _SHOWN, '; ')}" if pairs else f" ({found.compared} images of val compared{plain})"
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
