"""Entries of a leaderboard and tests of two models, for the tests of ranking and deciding."""

import numpy as np

from podium.analysis.paired import mcnemar
from podium.records.evaluation import Interval, PairedTest
from tests.measurements import some_metrics


def metrics(model, accuracy=0.9, f1=0.9, flops=100, parameters=10, digest="d", images=200, **fields):
    return some_metrics(
        model=model,
        architecture=f"arch_{model}",
        fingerprint=model * 4,
        test_digest=digest,
        images=images,
        accuracy=Interval(value=accuracy, low=accuracy - 0.05, high=min(1, accuracy + 0.05)),
        macro_f1=Interval(value=f1, low=f1 - 0.05, high=min(1, f1 + 0.05)),
        parameters=parameters,
        flops=flops,
        **fields,
    )


def pair(first, second, only_first, only_second, images=200):
    """The test of two models that alone were right about so many images."""
    right = np.zeros((2, images), bool)
    right[0, :only_first] = right[1, only_first : only_first + only_second] = True
    return mcnemar(first, second, *right)


def some_test(p, low, high):
    """The test of two models with this p and this interval of the difference."""
    return PairedTest(
        first="a",
        second="b",
        only_first_right=3,
        only_second_right=1,
        p_value=p,
        difference=Interval(value=(low + high) / 2, low=low, high=high),
    )
