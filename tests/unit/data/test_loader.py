import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.core.errors import DataError
from podium.data import loader
from podium.data.shards import open_for_fitting
from tests.small_splits import write_prepared


@given(st.integers(1, 300), st.integers(0, 2**31 - 1), st.integers(0, 1000))
def test_the_order_is_a_permutation_and_a_pure_function_of_seed_and_epoch(count, seed, epoch):
    order = loader.order(count, seed, epoch)
    assert sorted(order) == list(range(count))
    assert np.array_equal(order, loader.order(count, seed, epoch))


def test_epochs_and_seeds_differ_in_order():
    orders = {tuple(loader.order(50, seed, epoch)) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9


@given(st.integers(1, 300), st.integers(1, 64))
def test_batches_cover_every_image_once_and_none_but_an_only_one_has_a_single_image(count, batch_size):
    pieces = loader.boundaries(count, batch_size)
    assert [i for begin, end in pieces for i in range(begin, end)] == list(range(count))
    sizes = [end - begin for begin, end in pieces]
    assert all(size <= batch_size for size in sizes[:-1])
    assert sizes[-1] <= batch_size + 1
    if batch_size > 1 and count > 1:
        assert min(sizes) > 1


@pytest.mark.parametrize("per_shard", [1000, 7])
def test_batches_hold_the_images_of_their_rows_whatever_shard_they_lie_in(tmp_path, per_shard):
    split = open_for_fitting(write_prepared(tmp_path / "prepared", per_shard=per_shard), "train")
    whole = np.concatenate([np.asarray(shard) for shard in split.shards])
    rows = loader.order(len(split), 0, 0)
    found = list(loader.batches(split, rows, 8, first_step=40))
    assert [batch.step for batch in found] == [40, 41, 42, 43]
    assert [len(batch.labels) for batch in found] == [8, 8, 8, 6]
    assert np.array_equal(np.concatenate([batch.images for batch in found]), whole[rows])
    assert np.array_equal(np.concatenate([batch.labels for batch in found]), split.labels[rows])


def test_a_reader_that_stops_half_way_leaves_no_thread_behind(tmp_path):
    import threading

    split = open_for_fitting(write_prepared(tmp_path / "prepared"), "train")
    for _ in loader.batches(split, np.arange(30), 4):
        break
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("loader")]


def test_the_test_split_is_refused(tmp_path):
    with pytest.raises(DataError, match="not open to tuning and training"):
        open_for_fitting(write_prepared(tmp_path / "prepared"), "test")
