"""Jobs give their results in their order wherever they run; what fails takes nothing along that ran beside it."""

import time

import pytest

from podium.core.errors import DataError
from podium.core.executor import open_executor
from podium.core.jobs import tell


def slow_first(number: int) -> int:
    """The first job ends last."""
    if number < 0:
        raise DataError("it is below zero")
    tell(("began", number))
    if number == 0:
        time.sleep(1.0)
    tell(("ends", number))
    return number * number


def third_fails(number: int) -> int:
    if number == 2:
        raise DataError("the third")
    return number


@pytest.mark.parametrize("processes", [1, 2])
def test_results_come_in_the_order_of_the_jobs_and_all_that_was_told_before_them(processes):
    told, ended = [], []
    with open_executor(slow_first, processes, lower="nothing", on_event=told.append) as executor:
        assert list(executor.map(range(6), ended.append)) == [0, 1, 4, 9, 16, 25]
        assert list(executor.map([7])) == [49]  # again, with the same processes
    assert ended == ([0, 1, 4, 9, 16, 25] if processes == 1 else [1, 4, 9, 16, 25, 0])
    assert sorted(told) == sorted((what, number) for what in ("began", "ends") for number in (*range(6), 7))


@pytest.mark.parametrize("processes", [1, 2])
def test_after_a_failure_what_was_handed_out_ends_and_no_more_begins(processes):
    ended = []
    with (
        pytest.raises(DataError, match="the third"),
        open_executor(third_fails, processes, lower="nothing") as executor,
    ):
        list(executor.map(range(100), ended.append))
    assert {0, 1} <= set(ended) <= set(range(12)) - {2}
