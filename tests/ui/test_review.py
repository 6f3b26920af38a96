"""Wrong labels, from the check that names them to the data without them: page, file, `dvc repro`, and back."""

import csv
import io
import re
import time

import pandas as pd
import pytest
from PIL import Image

from benchmarks.scratch import commit, copy_project
from podium.core.files import sha256_tree
from podium.core.layout import Layout
from podium.records.fetch import Sources
from podium.records.profile import LabelNoise
from podium.report.pages import inlined
from podium.report.review import Doubt, Shown, render_review
from podium.sources.corrections import Row
from tests.shapes import shape_pictures
from tests.ui.conftest import PATIENCE

PER_CLASS = 60
MOVED = {
    "disc/a.png": "square/003.png",
    "ring/b.png": "cross/004.png",
    "square/c.png": "disc/001.png",
    "cross/d.png": "ring/002.png",
}
"""Images in the folder of another class than they are of, and where they were; none of them is drawn for test."""
WRONG = {path: place.split("/")[0] for path, place in MOVED.items()}
FILE = "data/corrections.csv"


@pytest.fixture(scope="module")
def project(tmp_path_factory, warm_path):
    """A project with wrong labels whose data went through `validate`, and the raw data that fetch left."""
    project = copy_project(tmp_path_factory.mktemp("review") / "project")
    photos, pictures = project.root / "data" / "photos", zip(*shape_pictures(PER_CLASS), strict=True)
    names = [f"{number:03d}.png" for number in range(4 * PER_CLASS)]
    for name, (pixels, shape) in zip(names, pictures, strict=True):
        (photos / shape).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(photos / shape / name)
    for path, place in MOVED.items():
        (photos / place).rename(photos / path)
    project.change_params(
        experiment="shapes",
        dataset={"source": "folder", "location": "data/photos", "licence": "CC0-1.0"},
        preprocess={"image_size": 48},
        models={"small": {"architecture": "resnet10t"}},
        validate={"near_copies_in_one_split": {"severity": "warning", "because": "shapes look alike"}},
    )
    commit(project)
    repro(project, warm_path)
    return project


def repro(project, warm_path):
    """Runs the stages up to validate; returns those that ran, but for `code`, which always does, and what was said."""
    done = project.run("dvc", "repro", "validate", PATH=warm_path)
    assert done.returncode == 0, done.stdout + done.stderr
    return [stage for stage in re.findall(r"Running stage '(\w+)'", done.stdout) if stage != "code"], done.stdout


def raw_of(layout):
    """A digest of what fetch left, and the labels and splits of the prepared images by path."""
    prepared = pd.read_parquet(layout.manifest).set_index("path")
    return sha256_tree(layout.raw.iterdir(), layout.raw), prepared["label"].to_dict(), prepared["split"].to_dict()


@pytest.fixture(scope="module")
def written(project):
    """The folder of page and CSV."""
    done = project.run("podium", "review", "--no-open", "--out", "looked-at")
    assert done.returncode == 0, done.stderr
    assert "No model was asked: none has won yet" in done.stdout
    return project.root / "looked-at"


