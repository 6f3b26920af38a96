import random
from collections import Counter

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.config.preprocess import Preprocess
from podium.core.errors import DataError
from podium.curation import splits

SHARES = Preprocess(image_size=32, train=0.7, val=0.15, test=0.15)


def images(
    labels: dict[str, int], source_split: str = "", source: str = "s", groups: dict[str, str] | None = None
) -> pd.DataFrame:
    """`labels` images per class, named `lemon-0`, `lemon-1`, ...; `groups` maps an image to its duplicate group."""
    rows = [
        {"image_id": f"{label}-{n}", "source": source, "label": label, "source_split": source_split}
        for label, count in labels.items()
        for n in range(count)
    ]
    frame = pd.DataFrame(rows)
    return frame.assign(split_group=[(groups or {}).get(i, i) for i in frame["image_id"]])


def counts(frame: pd.DataFrame, split: pd.Series) -> dict[str, Counter[str]]:
    return {label: Counter(split[frame["label"] == label]) for label in frame["label"].unique()}


def test_every_class_gets_its_shares() -> None:
    frame = images({"lemon": 100, "orange": 40, "tulip": 20})

    found = counts(frame, splits.assign_splits(frame, SHARES, seed=0))

    assert found["lemon"] == {"train": 70, "val": 15, "test": 15}
    assert found["orange"] == {"train": 28, "val": 6, "test": 6}
    assert found["tulip"] == {"train": 14, "val": 3, "test": 3}


def test_the_draw_depends_on_the_seed_only_not_on_the_order_of_rows() -> None:
    frame = images({"lemon": 60, "orange": 60})
    first = splits.assign_splits(frame, SHARES, seed=1)

    shuffled = splits.assign_splits(frame.sample(frac=1, random_state=3), SHARES, seed=1)
    other = splits.assign_splits(frame, SHARES, seed=2)

    pd.testing.assert_series_equal(shuffled.sort_index(), first)
    assert (other != first).sum() > 20


def test_one_image_more_moves_few_others() -> None:
    before, after = images({"lemon": 100}), images({"lemon": 101})

    moved = splits.assign_splits(before, SHARES, 0) != splits.assign_splits(after, SHARES, 0)[:100]

    assert moved.sum() <= 3


def test_a_split_given_by_the_source_is_kept() -> None:
    frame = pd.concat(
        [
            images({"a": 4, "b": 6}, s).assign(image_id=lambda f, s=s: s + f["image_id"])
            for s in ("train", "val", "test")
        ],
        ignore_index=True,
    ).assign(split_group=lambda f: f["image_id"])

    assert (splits.assign_splits(frame, SHARES, 0) == frame["source_split"]).all()


def test_val_is_carved_out_of_train_where_the_source_gives_train_and_test() -> None:
    train, test = images({"a": 170, "b": 34}, "train"), images({"a": 30, "b": 30}, "test")
    frame = pd.concat([train, test.assign(image_id="t" + test["image_id"])], ignore_index=True)
    frame = frame.assign(split_group=frame["image_id"])

    split = splits.assign_splits(frame, SHARES, 0)

    assert (split[frame["source_split"] == "test"] == "test").all()
    share = 0.15 / 0.85
    found = counts(frame, split)
    assert found["a"] == {"train": 140, "val": round(170 * share), "test": 30}
    assert found["b"] == {"train": 28, "val": round(34 * share), "test": 30}


def test_test_is_carved_out_of_train_where_the_source_gives_train_and_val() -> None:
    train, val = images({"a": 170}, "train"), images({"a": 20}, "val")
    frame = pd.concat([train, val.assign(image_id="v" + val["image_id"])], ignore_index=True)
    frame = frame.assign(split_group=frame["image_id"])

    assert counts(frame, splits.assign_splits(frame, SHARES, 0))["a"] == {"train": 140, "val": 20, "test": 30}


def test_each_source_keeps_its_own_split() -> None:
    with_split = pd.concat([images({"a": 20}, "train", "x"), images({"a": 10}, "test", "x")], ignore_index=True)
    without = images({"a": 100}, "", "y")
    frame = pd.concat([with_split, without], ignore_index=True)
    frame = frame.assign(image_id=[f"{i}" for i in frame.index], split_group=[f"{i}" for i in frame.index])

    split = splits.assign_splits(frame, SHARES, 0)

    assert (split[20:30] == "test").all()
    assert set(split[:20]) == {"train", "val"}
    assert Counter(split[30:]) == {"train": 70, "val": 15, "test": 15}


