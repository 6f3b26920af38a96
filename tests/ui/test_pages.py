"""What a person sees, in a real browser: the MLflow pages and the report.

Set PODIUM_SCREENSHOTS to a folder to keep the pictures and look at them.
"""

import os
import re
import shutil
from pathlib import Path

import mlflow
import pytest

from podium.registry import run_writer
from tests.servers import serving

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install -e '.[dev]')")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (apt-get install chromium)")

QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# MLflow opens with an assistant and a modal in front, unless a browser has been there before.
SEEN_BEFORE = """
localStorage.setItem('_mlflow_model_registry_promo_modal_dismissed_v1', 'true');
localStorage.setItem('mlflow.assistant.panelOpen_v1', 'false');
localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true');
"""
PATIENCE = 60_000  # milliseconds


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as p:
        chromium = p.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser):
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    context.add_init_script(SEEN_BEFORE)
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    yield page
    context.close()


@pytest.fixture(scope="module")
def mlflow_pages(finished, promoted, tmp_path_factory):
    store = f"sqlite:///{finished.root}/mlflow.db"
    command = ["mlflow", "ui", "--backend-store-uri", store, "--host", "127.0.0.1", "--port", "{port}"]
    with serving(finished, command, "/health", tmp_path_factory.mktemp("ui") / "log") as address:
        yield address


@pytest.fixture(scope="module")
def store(finished):
    return mlflow.MlflowClient(tracking_uri=f"sqlite:///{finished.root}/mlflow.db")


def keep(page, name: str) -> None:
    folder = os.environ.get("PODIUM_SCREENSHOTS")
    if folder:
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def test_the_experiment_lists_its_runs(page, mlflow_pages, store):
    experiment = store.get_experiment_by_name("small")
    page.goto(f"{mlflow_pages}/{run_writer.page(experiment.experiment_id)}")
    accuracy = winner_run(store).data.metrics["test/accuracy"]
    page.get_by_text(f"{accuracy:.1%} {winner_run(store).data.tags['podium.model']}").first.wait_for()
    assert "Agent versions" not in page.inner_text("body")
    keep(page, "experiment")


def winner_run(store):
    experiment = store.get_experiment_by_name("small")
    version = store.get_model_version("small", "1")
    fingerprint = version.tags["podium.fingerprint"]
    query = f"tags.podium.kind = 'train' and tags.podium.fingerprint = '{fingerprint}'"
    return store.search_runs([experiment.experiment_id], query)[0]


def test_a_run_shows_its_confusion_matrix(page, mlflow_pages, store):
    run = winner_run(store)
    plots = [f.path for f in store.list_artifacts(run.info.run_id, "plots")]
    assert "plots/confusion_matrix.png" in plots
    base = f"{mlflow_pages}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
    page.goto(f"{base}/artifacts/plots/confusion_matrix.png")
    picture = page.locator("img[src*='blob:'], img[src*='get-artifact'], img[alt*='confusion']").first
    picture.wait_for()
    assert picture.evaluate("image => image.naturalWidth") > 300
    keep(page, "confusion")
    page.goto(base)
    page.get_by_text("test/accuracy").first.wait_for()
    keep(page, "run")


def test_the_version_shows_its_staging_alias(page, mlflow_pages):
    page.goto(f"{mlflow_pages}/#/models/small")
    page.get_by_text("staging").first.wait_for()
    page.get_by_text("promote | staging | nobody -> 1").first.wait_for()
    keep(page, "model")
    page.goto(f"{mlflow_pages}/#/models/small/versions/1")
    page.get_by_text("podium.fingerprint").first.wait_for()
    assert page.get_by_text("staging").count() >= 1
    assert "mlflow.pyfunc.load_model" in page.inner_text("body")
    keep(page, "version")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_report_is_readable_on_a_telephone_and_in_the_dark(browser, finished, scheme):
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme=scheme)
    page = context.new_page()
    page.goto(f"file://{finished.root}/reports/report.html")
    cut = "e => e.getBoundingClientRect().right > innerWidth + 1 && e.textContent"
    assert page.evaluate(f"[...document.querySelectorAll('main *')].filter({cut}).map(e => e.outerHTML)") == []
    shades = page.evaluate("['color', 'backgroundColor'].map(k => getComputedStyle(document.body)[k])")
    ink, paper = (sum(int(number) for number in re.findall(r"\d+", shade)[:3]) for shade in shades)
    assert (ink > paper) == (scheme == "dark") and abs(ink - paper) > 500
    page.click("nav a[href='#origin']")
    page.wait_for_function("scrollY > 0")  # it scrolls smoothly
    keep(page, f"report_{scheme}_390")
    context.close()


def test_the_report_opens_offline_with_every_picture(page, finished):
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"file://{finished.root}/reports/report.html")
    assert "사과" in page.inner_text("body")
    pictures = page.locator("img")
    assert pictures.count() >= 4
    broken = [i for i in range(pictures.count()) if pictures.nth(i).evaluate("image => image.naturalWidth") == 0]
    assert broken == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert len(re.findall(rb"/Type\s*/Page[^s]", page.pdf())) <= 9  # in print
    keep(page, "report")


def test_the_validation_page_opens_offline(page, finished):
    page.goto(f"file://{finished.root}/artifacts/validation/index.html")
    assert "lemon/broken.jpg" in page.inner_text("body")
    keep(page, "validation")
