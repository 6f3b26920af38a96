"""Which images published weights have seen, read from their names: timm's and torchvision's only statement of it.

Canonical: the sets in the order in which they were seen, joined by `_ft_` (`in1k`, `in12k_ft_in1k`); `unknown` where
the name leaves a set out. `in21k` and `in22k` are two cuts of ImageNet by different people and are kept apart.
"""

from typing import Final

UNKNOWN: Final = "unknown"
_SETS: Final = frozenset(
    (
        *("in1k", "in12k", "in21k", "in22k", "inw21k"),  # ImageNet and its winter 2021 edition
        *("jft", "ig1b", "yfcc15m", "yfcc100m", "cc12m", "sa1b", "webli", "merged2b", "m30m", "m38m"),
        *("laion400m", "laion2b", "laiona", "datacomp1b", "datacompxl", "dfn2b", "dfn5b", "dfndr2b"),
        *("lvd142m", "lvd1689m", "sat493m", "openai"),  # openai: the unpublished 400 million pairs of CLIP
    )
)
_HIDDEN: Final = frozenset(("swag", "seer", "ssld", "fcmae", "bamboo", "indomain"))  # methods with images of their own
_TUNED: Final = "ft"


def of_tag(tag: str) -> str:
    """Pretraining of a timm tag.

    Args:
        tag: what follows the architecture's name, such as `fb_in22k_ft_in1k`.

    Returns:
        The canonical name: `in22k_ft_in1k`.
    """
    words = tag.split("_")
    seen: list[str] = []
    for word in words:
        if word in _HIDDEN or (word == _TUNED and not seen):
            return UNKNOWN
        if word in _SETS:
            seen.append(word)
    return "_ft_".join(seen) or UNKNOWN


def of_enum(member: str) -> str:
    """Pretraining of a torchvision enum's member.

    Args:
        member: such as `IMAGENET1K_V2`.

    Returns:
        `in1k`, unless the member tells of other images.
    """
    name, *words = member.lower().split("_")
    if name != "imagenet1k" or _HIDDEN & set(words):
        return UNKNOWN
    return "in1k"
