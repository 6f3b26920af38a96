"""Which folders are splits and classes. A case is (files and folders given, split/label expected, reasons expected)."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.config.dataset import FolderLayout
from podium.core.errors import DataError
from podium.records.fetch import SkippedFile
from podium.sources.class_folders import arrange
from podium.sources.names import split_word

# Each case: name -> (files, {path: (split, label)}, {skipped path: part of the reason}).
TREES = {
    # The plain case, and the class is the folder directly below the top.
    "classes only": (["a/1.jpg", "b/1.jpg"], {"a/1.jpg": ("", "a"), "b/1.jpg": ("", "b")}, {}),
    # One folder around everything is what "Compress" of a file manager makes.
    "one folder around": (["flowers/daisy/1.jpg", "flowers/rose/1.jpg"], {"flowers/daisy/1.jpg": ("", "daisy")}, {}),
    # Around the splits as well, and twice.
    "two folders around splits": (
        ["x/cifar10/train/cat/1.jpg", "x/cifar10/test/dog/1.jpg"],
        {"x/cifar10/train/cat/1.jpg": ("train", "cat"), "x/cifar10/test/dog/1.jpg": ("test", "dog")},
        {},
    ),
    # Every name people give a split, in any case; two names of one split are one split.
    "names of splits": (
        ["Training/a/1.jpg", "VALID/a/1.jpg", "validation/b/1.jpg", "Testing/b/1.jpg"],
        {
            "Training/a/1.jpg": ("train", "a"),
            "VALID/a/1.jpg": ("val", "a"),
            "validation/b/1.jpg": ("val", "b"),
            "Testing/b/1.jpg": ("test", "b"),
        },
        {},
    ),
    # Only one split, and nothing else: it must not be opened as if it were the folder around the classes.
    "train alone": (["train/a/1.jpg", "train/b/1.jpg"], {"train/a/1.jpg": ("train", "a")}, {}),
    # A folder below a class belongs to the class, even one called like a split.
    "nested below a class": (
        ["a/deep/er/1.jpg", "a/test/2.jpg", "b/1.jpg"],
        {"a/deep/er/1.jpg": ("", "a"), "a/test/2.jpg": ("", "a")},
        {},
    ),
    # `train` is a vehicle: images lie directly in it.
    "a class called train": (
        ["bus/1.jpg", "car/1.jpg", "train/1.jpg"],
        {"train/1.jpg": ("", "train"), "bus/1.jpg": ("", "bus")},
        {},
    ),
    # A name that only begins like a split is a class.
    "a class called testament": (["testament/1.jpg", "trains/1.jpg"], {"testament/1.jpg": ("", "testament")}, {}),
    # The test part of a competition has no labels.
    "unlabelled test images": (
        ["train/a/1.jpg", "train/b/1.jpg", "test/77.jpg"],
        {"train/a/1.jpg": ("train", "a")},
        {"test/77.jpg": "has no label: test/ has no class folders"},
    ),
    # Kaggle wraps them in one more folder; it is no class.
    "unlabelled test images in a folder": (
        ["train/a/1.jpg", "train/b/1.jpg", "test/unknown/77.jpg"],
        {"train/a/1.jpg": ("train", "a")},
        {"test/unknown/77.jpg": "has no label"},
    ),
    # ImageNet keeps the labels of val in a file.
    "a flat val": (
        ["train/n01/1.JPEG", "train/n02/2.JPEG", "val/ILSVRC_1.JPEG"],
        {"train/n01/1.JPEG": ("train", "n01")},
        {"val/ILSVRC_1.JPEG": "has no label: val/ has no class folders"},
    ),
    "other words for splits": (
        ["train/a/1.jpg", "dev/a/2.jpg", "holdout/a/3.jpg"],
        {"dev/a/2.jpg": ("val", "a"), "holdout/a/3.jpg": ("test", "a")},
        {},
    ),
    "splits below the classes": (
        ["x/a/train/1.jpg", "x/a/test/2.jpg", "x/b/train/deep/1.jpg", "x/b/test/2.jpg", "x/b/cover.jpg"],
        {
            "x/a/train/1.jpg": ("train", "a"),
            "x/a/test/2.jpg": ("test", "a"),
            "x/b/train/deep/1.jpg": ("train", "b"),
            "x/b/test/2.jpg": ("test", "b"),
        },
        {"x/b/cover.jpg": "outside the folders of the splits"},
    ),
    # TinyImageNet: one folder that is called alike in every class tells nothing.
    "a folder of images in each class": (
        ["a/images/1.jpg", "b/images/1.jpg"],
        {"a/images/1.jpg": ("", "a"), "b/images/1.jpg": ("", "b")},
        {},
    ),
    # Documents beside the splits or around them are no classes.
    "papers and notes beside the splits": (
        ["f/Training/a/1.jpg", "f/Test/b/1.jpg", "f/papers/p.pdf", "f/readme.md", "f/multi/1.jpg"],
        {"f/Training/a/1.jpg": ("train", "a"), "f/Test/b/1.jpg": ("test", "b")},
        {"f/papers/p.pdf": ".pdf", "f/readme.md": ".md", "f/multi/1.jpg": "outside the folders of the splits"},
    ),
    "annotations beside the one folder": (
        ["images/a/1.jpg", "images/b/1.jpg", "annotations/1.xml", "LICENSE"],
        {"images/a/1.jpg": ("", "a")},
        {"annotations/1.xml": ".xml", "LICENSE": "no extension"},
    ),
    # An image beside the class folders has no class, whether at the top or one level down.
    "images without a class": (
        ["cover.jpg", "f/logo.png", "f/a/1.jpg", "f/b/1.jpg"],
        {"f/a/1.jpg": ("", "a")},
        {"cover.jpg": "no class folder", "f/logo.png": "no class folder"},
    ),
    # What operating systems leave behind is neither a class nor a folder around; `._1.jpg` even ends like an image.
    "litter": (
        [
            "__MACOSX/f/a/._1.jpg",
            "f/.DS_Store",
            "f/a/Thumbs.db",
            "f/a/.hid.jpg",
            "f/a/1.jpg",
            "f/b/1.jpg",
            ".git/x/1.jpg",
        ],
        {"f/a/1.jpg": ("", "a"), "f/b/1.jpg": ("", "b")},
        {
            "__MACOSX/f/a/._1.jpg": "hidden",
            "f/.DS_Store": "hidden",
            "f/a/Thumbs.db": "operating system",
            "f/a/.hid.jpg": "hidden",
            ".git/x/1.jpg": "hidden",
        },
    ),
    # Extensions in any case, rare ones too; archives inside are not opened.
    "extensions": (
        ["a/1.JPG", "a/2.JpEg", "a/3.jfif", "a/4.WEBP", "a/5.avif", "b/6.tiff", "b/7.zip", "b/8.tar.gz", "b/jpg"],
        {p: ("", p[0]) for p in ("a/1.JPG", "a/2.JpEg", "a/3.jfif", "a/4.WEBP", "a/5.avif", "b/6.tiff")},
        {"b/7.zip": "archive inside", "b/8.tar.gz": "archive inside", "b/jpg": "no extension"},
    ),
    # Pictures of kinds that are not read say what to do; they do not count as rejected.
    "kinds that are not read": (
        ["a/1.jpg", "a/1.CR2", "b/1.jpg", "b/2.tga", "b/3.parquet", "b/4.mp4"],
        {"a/1.jpg": ("", "a"), "b/1.jpg": ("", "b")},
        {"a/1.CR2": "a raw photograph", "b/2.tga": "convert it", "b/3.parquet": "write them out", "b/4.mp4": "frames"},
    ),
    # Class names are what people type: other scripts, emoji with joiners, spaces, a leading dash, dots, quotes.
    "names in any script": (
        ["사과/ㄱ 1.jpg", "تفاح/١.jpg", "👩🏽‍🌾 farm/1.jpg", "-rf/-1.jpg", 'it\'s. "x"/a b.jpg'],
        {
            "사과/ㄱ 1.jpg": ("", "사과"),
            "تفاح/١.jpg": ("", "تفاح"),
            "👩🏽‍🌾 farm/1.jpg": ("", "👩🏽‍🌾 farm"),
            "-rf/-1.jpg": ("", "-rf"),
            'it\'s. "x"/a b.jpg': ("", 'it\'s. "x"'),
        },
        {},
    ),
}


WORDS = {
    "train": "train Training TRAIN trn training_set train_images 1_train 01-train train2017 Train-Data trainset",
    "val": "val VALID validation validate dev Devel development eval Evaluation val_set Val2017 validset",
    "test": "test Testing tst holdout hold-out Held_Out test_set TestImages 3.test test-dataset",
    None: "testament trains train_clean trainA latest devil value fold0 images 2017 validity evaluate a",
}


@pytest.mark.parametrize(("name", "split"), [(name, split) for split, names in WORDS.items() for name in names.split()])
def test_names_of_splits_are_those_people_use(name: str, split: str | None) -> None:
    found = split_word(name)
    assert (found and found.split) == split
    if split:
        assert arrange("it", ["train/a/0.jpg", f"{name}/a/1.jpg"], []).images[-1].split in (split, "train")


FOLDS = ["fold0/a/1.jpg", "fold0/b/1.jpg", "fold1/a/2.jpg", "fold1/b/2.jpg", "fold2/a/3.jpg", "fold2/b/3.jpg"]
SITES = ["north/a/1.jpg", "north/b/1.jpg", "south/a/2.jpg", "south/b/2.jpg"]
ANSWERED: dict[str, tuple[FolderLayout, list[str], dict[str, tuple[str, str]]]] = {
    # layout, files, {path: (split, label)}; files that are not among them are left out
    "folds": (
        {"fold0": "train", "fold1": "val", "fold2": "test"},
        FOLDS,
        {path: ({"0": "train", "1": "val", "2": "test"}[path[4]], path[6]) for path in FOLDS},
    ),
    "a fold left out": (
        {"fold0": "train", "fold1": "test", "fold2": "left_out"},
        FOLDS,
        {path: ({"0": "train", "1": "test"}[path[4]], path[6]) for path in FOLDS[:4]},
    ),
    "sites above the classes": ("any/classes", SITES, {path: ("", path[6]) for path in SITES}),
    "sites are the classes": ("classes", SITES, {path: ("", path[:5]) for path in SITES}),
    "a class called train with folders": (
        "classes",
        ["car/1.jpg", "train/steam/1.jpg", "train/diesel/1.jpg"],
        {
            "car/1.jpg": ("", "car"),
            "train/steam/1.jpg": ("", "train"),
            "train/diesel/1.jpg": ("", "train"),
        },
    ),
    "eval is the test": (
        {"eval": "test"},
        ["train/a/1.jpg", "eval/a/2.jpg"],
        {"train/a/1.jpg": ("train", "a"), "eval/a/2.jpg": ("test", "a")},
    ),
    "a third labelled folder left out": (
        {"extra": "left_out"},
        ["train/a/1.jpg", "test/a/2.jpg", "extra/a/3.jpg"],
        {"train/a/1.jpg": ("train", "a"), "test/a/2.jpg": ("test", "a")},
    ),
    "unlabelled images beside classes": (
        {"test": "left_out"},
        ["a/1.jpg", "b/1.jpg", "test/3.jpg"],
        {"a/1.jpg": ("", "a"), "b/1.jpg": ("", "b")},
    ),
    "folds below the classes": (
        {"p1": "train", "p2": "test", "p3": "left_out"},
        ["a/p1/1.jpg", "a/p2/2.jpg", "a/p3/3.jpg", "b/p1/1.jpg", "b/p2/2.jpg"],
        {
            "a/p1/1.jpg": ("train", "a"),
            "a/p2/2.jpg": ("test", "a"),
            "b/p1/1.jpg": ("train", "b"),
            "b/p2/2.jpg": ("test", "b"),
        },
    ),
    "one split below some classes": (
        "classes/splits",
        ["a/train/1.jpg", "a/test/2.jpg", "b/train/1.jpg"],
        {"a/train/1.jpg": ("train", "a"), "a/test/2.jpg": ("test", "a"), "b/train/1.jpg": ("train", "b")},
    ),
}


@pytest.mark.parametrize(("layout", "files", "expected"), ANSWERED.values(), ids=ANSWERED)
def test_what_names_do_not_say_the_key_layout_does(
    layout: FolderLayout, files: list[str], expected: dict[str, tuple[str, str]]
) -> None:
    arranged = arrange("it", files, [], layout=layout)
    assert {image.path: (image.split, image.label) for image in arranged.images} == expected
    assert {s.path for s in arranged.skipped} == set(files) - expected.keys()


def test_a_layout_that_names_no_folder_is_refused() -> None:
    with pytest.raises(DataError, match=r"dataset\.layout names 'fold9', but it has no such folder"):
        arrange("it", FOLDS, [], layout={"fold9": "val"})


NOTED = {
    "dev/ is taken for val": ["train/a/1.jpg", "dev/a/2.jpg"],
    "test/ has no class folders, so what it holds (2 images) has no labels and is left out, and test is drawn from": [
        "train/a/1.jpg",
        "test/1.jpg",
        "test/2.jpg",
    ],
    "val/ has no class folders, so what it holds (1 image)": ["train/a/1.jpg", "train/b/1.jpg", "val/1.jpg"],
    "f/more/ (1 image) lies beside the folders of the splits": ["f/train/a/1.jpg", "f/test/a/1.jpg", "f/more/1.jpg"],
}


@pytest.mark.parametrize(("note", "files"), NOTED.items())
def test_people_are_told_how_folders_were_understood(note: str, files: list[str]) -> None:
    (said,) = arrange("it", files, []).notes
    assert note in said


@pytest.mark.parametrize(("files", "expected", "left_out"), TREES.values(), ids=TREES)
def test_folders_become_splits_and_classes(
    files: list[str], expected: dict[str, tuple[str, str]], left_out: dict[str, str]
) -> None:
    arranged = arrange("it", files, [])
    found = {image.path: (image.split, image.label) for image in arranged.images}
    assert {path: found.get(path) for path in expected} == expected
    reasons = {s.path: s.reason for s in arranged.skipped}
    assert reasons.keys() == left_out.keys()
    assert all(part in reasons[path] for path, part in left_out.items())
    assert sorted([*found, *reasons]) == sorted(files)  # every file is an image or has a row that says why not


REFUSED = {
    "no files at all": ([], [], "holds no images"),
    "no images": (["a/1.txt"], [], "holds no images (1 other files; the first, 'a/1.txt': not an image file (.txt))"),
    "a line break for an ending": (["a/1.\n"], [], "the first, 'a/1.\\n': not an image file"),
    "images without folders": (["1.jpg", "2.jpg"], [], "no class folder around them"),
    "an empty class folder": (["a/1.jpg", "b/1.jpg"], ["c"], "class folder 'c' holds no images"),
    "a class folder with no images of its own": (["a/1.jpg", "b/1.jpg", "c/1.txt"], [], "class folder 'c'"),
    "a class folder with only litter": (["a/1.jpg", "b/1.jpg", "c/Thumbs.db"], ["c"], "class folder 'c'"),
    "an empty class folder in a split": (
        ["train/a/1.jpg", "train/b/1.jpg", "test/a/1.jpg"],
        ["test/b"],
        "class folder 'test/b' holds no images",
    ),
    # An empty folder beside the only inhabited one: is that one a class, or the folder around the classes?
    "an empty folder beside a folder of folders": (["a/x/1.jpg", "a/y/1.jpg"], ["b"], "class folder 'b'"),
    # Steam and diesel trains beside cars: a split or a class?
    "train as a class of folders": (["car/1.jpg", "train/steam/1.jpg", "train/diesel/1.jpg"], [], "could be a split"),
    "folds": (FOLDS, [], "folder 'fold0' looks like a split"),
    "an unknown split": (
        ["train_clean/a/1.jpg", "train_clean/b/1.jpg", "noisy/a/1.jpg"],
        [],
        "'train_clean' looks like",
    ),
    "the same folders under every class": (SITES, [], "folders 'a' and 'b' repeat under every class folder"),
    "the same folders under every class of a split": (
        [f"train/{path}" for path in SITES],
        [],
        "set dataset.layout to `classes` where",
    ),
    "splits below one class only": (
        ["a/train/1.jpg", "a/test/2.jpg", "b/1.jpg"],
        [],
        "'a' holds folders of splits, but not every class does",
    ),
    "an unknown split below every class": (
        ["a/train/1.jpg", "a/test/2.jpg", "a/more/3.jpg", "b/train/1.jpg", "b/test/2.jpg"],
        [],
        "'a/more' is no split that is known: say what it is with `dataset.layout: {more: val}`",
    ),
    "a third folder of the same classes": (
        ["train/a/1.jpg", "test/a/2.jpg", "extra/a/3.jpg"],
        [],
        "'extra' lies beside 'test' and holds 'a' too",
    ),
    "two words for one split": (
        ["train/a/1.jpg", "test/a/2.jpg", "holdout/a/3.jpg"],
        [],
        "'holdout' and 'test' would both be test: say what it is with `dataset.layout: {test: test}`",
    ),
    "test beside classes": (["a/1.jpg", "b/1.jpg", "test/3.jpg"], [], "dataset.layout: {test: left_out}"),
    "many empty class folders": (
        ["a/1.jpg", "b/1.jpg"],
        ["c", "d", "e"],
        "class folders 'c', 'd', 'e' hold no images: add some or remove them",
    ),
    "splits without classes": (["train/1.jpg", "test/2.jpg"], [], "it needs a folder a class inside"),
}


@pytest.mark.parametrize(("files", "folders", "message"), REFUSED.values(), ids=REFUSED)
def test_a_tree_that_cannot_be_compared_is_refused_in_one_line(
    files: list[str], folders: list[str], message: str
) -> None:
    with pytest.raises(DataError) as caught:
        arrange("photos", files, folders)
    assert message in str(caught.value)
    assert "photos" in str(caught.value) and "\n" not in str(caught.value)


def test_only_files_that_were_meant_to_be_images_of_a_class_count_as_rejected() -> None:
    broken = SkippedFile(path="train/a/2.jpg", reason="a link that leads nowhere", image=True)
    files = ["train/a/1.jpg", "train/b/1.jpg", "train/cover.jpg", "test/a/1.jpg", "test/77.jpg", "extra/8.jpg", "a.txt"]
    skipped = arrange("photos", files, [], [broken]).skipped
    assert {file.path: file.image for file in skipped} == {
        "a.txt": False,
        "extra/8.jpg": False,
        "test/77.jpg": False,
        "train/cover.jpg": False,
        "train/a/2.jpg": True,
    }


name = st.text("abcZ9 -._äß", min_size=1, max_size=5).filter(lambda n: n not in (".", ".."))
paths = st.lists(name, min_size=1, max_size=5).map("/".join)


@given(st.lists(st.tuples(paths, st.sampled_from(("", ".jpg", ".txt"))).map("".join), max_size=12, unique=True))
def test_any_tree_is_sorted_out_whatever_its_order_or_refused(files: list[str]) -> None:
    try:
        arranged = arrange("it", files, [])
    except DataError as refused:
        with pytest.raises(DataError, match="^it") as again:
            arrange("it", files[::-1], [])
        assert str(again.value) == str(refused)
        return
    assert arranged == arrange("it", files[::-1], [])
    assert sorted([i.path for i in arranged.images] + [s.path for s in arranged.skipped]) == sorted(files)
    assert all(unicodedata.is_normalized("NFC", i.label) and i.label in i.path.split("/") for i in arranged.images)
