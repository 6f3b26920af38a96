import hashlib
import random
from collections import Counter
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
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
    return frame.assign(
        split_group=[(groups or {}).get(i, i) for i in frame["image_id"]],
        photo_sha256=[hashlib.sha256(i.encode()).hexdigest() for i in frame["image_id"]],
        keep_together="",
    )


def joined(*parts: pd.DataFrame) -> pd.DataFrame:
    """Several as one, each image with a content and a group of its own."""
    frame = pd.concat(parts, ignore_index=True)
    names = [f"{number}-{name}" for number, name in enumerate(frame["image_id"])]
    digests = [hashlib.sha256(name.encode()).hexdigest() for name in names]
    return frame.assign(image_id=names, split_group=names, photo_sha256=digests)


def assign(frame: pd.DataFrame, seed: int = 0, **changes: object) -> pd.Series:
    return splits.assign_splits(frame, SHARES.model_copy(update={"split_seed": seed, **changes})).split


def within(count: int, share: float, images: int) -> bool:
    """Whether a count is within four standard deviations of what a draw one by one gives."""
    return abs(count - share * images) <= 4 * (images * share * (1 - share)) ** 0.5


def test_every_class_gets_its_shares_give_or_take_chance() -> None:
    frame = images({"lemon": 4000, "orange": 400})

    split = assign(frame)

    for label, count in (("lemon", 4000), ("orange", 400)):
        found = Counter(split[frame["label"] == label])
        assert within(found["test"], 0.15, count) and within(found["val"], 0.15, count), found


def test_the_draw_depends_on_the_seed_and_the_content_alone() -> None:
    frame = images({"lemon": 300, "orange": 300})
    first = assign(frame, 1)

    shuffled = assign(frame.sample(frac=1, random_state=3), 1)
    renamed = assign(
        frame.assign(image_id=frame["image_id"] + "x", split_group="x" + frame["split_group"], source="t"), 1
    )
    other = assign(frame, 2)

    pd.testing.assert_series_equal(shuffled.sort_index(), first)
    pd.testing.assert_series_equal(renamed, first)
    assert (other != first).sum() > 200


def test_seeds_share_nothing() -> None:
    frame = images({"a": 4000})
    test = [assign(frame, seed) == "test" for seed in range(5)]

    for one in range(5):
        for other in range(one):
            assert within(int((test[one] & test[other]).sum()), 0.15**2, 4000)


# --- stable membership ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Picture:
    """A file: what is in it, what it is called; pictures of one scene are near duplicates."""

    content: int
    scene: int
    name: str


@dataclass(frozen=True)
class Folder:
    """A growing dataset of two classes, told apart by the scene."""

    pictures: tuple[Picture, ...] = field(
        default_factory=lambda: tuple(Picture(n, n, f"{n:03d}.jpg") for n in range(120))
    )
    name: str = "photos"

    def membership(self) -> dict[int, str]:
        """The split of each content."""
        frame = pd.DataFrame([vars(picture) for picture in self.pictures])
        ids = [hashlib.sha256(f"{self.name}/{name}".encode()).hexdigest()[:16] for name in frame["name"]]
        frame = frame.assign(
            image_id=ids,
            photo_id=ids,
            source=self.name,
            source_split="",
            keep_together="",
            photo_sha256=[hashlib.sha256(str(content).encode()).hexdigest() for content in frame["content"]],
            label=["ab"[scene % 2] for scene in frame["scene"]],
        )
        frame["duplicate_group"] = frame.groupby("scene")["image_id"].transform("min")
        frame["split_group"] = splits.join_split_groups(frame)
        assigned = splits.assign_splits(frame, SHARES)
        assume(not assigned.filled)
        return dict(zip(frame["content"], assigned.split, strict=True))


PROTECTION = {"train": 0, "val": 1, "test": 2}


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(st.sampled_from(("new", "copy", "near", "rename", "move", "remove")), st.integers(0, 10**6)),
        max_size=12,
    )
)
def test_what_was_held_out_stays_so_whatever_is_added_removed_or_renamed(changes: list[tuple[str, int]]) -> None:
    folder = Folder()
    before = folder.membership()
    for number, (change, drawn) in enumerate(changes):
        at = drawn % len(folder.pictures)
        some, fresh = folder.pictures[at], 1000 + number
        match change:
            case "new":
                added = replace(some, content=fresh, scene=fresh, name=f"new{number}.jpg")
                folder = replace(folder, pictures=(*folder.pictures, added))
            case "copy":
                folder = replace(folder, pictures=(*folder.pictures, replace(some, name=f"copy{number}.jpg")))
            case "near":
                near = replace(some, content=fresh, name=f"0near{number}.jpg")
                folder = replace(folder, pictures=(near, *folder.pictures))
            case "rename":
                folder = replace(folder, name=f"photos{number}")
            case "move":
                moved = tuple(replace(picture, name=f"{number}/{picture.name}") for picture in folder.pictures)
                folder = replace(folder, pictures=moved)
            case "remove":
                folder = replace(folder, pictures=folder.pictures[:at] + folder.pictures[at + 1 :])
        after = folder.membership()
        scene = {picture.content: picture.scene for picture in folder.pictures}
        for content in before.keys() & after.keys():
            if change in ("near", "remove") and scene[content] == some.scene:
                gain = PROTECTION[after[content]] - PROTECTION[before[content]]
                assert gain >= 0 if change == "near" else gain <= 0
            else:
                assert after[content] == before[content], change
        before = after


