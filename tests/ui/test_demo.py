"""The demo of `podium serve` in a real browser: by mouse, drop, paste and keyboard, offline, dark, on a telephone."""

import base64
import re

import pytest

from tests.data.image_files import jpeg
from tests.unit.conftest import CLASSES, empty_store, finished_project  # noqa: F401
from tests.unit.serving.test_service import picture, project, server  # noqa: F401


@pytest.fixture
def demo(page, server):  # noqa: F811
    """The page, opened; nothing may be asked of another server or be said in the console."""
    said: list[str] = []
    page.on("request", lambda request: said.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(server.address)
    yield page
    assert [text for text in said if not text.startswith((server.address, "data:", "blob:", "Failed to load"))] == []


def give(page, data, name="lemon.png"):
    page.locator("input[type=file]").set_input_files({"name": name, "mimeType": "image/png", "buffer": data})


def answered(page, name="lemon.png"):
    page.get_by_role("status").get_by_text(re.compile(f"{re.escape(name)}: .* sure")).wait_for()


DROP = """([name, data, kind]) => {
  const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], name, { type: "image/png" }));
  const event = kind === "drop" ? new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true })
                                : new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true });
  document.body.dispatchEvent(event);
}"""


def test_a_chosen_image_gets_label_confidence_likeliest_classes_and_a_heat_map(demo, server):  # noqa: F811
    give(demo, picture(0), "<i>lemon</i>.png")
    answered(demo, "<i>lemon</i>.png")
    row = server.post("/predict", files={"image": picture(0)}).json()["predictions"][0]
    assert demo.get_by_role("heading", level=2).inner_text() == row["label"]
    assert demo.locator("#sure").inner_text() == f"{row['score']:.1%} sure"
    likely = demo.get_by_role("list", name="Likeliest classes").get_by_role("listitem").all()
    assert [one.locator("span").inner_text() for one in likely] == [one["label"] for one in row["top_k"]]
    assert demo.locator("#abstains").is_visible() == row["abstained"]
    for picture_ in demo.locator("#answer img").all():
        assert picture_.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
        assert picture_.get_attribute("alt")
    assert "version 1 · tiny_resnet" in demo.inner_text("#by")
    assert demo.inner_text(".lede").count("<b>pear</b>") == 1  # a class of that name, not bold


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_an_image_is_dropped_or_pasted(demo, kind):
    demo.evaluate(DROP, ["pear.png", base64.b64encode(picture(1)).decode(), kind])
    answered(demo, "pear.png")


def test_the_keyboard_is_enough(demo):
    choosers = []
    demo.on("filechooser", lambda chooser: choosers.append(chooser))
    demo.keyboard.press("Tab")
    assert demo.evaluate("document.activeElement.type") == "file"
    outline = demo.locator(".drop").evaluate("drop => getComputedStyle(drop).outlineStyle")
    assert outline == "solid"
    with demo.expect_event("filechooser"):
        demo.keyboard.press("Enter")
    choosers[0].set_files({"name": "a.png", "mimeType": "image/png", "buffer": picture(2)})
    answered(demo, "a.png")


def test_what_cannot_be_read_is_said_and_the_next_image_is_answered(demo):
    give(demo, jpeg()[:-40], "cut.jpg")
    alert = demo.get_by_role("alert")
    alert.get_by_text("truncated").wait_for()
    assert alert.inner_text().startswith("No answer. cut.jpg: unreadable")
    assert not demo.locator("#answer").is_visible()
    give(demo, picture(3))
    answered(demo)
    assert not alert.is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_is_readable_on_a_telephone_and_in_the_dark(browser, keep, server, scheme, width):  # noqa: F811
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme)
    page = context.new_page()
    page.goto(server.address)
    keep(page, f"demo_{scheme}_{width}_empty")
    give(page, picture(0, (220, 190)))
    answered(page)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    shades = page.evaluate("['color', 'backgroundColor'].map(k => getComputedStyle(document.body)[k])")
    ink, paper = (sum(int(number) for number in re.findall(r"\d+", shade)[:3]) for shade in shades)
    assert (ink > paper) == (scheme == "dark") and abs(ink - paper) > 500
    keep(page, f"demo_{scheme}_{width}")
    context.close()


def test_without_the_script_the_form_asks(browser, server):  # noqa: F811
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(server.address)
    give(page, picture(0))
    page.get_by_role("button", name="Ask").click()
    page.wait_for_url("**/predict")
    assert '"label"' in page.inner_text("body")
    context.close()