@pytest.mark.parametrize(
    ("given_splits", "expected"),
    [
        (("train", "test"), "test"),
        (("train", "val"), "val"),
        (("val", "test"), "test"),
        (("train", "val", "test"), "test"),
    ],
)
def test_a_straddling_group_moves_to_its_most_protected_split(given_splits: tuple[str, ...], expected: str) -> None:
    frame = pd.concat([images({"a": 8}, s) for s in ("train", "val", "test")], ignore_index=True)
    frame["image_id"] = [f"{i:02d}" for i in frame.index]
    first = {"train": 0, "val": 8, "test": 16}
    members = [first[s] for s in given_splits]
    frame["split_group"] = ["00" if i in members else f"{i:02d}" for i in frame.index]
    frame.loc[members, "split_group"] = frame.loc[members[0], "image_id"]

    split = splits.assign_splits(frame, SHARES, 0)

    assert set(split[members]) == {expected}
    rest = frame.index.difference(members)
    assert (split[rest] == frame["source_split"][rest]).all()


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (images({"lemon": 30, "orange": 2}), "class 'orange' has 2 images .* too few to give (val|test) one"),
        (images({"lemon": 1}), "class 'lemon' has 1 image "),
        (
            images({"lemon": 4}, groups={"lemon-1": "lemon-0", "lemon-2": "lemon-0"}),
            r"class 'lemon' has 4 images \(2 after grouping duplicates\)",
        ),
        (images({"lemon": 9}, "test"), "gives test images but no train images"),
    ],
)
def test_too_little_to_split_is_said_with_the_class(frame: pd.DataFrame, message: str) -> None:
    with pytest.raises(DataError, match=message):
        splits.assign_splits(frame, SHARES, 0)


def test_three_large_groups_still_reach_three_splits() -> None:
    frame = images({"a": 15}, groups={f"a-{n}": f"a-{n // 5 * 5}" for n in range(15)})

    assert Counter(splits.assign_splits(frame, SHARES, 0)) == {"train": 5, "val": 5, "test": 5}


@st.composite
def grouped_images(draw: st.DrawFn) -> pd.DataFrame:
    rows = []
    for label in "ab":
        for group, size in enumerate(draw(st.lists(st.integers(1, 4), min_size=12, max_size=60))):
            for member in range(size):
                rows.append((f"{label}{group:03d}-{member}", label, f"{label}{group:03d}-0"))
    frame = pd.DataFrame(rows, columns=["image_id", "label", "split_group"])
    given_splits = draw(st.sampled_from([("",), ("train", "test"), ("train", "val", "test"), ("train",)]))
    chosen = draw(st.lists(st.sampled_from(given_splits), min_size=len(frame), max_size=len(frame)))
    if given_splits != ("",):
        chosen[0] = "train"
    return frame.assign(source="s", source_split=chosen)


@settings(max_examples=30, deadline=None)
@given(frame=grouped_images(), seed=st.integers(0, 5))
def test_a_group_is_never_on_two_sides(frame: pd.DataFrame, seed: int) -> None:
    try:
        split = splits.assign_splits(frame, SHARES, seed)
    except DataError as error:  # moved groups can empty the train images a split is carved from
        assert "too few" in str(error)
        return
    assert (split.groupby(frame["split_group"]).nunique() == 1).all()
    assert set(split) <= {"train", "val", "test"}


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 4), min_size=30, max_size=80),
    seed=st.integers(0, 1000),
    share=st.sampled_from([(0.7, 0.15, 0.15), (0.6, 0.2, 0.2), (0.8, 0.1, 0.1)]),
)
def test_ratios_hold_within_one_group(sizes: list[int], seed: int, share: tuple[float, float, float]) -> None:
    shares = Preprocess(image_size=32, train=share[0], val=share[1], test=share[2])
    rows = [(f"{g}-{m}", "a", f"{g}-0") for g, size in enumerate(sizes) for m in range(size)]
    frame = pd.DataFrame(rows, columns=["image_id", "label", "split_group"]).assign(source="s", source_split="")

    found = Counter(splits.assign_splits(frame, shares, seed))

    for name, part in zip(("train", "val", "test"), share, strict=True):
        assert abs(found[name] - part * len(frame)) <= 4


