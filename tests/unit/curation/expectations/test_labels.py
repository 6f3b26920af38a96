import pytest

from podium.config.validate import Share, Validate
from podium.curation.expectations import labels
from podium.curation.expectations.evidence import CannotCheck
from tests.evidence import evidence, judged, noise

PARAMS = Validate(label_noise=Share(maximum=0.1))


def test_doubtful_labels_are_named_in_the_order_of_doubt():
    broken, observed, images = judged(labels.label_noise(evidence(label_noise=noise(3)), PARAMS))

    assert broken
    assert observed == "0.125 (3 of 24; the model that doubts them has accuracy 0.8)"
    assert (images.paths, images.count) == ([f"lemon/train{n}.jpg" for n in (2, 1, 0)], 3)


def test_a_few_candidates_are_accepted():
    assert judged(labels.label_noise(evidence(label_noise=noise(2)), PARAMS))[0] == []


def test_a_search_that_was_not_run_says_why():
    with pytest.raises(CannotCheck, match="fewer than 5 images"):
        labels.label_noise(evidence(label_noise=noise(note="fewer than 5 images of a class")), PARAMS)
