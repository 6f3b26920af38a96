from podium.config.validate import ShareRejected, Validate
from podium.curation.expectations import reading
from tests.evidence import evidence, judged

PARAMS = Validate(share_rejected=ShareRejected(maximum=0.1, because="a test"))


def test_too_many_rejected_images_are_told_with_their_paths():
    broken, observed, images = judged(reading.share_rejected(evidence(rejected=6), PARAMS))

    assert broken
    assert observed == "0.1429 (6 of 42)"
    assert images.paths == [f"bad{n}.jpg" for n in range(6)]


def test_a_few_are_accepted():
    assert judged(reading.share_rejected(evidence(rejected=2), PARAMS))[0] == []