def test_each_source_keeps_its_shares_within_a_class() -> None:
    parts = [
        images({"a": 40, "b": 21}, source=f"s{n}").assign(image_id=lambda f, n=n: f"{n}-" + f["image_id"])
        for n in range(5)
    ]
    frame = pd.concat(parts, ignore_index=True).assign(split_group=lambda f: f["image_id"])

    split = splits.assign_splits(frame, SHARES, 0)

    assert counts(frame, split) == {
        "a": {"train": 140, "val": 30, "test": 30},
        "b": {"train": 73, "val": 16, "test": 16},
    }
    for (_, label), of_source in split.groupby([frame["source"], frame["label"]]):
        found = Counter(of_source)
        assert abs(found["test"] - 0.15 * len(of_source)) <= 1, label
        assert abs(found["val"] - 0.15 * len(of_source)) <= 1, label


def test_many_small_sources_together_keep_the_shares_of_their_class() -> None:
    frame = images({"a": 300}).assign(source=[f"s{n // 2}" for n in range(300)])

    assert Counter(splits.assign_splits(frame, SHARES, 0)) == {"train": 210, "val": 45, "test": 45}


def test_many_sources_of_one_group_each_do_not_all_go_to_train() -> None:
    frame = images({"a": 300}, groups={f"a-{n}": f"a-{n // 3 * 3}" for n in range(300)})
    frame["source"] = [f"s{n // 3}" for n in range(300)]

    found = Counter(splits.assign_splits(frame, SHARES, 0))

    assert abs(found["val"] - 45) <= 3
    assert abs(found["test"] - 45) <= 3


def test_a_group_with_several_labels_counts_as_its_most_frequent_one() -> None:
    frame = images({"a": 20, "b": 28})
    mixed = [0, 1, *range(20, 28)]  # two a, eight b
    frame.loc[mixed, "split_group"] = "a-0"

    split = splits.assign_splits(frame, SHARES, 0)

    assert split[mixed].nunique() == 1
    others = frame.index.difference(mixed)
    found = counts(frame.loc[others], split[others])
    assert found["a"] == {"train": 12, "val": 3, "test": 3}  # the shares of 18: the group takes no place among them
    assert found["b"] == {"train": 11, "val": 5, "test": 4}  # the shares of 30, less the group of ten in train


def test_crops_of_a_photograph_and_duplicates_join_transitively() -> None:
    frame = pd.DataFrame(
        [("5", "p1", "5"), ("3", "p1", "2"), ("2", "p2", "2"), ("1", "p3", "1"), ("4", "p4", "1"), ("6", "p5", "6")],
        columns=["image_id", "photo_id", "duplicate_group"],
    )
    frame["photo_sha256"] = frame["photo_id"]

    assert splits.join_split_groups(frame).tolist() == ["2", "2", "2", "1", "1", "6"]


def test_photographs_with_the_same_bytes_join_whatever_they_are_called() -> None:
    frame = pd.DataFrame(
        [("1", "p1", "x", "1"), ("2", "p2", "x", "2"), ("3", "p3", "y", "2"), ("4", "p4", "z", "4")],
        columns=["image_id", "photo_id", "photo_sha256", "duplicate_group"],
    )

    assert splits.join_split_groups(frame).tolist() == ["1", "1", "1", "4"]


@settings(max_examples=50, deadline=None)
@given(
    rows=st.lists(st.tuples(*[st.integers(0, 12)] * 3), min_size=1, max_size=40),
    order=st.randoms(use_true_random=False),
)
def test_joined_groups_are_the_connected_parts_in_any_order_of_rows(
    rows: list[tuple[int, int, int]], order: random.Random
) -> None:
    frame = pd.DataFrame(
        [(f"{n:03d}", f"p{photo}", f"b{data}", f"d{twin}") for n, (photo, data, twin) in enumerate(rows)],
        columns=["image_id", "photo_id", "photo_sha256", "duplicate_group"],
    )
    groups = splits.join_split_groups(frame)
    for column in ("photo_id", "photo_sha256", "duplicate_group"):
        assert (groups.groupby(frame[column]).nunique() == 1).all()
    assert all(groups[frame["image_id"] == leader].item() == leader for leader in groups.unique())
    shuffled = list(frame.index)
    order.shuffle(shuffled)
    pd.testing.assert_series_equal(splits.join_split_groups(frame.loc[shuffled]).sort_index(), groups)
