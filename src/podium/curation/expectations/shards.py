"""What the shards say, held against the manifest: suite `leakage`, derived anew (`curation/shard_check`)."""

from typing import TYPE_CHECKING

from podium.config.validate import Critical
from podium.curation.expectations.expectation import CannotCheck, DatasetFacts, Figures, expectation, offending

if TYPE_CHECKING:
    from podium.curation.shard_check import ShardCheck

_TOLD = 3  # pairs


def _checked(facts: DatasetFacts) -> "ShardCheck":
    """What was found.

    Raises:
        CannotCheck: the shards were not read.
    """
    if facts.shards is None:
        raise CannotCheck("the shards of train and val were not read")
    return facts.shards


@expectation(
    Critical(),
    suite="leakage",
    sentence="The shards of train and val hold the images, pixels and groups that the manifest says",
    why="The other leakage checks read the manifest: where it is wrong of what a model is fitted on, they see nothing.",
    expected="0 images in another split, with other pixels or in another group",
    remedy="run `dvc repro -f preprocess`; do not edit artifacts/prepared",
)
def manifest_is_true(facts: DatasetFacts, _: Critical) -> Figures:
    """Images of which splits, digests and groups, derived anew, differ from the manifest."""
    found = _checked(facts)
    words = {
        "images in another split than the manifest says": found.other_split,
        "images with other pixels": found.other_pixels,
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
    why="The search that forms groups can miss a copy; small grey pictures and SSIM look again, without its help.",
    expected="0 pairs of near copies in train and val, of a sample of val; 0 images with the same pixels in two splits",
    remedy="look at the pairs; where they are copies, join them with dataset.keep_together or delete one",
)
def near_copies_in_one_split(facts: DatasetFacts, _: Critical) -> Figures:
    """Pairs of near copies, one in train, one in val; both paths are named."""
    found = _checked(facts)
    pairs = [f"{one} and {other}" for one, other in found.near_copies]
    more = f" and {len(pairs) - _TOLD} more" if pairs[_TOLD:] else ""
    told = f": {'; '.join(pairs[:_TOLD])}{more}" if pairs else f" ({found.compared} images of val compared)"
    return Figures(
        values={"pairs of near copies": len(pairs), "images with the same prepared pixels": len(found.same_pixels)},
        most=0,
        observed=f"{len(pairs)} pairs{told}; {len(found.same_pixels)} images with the same pixels in two splits",
        images=offending([*found.same_pixels, *(path for pair in found.near_copies for path in pair)]),
    )
