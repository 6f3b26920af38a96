"""Licence and pretraining: the source speaks, a key fills in and never contradicts, the list of licences decides."""

import re

import pytest

from podium.config.contender import Model
from podium.core.errors import DataError, ParamsError
from podium.sources.weights.gates import allowed, licence_of, pretraining_of

ALLOWED = ("apache-2.0", "MIT")


def model(licence: str | None = None, pretraining: str | None = None) -> Model:
    return Model(
        architecture="resnet18",
        weights="resnet18.a1_in1k",
        weights_licence=licence,
        weights_pretraining=pretraining,
    )


@pytest.mark.parametrize(
    ("said", "given", "expected"),
    [
        ("Apache-2.0", None, "Apache-2.0"),
        ("apache-2.0", "APACHE-2.0", "apache-2.0"),
        ("unknown", "mit", "mit"),
    ],
)
def test_a_licence_is_the_sources_or_the_keys(said: str, given: str | None, expected: str) -> None:
    assert licence_of("a", model(given), said, ALLOWED) == expected


def test_a_licence_that_nobody_states_is_refused_with_the_key_to_write_it_to() -> None:
    for given in (None, "Unknown"):
        with pytest.raises(DataError, match=r"nobody states the licence of resnet18\.a1_in1k.*models\.a\.weights_lic"):
            licence_of("a", model(given), "unknown", ALLOWED)


def test_a_licence_that_is_not_listed_is_refused_whoever_states_it() -> None:
    said = re.escape("have licence cc-by-nc-4.0, but fetch.licences_allowed lists apache-2.0, MIT: use other weights")
    for given, source in ((None, "cc-by-nc-4.0"), ("cc-by-nc-4.0", "unknown")):
        with pytest.raises(DataError, match=said):
            licence_of("a", model(given), source, ALLOWED)


def test_a_key_never_overrules_the_source() -> None:
    with pytest.raises(ParamsError, match=r"models\.a\.weights_licence is 'mit', but the source .* says 'apache-2.0'"):
        licence_of("a", model("mit"), "apache-2.0", ALLOWED)
    with pytest.raises(ParamsError, match=r"models\.a\.weights_pretraining is 'in1k', but .* says 'in22k_ft_in1k'"):
        pretraining_of("a", model(None, "in1k"), "in22k_ft_in1k")


def test_pretraining_may_stay_unknown() -> None:
    assert pretraining_of("a", model(), "unknown") == "unknown"
    assert pretraining_of("a", model(None, "shapes"), "unknown") == "shapes"


def test_unknown_is_never_allowed_even_when_it_is_listed() -> None:
    assert allowed("mit", ALLOWED) and not allowed("unknown", ("unknown",)) and not allowed("mit", ())
