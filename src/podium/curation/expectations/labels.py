"""Whether a picture has one label: suite `labels`.

A picture is its pixels. One that stands in two classes teaches a contradiction and makes one of its test answers wrong
whatever the model says; one that stands everywhere is what a site shows for a picture it no longer has.
"""

import re
from typing import TYPE_CHECKING, Final

from podium.config.validate import Advisory, Critical
from podium.curation.expectations.expectation import DatasetFacts, Figures, expectation, offending

if TYPE_CHECKING:
    import pandas as pd

_SHOWN: Final = 3  # pictures that are told, and paths of one picture
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
    more = f" and {len(told) - _SHOWN} more" if told[_SHOWN:] else ""
    return Figures(
        values={"pictures with several labels": len(told)},
        most=0,
        observed=f"{len(told)} pictures with several labels" + (f": {'; '.join(told[:_SHOWN])}{more}" if told else ""),
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
    more = f" and {len(told) - _SHOWN} more" if told[_SHOWN:] else ""
    return Figures(
        values={"placeholders": len(told)},
        most=0,
        observed=f"{len(told)} placeholders" + (f": {', '.join(told[:_SHOWN])}{more}" if told else ""),
        images=offending([*repeated["path"], *named]),
    )


def _is_named_so(path: str) -> bool:
    """Whether the name of a file says that it is no picture of its class."""
    stem = path.rpartition("/")[2].rpartition(".")[0]
    return _NAMED_SO.search(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", stem)) is not None