def test_a_copy_of_a_test_image_joins_it() -> None:
    frame = images({"a": 200, "b": 200})
    split = assign(frame)

    for number in np.nonzero(split == "test")[0]:
        copy = frame.iloc[[number]].assign(image_id="0", photo_sha256=hashlib.sha256(f"{number}".encode()).hexdigest())
        after = assign(pd.concat([frame, copy], ignore_index=True))
        assert after.iloc[-1] == after[number] == "test"
        assert (after.iloc[:-1] == split).all()


def test_a_copy_in_another_source_does_not_take_a_drawn_test_image_out_of_test() -> None:
    frame = joined(images({"a": 100, "b": 100}), images({"a": 9, "b": 9}, "train", "x"), images({"a": 9}, "val", "x"))
    split = assign(frame)
    drawn = int(np.nonzero((split == "test") & (frame["source"] == "s"))[0][0])
    copies = frame.index[frame["source_split"] == "val"][0]
    frame.loc[copies, "split_group"] = frame.loc[drawn, "split_group"]

    assert assign(frame)[drawn] == "test"


@pytest.mark.parametrize("kept", [1, 3, 8])
def test_a_group_comes_to_test_as_often_as_one_of_its_photographs_does(kept: int) -> None:
    groups = {f"a-{n}": f"a-{n // kept * kept}" for n in range(2000 * kept)}

    split = assign(images({"a": 2000 * kept}, groups=groups))

    assert within(int((split == "test").sum()) // kept, 1 - 0.85**kept, 2000)


def test_what_is_kept_together_draws_once_however_much_it_is() -> None:
    frame = images({"a": 4000, "b": 4000})
    patient = [f"patient {n % 800}" for n in range(8000)]
    frame = frame.assign(keep_together=patient, split_group=patient)

    split = assign(frame)

    assert within(split[split == "test"].index.map(lambda row: patient[row]).nunique(), 0.15, 800)


# --- given splits -----------------------------------------------------------------------------------------------------


def test_a_split_given_by_the_source_is_kept() -> None:
    frame = joined(*(images({"a": 4, "b": 6}, split) for split in ("train", "val", "test")))

    assert (assign(frame) == frame["source_split"]).all()


@pytest.mark.parametrize(("held_out", "drawn"), [("test", "val"), ("val", "test")])
def test_what_a_source_lacks_is_carved_out_of_its_train_images(held_out: str, drawn: str) -> None:
    frame = joined(images({"a": 1700, "b": 340}, "train"), images({"a": 30, "b": 30}, held_out))

    split = assign(frame)

    assert (split[frame["source_split"] == held_out] == held_out).all()
    for label, count in (("a", 1700), ("b", 340)):
        found = Counter(split[(frame["source_split"] == "train") & (frame["label"] == label)])
        assert set(found) == {"train", drawn} and within(found[drawn], 0.15 / 0.85, count)


def test_each_source_keeps_its_own_split() -> None:
    frame = joined(images({"a": 20}, "train", "x"), images({"a": 10}, "test", "x"), images({"a": 400}, "", "y"))

    split = assign(frame)

    assert (split[20:30] == "test").all()
    assert set(split[:20]) == {"train", "val"}
    assert within(Counter(split[30:])["test"], 0.15, 400)


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
    frame = joined(*(images({"a": 8}, s) for s in ("train", "val", "test")))
    first = {"train": 0, "val": 8, "test": 16}
    members = [first[s] for s in given_splits]
    frame.loc[members, "split_group"] = frame.loc[members[0], "image_id"]

    split = assign(frame)

    assert set(split[members]) == {expected}
    rest = frame.index.difference(members)
    assert (split[rest] == frame["source_split"][rest]).all()


def test_copies_can_be_left_out_so_that_a_published_test_split_stays_as_it_is() -> None:
    frame = joined(
        images({"a": 80, "b": 80}, "train"), images({"a": 20, "b": 20}, "test"), images({"b": 40}, "", "mine")
    )
    for copy, original in ((0, 160), (1, 160), (90, 170), (201, 165), (161, 160)):
        frame.loc[copy, "split_group"] = frame.loc[original, "split_group"]

    assigned = splits.assign_splits(frame, SHARES.model_copy(update={"duplicates": "drop_from_train"}))

    assert assigned.left_out[assigned.left_out].index.tolist() == [0, 1, 90, 201]
    kept = frame[~assigned.left_out]
    of_published = assigned.split[kept.index][kept["source"] == "s"]
    assert of_published[of_published == "test"].index.tolist() == list(range(160, 200))
    assert not splits.assign_splits(frame, SHARES).left_out.any()


# --- small classes ----------------------------------------------------------------------------------------------------


def test_a_small_class_fills_every_split_and_says_so() -> None:
    frame = images({"large": 300, **{f"small {n}": 3 for n in range(20)}})

    assigned = splits.assign_splits(frame, SHARES)

    counts = pd.crosstab(frame["label"], assigned.split)
    assert (counts.drop(index="large") == 1).all(axis=None)
    assert set(assigned.filled) <= {f"small {n}" for n in range(20)} and len(assigned.filled) > 10
    assert "large" not in assigned.filled


def test_three_large_groups_still_reach_three_splits() -> None:
    frame = images({"a": 15}, groups={f"a-{n}": f"a-{n // 5 * 5}" for n in range(15)})

    assert Counter(assign(frame)) == {"train": 5, "val": 5, "test": 5}


def test_a_seed_is_proposed_where_a_class_falls_short() -> None:
    frame = images(dict.fromkeys("abcd", 40))
    seeds = [s for s in range(40) if splits.propose_seed(frame, SHARES.model_copy(update={"split_seed": s}))[0]]
    assert seeds, "four classes of 40 often have one with fewer than three images in val or test"
    seed = seeds[0]
    short, better = splits.propose_seed(frame, SHARES.model_copy(update={"split_seed": seed}))

    def counts(seed: int) -> pd.DataFrame:
        return pd.crosstab(frame["label"], assign(frame, seed))[["val", "test"]]

    assert short == sorted(counts(seed).index[(counts(seed) < 3).any(axis=1)])
    assert better is not None and better > seed and (counts(better) >= 3).all(axis=None)
    assert splits.propose_seed(images({"a": 5000}), SHARES) == ([], None)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (images({"lemon": 30, "orange": 2}), "class 'orange' has 2 images .* too few to give (val|test|train) one"),
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
        assign(frame)


def test_all_classes_that_are_too_small_are_named_at_once() -> None:
    frame = images({"large": 300, **{f"small {n:03d}": 1 + n % 2 for n in range(300)}})

    with pytest.raises(DataError) as caught:
        assign(frame)

    assert all(f"class 'small {n:03d}' has {1 + n % 2} image" in str(caught.value) for n in range(300))
    assert "'large'" not in str(caught.value) and "\n" not in str(caught.value)


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
    digests = [hashlib.sha256(i.encode()).hexdigest() for i in frame["image_id"]]
    return frame.assign(source="s", source_split=chosen, keep_together="", photo_sha256=digests)


@settings(max_examples=30)
@given(frame=grouped_images(), seed=st.integers(0, 5), duplicates=st.sampled_from(("keep", "drop_from_train")))
def test_a_group_is_never_on_two_sides(frame: pd.DataFrame, seed: int, duplicates: str) -> None:
    try:
        split = assign(frame, seed, duplicates=duplicates)
    except DataError as error:  # moved groups can empty the train images a split is carved from
        assert "too few" in str(error)
        return
    assert (split.groupby(frame["split_group"]).nunique() == 1).all()
    assert set(split) <= {"train", "val", "test"}


def test_crops_of_a_photograph_and_duplicates_join_transitively() -> None:
    frame = pd.DataFrame(
        [("5", "p1", "5"), ("3", "p1", "2"), ("2", "p2", "2"), ("1", "p3", "1"), ("4", "p4", "1"), ("6", "p5", "6")],
        columns=["image_id", "photo_id", "duplicate_group"],
    )
    frame = frame.assign(photo_sha256=frame["photo_id"], source="s", keep_together="")

    assert splits.join_split_groups(frame).tolist() == ["2", "2", "2", "1", "1", "6"]


def test_photographs_with_the_same_bytes_join_whatever_they_are_called() -> None:
    frame = pd.DataFrame(
        [("1", "p1", "x", "1"), ("2", "p2", "x", "2"), ("3", "p3", "y", "2"), ("4", "p4", "z", "4")],
        columns=["image_id", "photo_id", "photo_sha256", "duplicate_group"],
    ).assign(source="s", keep_together="")

    assert splits.join_split_groups(frame).tolist() == ["1", "1", "1", "4"]


def test_what_is_kept_together_joins_within_its_source() -> None:
    frame = pd.DataFrame(
        [("1", "a", "p"), ("2", "a", ""), ("3", "a", "p"), ("4", "b", "p"), ("5", "a", ""), ("6", "b", "q")],
        columns=["image_id", "source", "keep_together"],
    )
    frame = frame.assign(photo_id=frame["image_id"], photo_sha256=frame["image_id"], duplicate_group=frame["image_id"])

    assert splits.join_split_groups(frame).tolist() == ["1", "2", "1", "4", "5", "6"]


@settings(max_examples=50)
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
    ).assign(source="s", keep_together="")
    groups = splits.join_split_groups(frame)
    for column in ("photo_id", "photo_sha256", "duplicate_group"):
        assert (groups.groupby(frame[column]).nunique() == 1).all()
    assert all(groups[frame["image_id"] == leader].item() == leader for leader in groups.unique())
    shuffled = list(frame.index)
    order.shuffle(shuffled)
    pd.testing.assert_series_equal(splits.join_split_groups(frame.loc[shuffled]).sort_index(), groups)
