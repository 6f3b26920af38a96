"""The report in a real browser: it reads, sorts, filters, enlarges and prints, offline, in the dark, on a telephone."""

import re

import pytest
from playwright.sync_api import expect

from podium.config.params import load
from podium.core.layout import Layout
from podium.report.html import render_report
from podium.report.results import read_results
from tests.unit.conftest import finished_project  # noqa: F401

TABLE = "table:has(caption:text-is('Recall, precision and F1 by class'))"
FIGURES = "#mistakes ~ .gallery:not(.maps) figure"


@pytest.fixture(scope="module")
def address(finished_project, tmp_path_factory):  # noqa: F811
    """Where the report of a small experiment is."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(render_report(read_results(Layout(finished_project), load(Layout(finished_project).params))))
    return path.as_uri()


@pytest.fixture
def report(page, address):
    """The report, opened; nothing may be asked of the network or be said in the console."""
    said: list[str] = []
    page.on("request", lambda request: said.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(address)
    yield page
    assert [text for text in said if not text.startswith(("file:", "data:"))] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_readable_on_a_telephone_and_in_the_dark(browser, keep, address, scheme):
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme=scheme)
    page = context.new_page()
    page.goto(address)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    cut = "e => e.getBoundingClientRect().right > innerWidth + 1 && e.textContent"
    assert page.evaluate(f"[...document.querySelectorAll('main *')].filter({cut}).map(e => e.outerHTML)") == []
    shades = page.evaluate("['color', 'backgroundColor'].map(k => getComputedStyle(document.body)[k])")
    ink, paper = (sum(int(number) for number in re.findall(r"\d+", shade)[:3]) for shade in shades)
    assert (ink > paper) == (scheme == "dark") and abs(ink - paper) > 500
    keep(page, f"report_{scheme}_390")
    page.click("nav a[href='#origin']")
    expect(page.locator("#origin")).to_be_in_viewport(timeout=300_000)  # it scrolls smoothly
    context.close()


def test_every_picture_is_there_and_it_prints(report, keep):
    assert "감" in report.inner_text("body")
    assert report.locator("img").count() >= 10
    assert report.evaluate("[...document.images].filter(image => image.naturalWidth === 0).length") == 0
    assert len(re.findall(rb"/Type\s*/Page[^s]", report.pdf())) <= 16
    keep(report, "report")


def test_without_the_script_everything_is_shown(browser, address):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address)
    figures = page.locator(FIGURES)
    assert figures.count() == sum(figure.is_visible() for figure in figures.all()) > 5
    assert page.locator("form, dialog, button").count() == 0
    context.close()


def test_a_table_is_sorted_by_its_headings_and_says_so(report):
    table = report.locator(TABLE)
    heading = table.get_by_role("columnheader", name="Recall, tiny_resnet")
    column = heading.evaluate("heading => heading.cellIndex")

    def values():
        cells = table.locator(f"tbody tr > :nth-child({column + 1})").all()
        return [float(re.match(r"[\d.]+", cell.inner_text().strip())[0]) for cell in cells]

    assert heading.get_attribute("aria-sort") == "none"
    heading.get_by_role("button").focus()
    report.keyboard.press("Enter")
    assert heading.get_attribute("aria-sort") == "descending"
    assert values() == sorted(values(), reverse=True)
    report.keyboard.press("Enter")
    assert heading.get_attribute("aria-sort") == "ascending"
    assert values() == sorted(values())
    name = table.get_by_role("columnheader", name="Class")
    name.get_by_role("button").click()
    assert (name.get_attribute("aria-sort"), heading.get_attribute("aria-sort")) == ("ascending", "none")
    assert table.locator("tbody th").first.inner_text() == "<b>pear</b>"


@pytest.mark.parametrize(
    ("cells", "sorted_"),
    [
        (["7.4 ms", "2.06 s", "–", "80 ms"], ["2.06 s", "80 ms", "7.4 ms", "–"]),
        (["610 M", "1.2 G", "64 k"], ["1.2 G", "610 M", "64 k"]),
        (["1\u202f200", "90", "about 450"], ["1\u202f200", "about 450", "90"]),
        (["0.3", "1.2e-05", "0.004"], ["0.3", "0.004", "1.2e-05"]),
        (["b10", "b9", "a"], ["a", "b9", "b10"]),
    ],
)
def test_numbers_are_sorted_by_what_they_mean(page, address, cells, sorted_):
    rows = "".join(f"<tr><td>{cell}</td></tr>" for cell in cells)
    table = f"<table id='made'><thead><tr><th>x</th></tr></thead><tbody>{rows}</tbody></table>"
    page.add_init_script(
        f"addEventListener('readystatechange', () => document.readyState === 'interactive' || 0);"
        f"new MutationObserver((_, o) => {{ const m = document.querySelector('main'); if (m && !window.made) "
        f'{{ window.made = 1; m.insertAdjacentHTML("afterbegin", {table!r}); o.disconnect(); }} }})'
        ".observe(document, {childList: true, subtree: true});"
    )
    page.goto(address)
    page.click("#made th button")
    assert page.locator("#made tbody td").all_inner_texts() == sorted_


def test_the_gallery_is_filtered_by_model_class_and_slice(report):
    figures = report.locator(FIGURES)
    everything = figures.count()
    form = report.locator("#mistakes ~ form").first
    form.get_by_label("Model").select_option("tiny_resnet")
    form.get_by_label("It is", exact=True).select_option("apple")
    form.get_by_label("Slice").select_option("clean")
    shown = [figure for figure in figures.all() if figure.is_visible()]
    assert 0 < len(shown) < everything
    for figure in shown:
        assert figure.get_attribute("data-label") == "apple"
        assert "clean" in figure.get_attribute("data-slices")
        assert figure.locator("li[data-model='tiny_resnet']:not(.other)").count() == 1
    assert form.locator("output").inner_text() == f"{len(shown)} of {everything} images"
    form.get_by_role("button", name="Show all").click()
    form.get_by_text(f"{everything} of {everything} images").wait_for()


def test_a_number_of_the_confusion_matrix_shows_its_images(report):
    link = report.locator(".matrix a").first
    wanted = {key: link.get_attribute(f"data-{key}") for key in ("model", "label", "predicted")}
    answer = "".join(f"[data-{key}='{wanted[key]}']" for key in ("model", "predicted"))
    number = report.locator(f"{FIGURES}[data-label='{wanted['label']}'] li{answer}").count()
    assert 0 < number <= int(link.inner_text())
    link.click()
    shown = [figure for figure in report.locator(FIGURES).all() if figure.is_visible()]
    assert len(shown) == number
    for figure in shown:
        assert figure.get_attribute("data-label") == wanted["label"]
        (answer,) = figure.locator("li:not(.other)").all()
        assert answer.get_attribute("data-predicted") == wanted["predicted"]
        assert answer.get_attribute("data-model") == wanted["model"]
    assert report.url.endswith("#mistakes")


def test_a_picture_is_enlarged_with_the_keyboard_and_the_arrows_lead_on(report):
    first, second = report.locator(FIGURES).all()[:2]
    first.get_by_role("button").focus()
    report.keyboard.press("Enter")
    viewer = report.get_by_role("dialog")
    picture = viewer.locator("img")
    small = first.locator("img").bounding_box()["width"]
    assert picture.get_attribute("alt") == first.locator("img").get_attribute("alt")
    assert picture.bounding_box()["width"] > 2 * small
    report.keyboard.press("ArrowLeft")  # there is none before
    report.keyboard.press("ArrowRight")
    assert picture.get_attribute("alt") == second.locator("img").get_attribute("alt")
    report.keyboard.press("Escape")
    assert not viewer.is_visible()
    assert second.get_by_role("button").evaluate("button => button === document.activeElement")