@pytest.fixture
def review(page, written):
    """The page, opened; nothing may be asked of the network or be said in the console."""
    said: list[str] = []
    page.on("request", lambda request: said.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto((written / "review.html").as_uri())
    yield page
    assert [text for text in said if not text.startswith(("file:", "data:", "blob:"))] == []


def card(page, path):
    return page.locator(f'figure.doubt[data-path="{path}"]')


def downloaded(page, name="corrections.csv"):
    """The rows of the file that the page gives out."""
    with page.expect_download() as waited:
        page.get_by_role("button", name=f"Download {name}").click()
    assert waited.value.suggested_filename == name
    text = waited.value.path().read_text(encoding="utf-8-sig")
    return text, list(csv.DictReader(io.StringIO(text)))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_is_readable_everywhere(browser, keep, written, width, scheme):
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    page.goto((written / "review.html").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate("[...document.images].filter(image => image.naturalWidth === 0).length") == 0
    cut = "e => e.getBoundingClientRect().right > innerWidth + 1"
    assert page.evaluate(f"[...document.querySelectorAll('main *')].filter({cut}).map(e => e.outerHTML)") == []
    keep(page, f"review_{scheme}_{width}")
    context.close()


def test_every_choice_can_be_made_by_key_and_survives_a_reload(review):
    from playwright.sync_api import expect

    figures, told = review.locator("figure.doubt"), review.locator(".bar-of-work output")
    labels = [figures.nth(at).get_attribute("data-label") for at in range(3)]
    suggested = figures.nth(1).get_attribute("data-suggested")
    for key, at in [("ArrowRight", 0), ("r", 1), ("s", 2), ("x", 3), ("ArrowLeft", 2)]:  # a choice goes on to the next
        review.keyboard.press(key)
        expect(figures.nth(at)).to_be_focused(timeout=PATIENCE)
    review.keyboard.press("w")
    review.keyboard.type("ask, Ann")
    expect(figures.nth(2).locator("input")).to_have_value("ask, Ann", timeout=PATIENCE)
    for key, at in [("Escape", 2), ("ArrowLeft", 1), ("ArrowLeft", 0), ("u", 0)]:
        review.keyboard.press(key)
        expect(figures.nth(at)).to_be_focused(timeout=PATIENCE)
    two = re.compile(r"2 of \d+ decided: 1 of another class, 0 right, 1 left out")
    expect(told).to_have_text(two, timeout=PATIENCE)
    until = time.monotonic() + PATIENCE / 1000
    review.reload()
    while not two.match(told.inner_text()) and time.monotonic() < until:
        review.reload()  # another process of the browser draws the page; what the last one kept may come to it late
    assert two.match(told.inner_text())
    rows = downloaded(review)[1]
    assert [(row["was"], row["label"], row["why"]) for row in rows] == [
        (labels[1], suggested, ""),
        (labels[2], "left_out", "ask, Ann"),
    ]


def test_filters_show_a_part_and_pictures_enlarge(review):
    labels = [figure.get_attribute("data-label") for figure in review.locator("figure.doubt").all()]
    review.get_by_label("Its label").select_option("disc")
    assert review.locator("figure.doubt:visible").count() == labels.count("disc") < len(labels)
    card(review, "disc/a.png").get_by_title("Enlarge").click()
    review.keyboard.press("x")  # is no choice now
    assert review.get_by_role("dialog").locator("img").count() == 1
    review.keyboard.press("Escape")
    review.get_by_label("Decided").select_option("yes")
    assert review.locator("figure.doubt:visible").count() == 0


def test_labels_are_corrected_and_the_correction_can_be_taken_back(project, written, review, warm_path):
    layout = Layout(project.root)
    raw, labels, splits = raw_of(layout)
    named = {one.path: one.suggested for one in LabelNoise.read(layout.validation / "label_noise.json").candidates}
    assert named.items() >= WRONG.items()
    first, *others = WRONG
    card(review, first).get_by_label("Label of").select_option(WRONG[first])
    card(review, first).get_by_placeholder("why").fill('four "corners"')
    for path in others[:-1]:
        card(review, path).get_by_role("button", name=f"It is {WRONG[path]}").click()
    card(review, others[-1]).get_by_role("button", name="Leave out").click()
    right = next(path for path in named if path not in WRONG) if len(named) > len(WRONG) else None
    if right:
        card(review, right).get_by_role("button", name="Right as it is").click()
    text, rows = downloaded(review)
    assert {row["path"]: row["was"] for row in rows} == {
        path: labels[path] for path in [*WRONG, *filter(None, [right])]
    }
    (project.root / FILE).write_text(text, encoding="utf-8")
    project.change_params(dataset={"corrections": FILE})

    ran, said = repro(project, warm_path)
    assert ran == ["fetch", "preprocess", "validate"]
    assert f"fetch: {FILE}: 3 labels corrected, 1 image left out" in said
    corrected, dropped = {path: WRONG[path] for path in [first, *others[:-1]]}, others[-1]
    _, now, still = raw_of(layout)
    assert now == {path: corrected.get(path, label) for path, label in labels.items() if path != dropped}
    assert still == {path: split for path, split in splits.items() if path != dropped}
    counted = Sources.read(layout.raw / "sources.json").corrections
    assert [(one.path, one.why) for one in counted.corrected if one.why] == [(first, 'four "corners"')]
    after = LabelNoise.read(layout.validation / "label_noise.json")
    assert not {*WRONG} & {one.path for one in after.candidates}
    assert repro(project, warm_path)[0] == []

    again = project.run("podium", "review", "--no-open", "--out", "again")
    page = (project.root / "again" / "review.html").read_text() if "review.html" in again.stdout else ""
    assert not any(f'data-path="{path}"' in page for path in [*WRONG, right])
    (project.root / FILE).write_text(text + "ring/none.png,,,disc,\n", encoding="utf-8")
    refused = project.run("dvc", "repro", "validate", PATH=warm_path)
    assert refused.returncode != 0
    assert "names 1 images that the dataset does not have: 'ring/none.png'" in refused.stdout + refused.stderr

    (project.root / FILE).unlink()
    project.change_params(dataset={"corrections": None})
    repro(project, warm_path)
    assert raw_of(layout) == (raw, labels, splits)


def test_images_that_are_not_in_the_dataset_get_a_file_of_their_own(page, tmp_path):
    dot = inlined(b"", "webp")
    shown = [
        Shown(image_id, path, label, "train" if image_id else "", dot, (Doubt(path, "prediction", "said", "leek"),))
        for image_id, path, label in (("0" * 16, "a.jpg", "plum"), ("", 'new/"1", x.jpg', ""), ("", "new/2.jpg", ""))
    ]
    earlier = [Row(2, "b.jpg", "1" * 16, "leek", "left_out", "=1+1")]
    (tmp_path / "p.html").write_text(render_review(shown, ["leek", "plum"], earlier, experiment="e", notes=[]))
    page.goto((tmp_path / "p.html").as_uri())
    for at in range(3):
        page.locator("figure.doubt").nth(at).get_by_role("button", name="It is leek").click()
    page.locator("figure.doubt").nth(2).get_by_role("button", name="Leave out").click()
    assert [(row["path"], row["label"]) for row in downloaded(page, "labels.csv")[1]] == [('new/"1", x.jpg', "leek")]
    assert [(row["path"], row["label"], row["why"]) for row in downloaded(page)[1]] == [
        ("b.jpg", "left_out", "=1+1"),
        ("a.jpg", "leek", ""),
    ]
