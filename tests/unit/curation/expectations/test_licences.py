import pytest

from podium.config.validate import Validate
from podium.curation.expectations import licences
from tests.evidence import evidence, judged, manifest


@pytest.mark.parametrize("text", ["", " Unknown ", "N/A", None])
def test_images_without_a_licence_are_named(text):
    frame = manifest().astype({"licence": object})
    frame.loc[0, "licence"] = text

    broken, observed, images = judged(licences.licence_known(evidence(frame), Validate()))

    assert broken
    assert observed == "1 of 36 without a licence; others: CC0-1.0 (35)"
    assert images.paths == ["lemon/train0.jpg"]


def test_known_licences_are_listed_the_most_frequent_first():
    frame = manifest()
    frame.loc[:2, "licence"] = "CC-BY-4.0"

    assert judged(licences.licence_known(evidence(frame), Validate()))[:2] == (
        [],
        "0 of 36 without a licence; others: CC0-1.0 (33), CC-BY-4.0 (3)",
    )
