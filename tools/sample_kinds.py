"""Kinds of drawn objects: the twelve produce classes of the sample, and random shape classes.

A kind is a set of forms; a form is a family of outline and a span for every trait that is not at its default.
One picture draws each trait uniformly from its span, so a class has a range of looks, and two classes can
share a part of it. The random shape classes use the same traits, so features learned on them carry over, but
each keeps a distance from all twelve (see `distance`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

Span = tuple[float, float]

FAMILIES = ("round", "swept", "bloom", "cup")


@dataclass(frozen=True)
class Traits:
    """What one drawn object looks like; colours are hue, saturation and value in 0..1.

    Attributes:
        aspect: length over width.
        taper: wider at the top (above 0) or at the bottom.
        block: 0 round, 1 box-like.
        tips: nipples at both ends; on a swept body the dark caps.
        dent: dimple at the stalk end.
        tail: thin root at the bottom.
        lobes: number of bulges; above 1 also of ribs.
        lobe_depth: height of the bulges.
        wobble: irregularity of the outline.
        bend: turn of the spine in radians.
        knobs: number of side knobs.
        petals: number of petals.
        petal_width: half width of a petal.
        petal_point: 0 rounded, 1 sharp.
        layers: rings of petals.
        disc: radius of the flower's disc.
        hue, saturation, value: main colour.
        end_hue, end_saturation, end_value: second colour (the far end; the disc of a flower).
        blend: how much of the second colour shows.
        mottle, pores, spots, stripes, rings, rough, gloss: see `sample_shapes.Skin`.
        stem: length of the stalk.
        stem_hue: its hue.
        leaves: number of leaves.
        leaf_length: their length.
        calyx: number of sepals at the stalk end.
        pole: where the stalk end lies, 1 at the rim and 0 facing the camera.
    """

    aspect: float = 1.0
    taper: float = 0.0
    block: float = 0.0
    tips: float = 0.0
    dent: float = 0.0
    tail: float = 0.0
    lobes: float = 0.0
    lobe_depth: float = 0.0
    wobble: float = 0.015
    bend: float = 0.0
    knobs: float = 0.0
    petals: float = 0.0
    petal_width: float = 0.2
    petal_point: float = 0.4
    layers: float = 1.0
    disc: float = 0.0
    hue: float = 0.0
    saturation: float = 0.8
    value: float = 0.8
    end_hue: float = 0.0
    end_saturation: float = 0.5
    end_value: float = 0.5
    blend: float = 0.0
    mottle: float = 0.1
    pores: float = 0.0
    spots: float = 0.0
    stripes: float = 0.0
    rings: float = 0.0
    rough: float = 0.1
    gloss: float = 0.3
    stem: float = 0.0
    stem_hue: float = 0.27
    leaves: float = 0.0
    leaf_length: float = 0.6
    calyx: float = 0.0
    pole: float = 0.9


@dataclass(frozen=True)
class Form:
    """One look of a kind: a family of outline and the spans its traits are drawn from."""

    family: str
    spans: Mapping[str, Span]
    weight: float = 1.0

    def draw(self, rng: np.random.Generator) -> Traits:
        """Return traits drawn uniformly from the spans; a trait without a span keeps its default."""
        return Traits(**{name: float(rng.uniform(*self.spans[name])) for name in sorted(self.spans)})


@dataclass(frozen=True)
class Kind:
    """A class of objects: its name, the group it belongs to, and its forms."""

    name: str
    group: str
    forms: tuple[Form, ...]

    def draw(self, rng: np.random.Generator) -> tuple[str, Traits]:
        """Return the family and the traits of one object of this kind."""
        weights = np.array([form.weight for form in self.forms])
        form = self.forms[int(rng.choice(len(self.forms), p=weights / weights.sum()))]
        return form.family, form.draw(rng)


def _hues(family: str, spans: Mapping[str, Span], *hues: tuple[float, Span]) -> tuple[Form, ...]:
    """Return one form for each (weight, hue span), alike in everything else."""
    return tuple(Form(family, {**spans, "hue": hue}, weight) for weight, hue in hues)


_CITRUS: Mapping[str, Span] = {
    "saturation": (0.72, 0.95), "value": (0.82, 0.98), "mottle": (0.05, 0.18), "pores": (0.35, 0.9),
    "gloss": (0.15, 0.5), "end_hue": (0.16, 0.24), "end_saturation": (0.6, 0.8), "end_value": (0.55, 0.8),
    "blend": (0.0, 0.3), "pole": (0.2, 1.0), "wobble": (0.01, 0.03),
}  # fmt: skip
_PEPPER: Mapping[str, Span] = {
    "saturation": (0.68, 0.92), "value": (0.5, 0.88), "mottle": (0.05, 0.2), "gloss": (0.5, 0.95),
    "stem": (0.25, 0.5), "calyx": (3, 6), "end_hue": (0.0, 0.3), "end_value": (0.4, 0.7),
    "end_saturation": (0.7, 0.9), "blend": (0.0, 0.25), "wobble": (0.02, 0.045), "pole": (0.75, 0.95),
}  # fmt: skip
_ROOT: Mapping[str, Span] = {
    "tail": (0.35, 0.9), "leaf_length": (0.6, 1.2), "wobble": (0.015, 0.045), "pole": (0.9, 0.98),
    "mottle": (0.08, 0.25),
}  # fmt: skip


def _fruit() -> tuple[Kind, ...]:
    """Return the kinds of the fruit group."""
    lemon = {**_CITRUS, "aspect": (1.08, 1.42), "tips": (0.06, 0.3)}
    orange = {**_CITRUS, "aspect": (0.92, 1.12), "tips": (0.0, 0.06), "dent": (0.0, 0.06), "calyx": (0, 5.4)}
    banana: dict[str, Span] = {
        "aspect": (3.0, 5.0), "bend": (0.5, 1.7), "taper": (0.0, 0.2), "tips": (0.08, 0.16),
        "saturation": (0.55, 0.88), "value": (0.72, 0.95), "lobes": (1.6, 2.9), "spots": (0.0, 0.4),
        "stripes": (0.0, 0.2), "end_hue": (0.13, 0.24), "end_saturation": (0.5, 0.8),
        "end_value": (0.6, 0.85), "blend": (0.0, 0.4), "wobble": (0.02, 0.05), "gloss": (0.1, 0.35),
        "knobs": (0.0, 0.9),
    }  # fmt: skip
    tomato: dict[str, Span] = {
        "aspect": (0.78, 0.97), "lobes": (0.0, 5.9), "lobe_depth": (0.0, 0.025), "dent": (0.02, 0.1),
        "saturation": (0.82, 0.96), "value": (0.6, 0.92), "gloss": (0.5, 1.0), "calyx": (4.0, 6.9),
        "stem": (0.05, 0.25), "pole": (0.1, 0.7), "end_hue": (0.08, 0.28), "end_value": (0.6, 0.75),
        "end_saturation": (0.7, 0.9), "blend": (0.0, 0.35),
    }  # fmt: skip
    plum = {**tomato, "aspect": (1.15, 1.5), "lobes": (0.0, 0.4), "taper": (-0.2, 0.05), "pole": (0.7, 0.92)}
    red, green = (0.985, 1.04), (0.19, 0.27)
    return (
        Kind("lemon", "fruit", _hues("round", lemon, (0.85, (0.13, 0.17)), (0.15, (0.105, 0.13)))),
        Kind("orange", "fruit", _hues("round", orange, (0.85, (0.065, 0.1)), (0.15, (0.1, 0.125)))),
        Kind("banana", "fruit", _hues("swept", banana, (0.9, (0.12, 0.16)), (0.1, (0.1, 0.12)))),
        Kind("tomato", "fruit", (
            *_hues("round", tomato, (0.7, red), (0.12, green)), *_hues("round", plum, (0.14, red), (0.04, green)),
        )),
    )  # fmt: skip


def _vegetables() -> tuple[Kind, ...]:
    """Return the kinds of the vegetable group."""
    bell = {**_PEPPER, "aspect": (0.86, 1.2), "block": (0.35, 0.75), "taper": (0.04, 0.16), "lobes": (3.0, 4.9),
            "lobe_depth": (0.015, 0.045), "dent": (0.08, 0.2)}  # fmt: skip
    paprika = {**_PEPPER, "aspect": (1.3, 2.1), "block": (0.05, 0.35), "taper": (0.18, 0.45), "lobes": (1.0, 3.2),
               "lobe_depth": (0.0, 0.03), "dent": (0.0, 0.12)}  # fmt: skip
    beetroot: dict[str, Span] = {
        **_ROOT, "aspect": (0.86, 1.18), "hue": (0.9, 0.97), "saturation": (0.5, 0.8), "value": (0.26, 0.52),
        "end_hue": (0.93, 1.04), "end_saturation": (0.35, 0.6), "end_value": (0.3, 0.45), "blend": (0.2, 0.6),
        "rings": (0.05, 0.4), "rough": (0.2, 0.6), "gloss": (0.05, 0.3), "leaves": (2.6, 5.4),
        "stem_hue": (0.93, 1.0), "taper": (0.0, 0.16),
    }  # fmt: skip
    radish: dict[str, Span] = {
        **_ROOT, "aspect": (0.9, 1.35), "hue": (0.92, 0.995), "saturation": (0.6, 0.88), "value": (0.56, 0.9),
        "end_hue": (0.92, 1.02), "end_saturation": (0.02, 0.3), "end_value": (0.75, 0.95), "blend": (0.15, 0.8),
        "rough": (0.02, 0.2), "gloss": (0.2, 0.6), "leaves": (2.6, 5.4), "stem_hue": (0.22, 0.33),
        "taper": (-0.05, 0.16), "rings": (0.0, 0.12),
    }  # fmt: skip
    ginger: dict[str, Span] = {
        "aspect": (2.2, 3.8), "bend": (0.0, 1.1), "knobs": (1.6, 6.4), "hue": (0.085, 0.125),
        "saturation": (0.32, 0.62), "value": (0.58, 0.86), "rings": (0.25, 0.8), "rough": (0.4, 0.9),
        "wobble": (0.06, 0.14), "mottle": (0.15, 0.4), "gloss": (0.0, 0.15), "spots": (0.0, 0.25),
        "end_hue": (0.08, 0.12), "end_saturation": (0.3, 0.5), "end_value": (0.6, 0.8), "blend": (0.0, 0.4),
    }  # fmt: skip
    jalapeno: dict[str, Span] = {
        "aspect": (2.05, 3.5), "bend": (0.0, 0.6), "taper": (0.35, 0.8), "saturation": (0.75, 0.95),
        "value": (0.3, 0.72), "gloss": (0.45, 1.0), "stem": (0.2, 0.45), "calyx": (2.6, 5.4), "stripes": (0.0, 0.2),
        "end_hue": (0.0, 0.3), "end_saturation": (0.7, 0.9), "end_value": (0.35, 0.6), "blend": (0.0, 0.35),
        "wobble": (0.02, 0.06), "spots": (0.0, 0.12),
    }  # fmt: skip
    colours = ((0.45, (0.965, 1.01)), (0.25, (0.11, 0.15)), (0.3, (0.23, 0.31)))
    mostly_red = ((0.8, (0.965, 1.015)), (0.08, (0.1, 0.13)), (0.12, (0.22, 0.31)))
    return (
        Kind("bell_pepper", "vegetable", _hues("round", bell, *colours)),
        Kind("paprika", "vegetable", _hues("round", paprika, *mostly_red)),
        Kind("beetroot", "vegetable", (Form("round", beetroot),)),
        Kind("radish", "vegetable", (Form("round", radish),)),
        Kind("ginger", "vegetable", (Form("swept", ginger),)),
        Kind("jalapeno", "vegetable", _hues("swept", jalapeno, (0.68, (0.25, 0.34)), (0.32, (0.975, 1.03)))),
    )


def _flowers() -> tuple[Kind, ...]:
    """Return the kinds of the flower group."""
    sunflower: dict[str, Span] = {
        "petals": (14, 26), "petal_width": (0.11, 0.2), "petal_point": (0.3, 0.95), "layers": (1.0, 2.6),
        "disc": (0.28, 0.5), "saturation": (0.8, 0.96), "value": (0.85, 0.98), "end_hue": (0.05, 0.1),
        "end_saturation": (0.5, 0.8), "end_value": (0.18, 0.45), "stem": (0.1, 0.7), "leaves": (0.0, 2.4),
        "blend": (0.0, 0.35), "gloss": (0.0, 0.1), "stripes": (0.1, 0.4),
    }  # fmt: skip
    shared: dict[str, Span] = {
        "saturation": (0.65, 0.92), "value": (0.7, 0.96), "end_hue": (0.1, 0.18), "end_saturation": (0.4, 0.8),
        "end_value": (0.6, 0.9), "blend": (0.0, 0.4), "gloss": (0.05, 0.25), "stem": (0.5, 1.1),
        "leaves": (0.0, 2.4), "leaf_length": (0.7, 1.2), "stripes": (0.1, 0.4),
    }  # fmt: skip
    cup = {**shared, "aspect": (1.0, 1.6), "petal_width": (0.4, 0.58), "petal_point": (0.2, 0.9), "petals": (3, 5.9)}
    bowl: dict[str, Span] = {
        **shared, "petals": (6, 10), "petal_width": (0.22, 0.38), "petal_point": (0.2, 0.8), "layers": (1.0, 2.4),
        "disc": (0.12, 0.3), "end_hue": (0.06, 0.16), "end_value": (0.2, 0.6), "stem": (0.1, 0.7),
    }  # fmt: skip
    yellow, red, pink, violet = (0.12, 0.16), (0.97, 1.03), (0.88, 0.95), (0.76, 0.84)
    return (
        Kind("sunflower", "flower", _hues("bloom", sunflower, (0.8, (0.115, 0.15)), (0.2, (0.05, 0.115)))),
        Kind("tulip", "flower", (
            *_hues("cup", cup, (0.22, yellow), (0.2, red), (0.14, pink), (0.1, violet)),
            *_hues("bloom", bowl, (0.2, yellow), (0.14, red)),
        )),
    )  # fmt: skip


@cache
def produce_kinds() -> tuple[Kind, ...]:
    """Return the twelve kinds of the sample in the order of their names."""
    return tuple(sorted((*_fruit(), *_vegetables(), *_flowers()), key=lambda kind: kind.name))


PAIRS: tuple[tuple[str, str], ...] = (
    ("lemon", "orange"),
    ("bell_pepper", "paprika"),
    ("beetroot", "radish"),
    ("banana", "ginger"),
    ("tomato", "jalapeno"),
    ("sunflower", "tulip"),
)

# Widest range a random kind may take for each trait, and the width of its own span as a share of that range.
_COMMON: Mapping[str, Span] = {
    "wobble": (0.0, 0.07), "hue": (0.0, 1.0), "saturation": (0.2, 0.95), "value": (0.3, 0.97), "end_hue": (0.0, 1.0),
    "end_saturation": (0.05, 0.9), "end_value": (0.2, 0.95), "blend": (0.0, 0.8), "mottle": (0.0, 0.4),
    "pores": (0.0, 0.9), "spots": (0.0, 0.5), "stripes": (0.0, 0.7), "rings": (0.0, 0.7), "rough": (0.0, 0.8),
    "gloss": (0.0, 0.9), "stem": (-0.4, 0.6), "stem_hue": (0.0, 0.4), "leaves": (-3.0, 5.0), "leaf_length": (0.4, 1.2),
    "calyx": (-4.0, 7.0), "pole": (0.1, 0.98),
}  # fmt: skip
_RANGES: Mapping[str, Mapping[str, Span]] = {
    "round": {**_COMMON, "aspect": (0.6, 2.0), "taper": (-0.45, 0.45), "block": (0.0, 0.9), "tips": (-0.2, 0.35),
              "dent": (-0.1, 0.25), "tail": (-0.6, 0.9), "lobes": (-2.0, 7.0), "lobe_depth": (0.0, 0.12)},
    "swept": {**_COMMON, "aspect": (1.6, 6.0), "bend": (0.0, 2.4), "taper": (0.0, 0.9), "tips": (-0.1, 0.2),
              "knobs": (-3.0, 6.0), "lobes": (-2.0, 3.5)},
    "bloom": {**_COMMON, "petals": (4.0, 26.0), "petal_width": (0.09, 0.4), "petal_point": (0.0, 1.0),
              "layers": (1.0, 2.9), "disc": (0.05, 0.6)},
    "cup": {**_COMMON, "aspect": (0.7, 1.9), "petals": (2.0, 6.0), "petal_width": (0.25, 0.65),
            "petal_point": (0.0, 1.0)},
}  # fmt: skip
# Traits below 0 mean "has none", so that a good share of the random kinds lacks the feature altogether.
_FLOORED = frozenset({"tips", "dent", "tail", "lobes", "knobs", "stem", "leaves", "calyx"})
MIN_DISTANCE = 1.5


def distance(one: Form, other: Form) -> float:
    """Return how far two forms are apart in trait space.

    The middle of each span is compared as a share of that trait's widest range (a hue goes round a circle);
    the distance is Euclidean over the traits of the family. Forms of different families are infinitely far.

    Args:
        one: a form.
        other: another form.

    Returns:
        A number from 0 up; `inf` when the families differ.
    """
    if one.family != other.family:
        return float("inf")
    blank = Traits()
    total = 0.0
    for name, (low, high) in _RANGES[one.family].items():
        default = float(getattr(blank, name))
        gap = abs(np.mean(one.spans.get(name, (default, default))) - np.mean(other.spans.get(name, (default, default))))
        if name.endswith("hue"):
            gap = min(gap % 1.0, 1.0 - gap % 1.0) * 2
        total += float(gap / (high - low)) ** 2
    return float(np.sqrt(total))


def _random_form(rng: np.random.Generator) -> Form:
    """Return a form with a random family and random narrow spans."""
    family = FAMILIES[int(rng.choice(len(FAMILIES), p=[0.42, 0.28, 0.18, 0.12]))]
    spans: dict[str, Span] = {}
    for name, (low, high) in _RANGES[family].items():
        middle = rng.uniform(low, high)
        half = (high - low) * rng.uniform(0.03, 0.1) * (0.5 if name == "hue" else 1.0)
        floor = 0.0 if name in _FLOORED else (-np.inf if name.endswith("hue") else low)
        spans[name] = (float(max(middle - half, floor)), float(max(middle + half, floor)))
    return Form(family, spans)


def random_kinds(seed: int, count: int) -> tuple[Kind, ...]:
    """Return random shape classes, none of them one of the twelve.

    Args:
        seed: the same seed gives the same kinds.
        count: how many, 1 or more.

    Returns:
        `count` kinds named shape_000, shape_001, ...; every form is at least `MIN_DISTANCE` from every form of
        the twelve.

    Raises:
        ValueError: `count` is below 1.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, not {count}")
    known = [form for kind in produce_kinds() for form in kind.forms]
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, 7])))
    kinds: list[Kind] = []
    while len(kinds) < count:
        form = _random_form(rng)
        if all(distance(form, other) >= MIN_DISTANCE for other in known):
            kinds.append(Kind(f"shape_{len(kinds):03d}", "shape", (form,)))
    return tuple(kinds)
