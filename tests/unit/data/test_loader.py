import itertools
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.core.errors import DataError
from podium.data import loader
from podium.data.shards import open_for_fitting
from tests.small_splits import write_prepared

SEEDS = st.integers(0, 2**31 - 1)


@given(st.integers(1, 300), SEEDS, st.integers(0, 1000))
def test_shuffling_is_a_permutation_and_a_pure_function_of_seed_and_epoch(count, seed, epoch):
    labels = np.zeros(count, np.int64)
    order = loader.epoch_order(labels, "shuffle", seed, epoch)
    assert sorted(order) == list(range(count))
    assert np.array_equal(order, loader.epoch_order(labels, "shuffle", seed, epoch))


@pytest.mark.parametrize("sampling", ["shuffle", "balanced"])
def test_epochs_and_seeds_differ_in_order(sampling):
    labels = np.arange(50) % 3
    orders = {tuple(loader.epoch_order(labels, sampling, seed, epoch)) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9


@given(st.lists(st.integers(0, 4), min_size=1, max_size=120), SEEDS, st.integers(0, 1000))
def test_balanced_takes_as_many_of_every_class_and_repeats_no_image_before_it_has_to(labels, seed, epoch):
    labels = np.array(labels)
    order = loader.epoch_order(labels, "balanced", seed, epoch)
    assert len(order) == len(labels)
    assert np.array_equal(order, loader.epoch_order(labels, "balanced", seed, epoch))
    present = np.unique(labels)
    of_class = [order[labels[order] == label] for label in present]
    sizes = [len(rows) for rows in of_class]
    assert max(sizes) - min(sizes) <= 1
    for label, rows in zip(present, of_class, strict=True):
        times = np.bincount(rows, minlength=len(labels))[labels == label]
        assert times.max() - times.min() <= 1


def test_balanced_shows_all_of_a_large_class_over_some_epochs_and_mixes_the_classes():
    labels = np.repeat([0, 1], [80, 20])
    orders = [loader.epoch_order(labels, "balanced", 0, epoch) for epoch in range(8)]
    assert set(np.concatenate(orders)) == set(range(100))
    assert 30 < (labels[orders[0]][:50] == 0).sum() + 10 < 50  # about half of each half


@given(st.integers(1, 300), st.integers(1, 64))
def test_batches_cover_every_image_once_and_none_but_an_only_one_has_a_single_image(count, batch_size):
    pieces = loader.batch_boundaries(count, batch_size)
    assert [i for begin, end in pieces for i in range(begin, end)] == list(range(count))
    sizes = [end - begin for begin, end in pieces]
    assert all(size <= batch_size for size in sizes[:-1])
    assert sizes[-1] <= batch_size + 1
    if batch_size > 1 and count > 1:
        assert min(sizes) > 1


@given(st.integers(1, 300), st.integers(1, 64), st.integers(1, 2))
def test_pieces_cover_a_batch_within_the_limit_and_share_an_image_only_where_they_must(count, limit, least):
    limit = max(limit, least)
    pieces = loader.micro_batches(count, limit, least)
    sizes = [end - begin for begin, end in pieces]
    assert max(sizes) <= limit
    assert min(sizes) >= min(least, count)
    shared = [max(0, before - begin) for (_, before), (begin, _) in itertools.pairwise(pieces)]
    assert sorted({i for begin, end in pieces for i in range(begin, end)}) == list(range(count))
    must = limit == least == 2 and count % 2 and count > 1  # an odd number is no sum of twos
    assert sum(shared) == sum(sizes) - count == bool(must)
    assert len(pieces) == -(-count // limit)


@given(st.integers(1, 100), st.integers(1, 32), st.integers(1, 2))
def test_parts_of_one_batch_are_cut_into_as_many_pieces(count, limit, least):
    limit = max(limit, least)
    wanted = len(loader.micro_batches(count + 1, limit, least))
    pieces = loader.micro_batches(count, limit, least, wanted)
    assert len(pieces) == wanted
    assert max(end - begin for begin, end in pieces) <= limit
    assert {i for begin, end in pieces for i in range(begin, end)} == set(range(count))


@given(st.lists(st.integers()))
@settings(max_examples=20)
def test_reading_ahead_gives_every_piece_once_in_order(pieces):
    assert list(loader.prefetch(lambda piece: piece + 1, pieces)) == [piece + 1 for piece in pieces]


def test_the_next_piece_is_read_while_the_present_one_is_worked_on():
    reading = [threading.Event() for _ in range(3)]
    for piece in loader.prefetch(lambda piece: (reading[piece].set(), piece)[1], range(3)):
        assert reading[min(piece + 1, 2)].wait(timeout=300)


def test_what_a_reader_raises_comes_in_the_piece_s_turn():
    def read(piece: int) -> int:
        if piece == 1:
            raise OSError("gone")
        return piece

    pieces = loader.prefetch(read, range(3))
    assert next(pieces) == 0
    with pytest.raises(OSError, match="gone"):
        next(pieces)


def test_a_reader_that_is_left_half_way_leaves_no_thread_behind():
    for _ in loader.prefetch(lambda piece: piece, range(30)):
        break
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("loader")]


def test_the_test_split_is_refused(tmp_path):
    with pytest.raises(DataError, match="not open to tuning and training"):
        open_for_fitting(write_prepared(tmp_path / "prepared"), "test")
