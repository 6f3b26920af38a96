"""What a person sees, in a real browser: the MLflow pages and the validation page."""

import mlflow
import pytest

from podium.tracking import run_writer
from tests.servers import serving


@pytest.fixture(scope="module")
def mlflow_pages(finished, promoted, tmp_path_factory):
    store = f"sqlite:///{finished.root}/mlflow.db"
    command = ["mlflow", "ui", "--backend-store-uri", store, "--host", "127.0.0.1", "--port", "{port}"]
    with serving(finished, command, "/health", tmp_path_factory.mktemp("ui") / "log") as address:
        yield address


@pytest.fixture(scope="module")
def store(finished):
    return mlflow.MlflowClient(tracking_uri=f"sqlite:///{finished.root}/mlflow.db")


def test_the_experiment_lists_its_runs(page, keep, mlflow_pages, store):
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


def test_a_run_shows_its_confusion_matrix(page, keep, mlflow_pages, store):
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


def test_the_version_shows_its_staging_alias(page, keep, mlflow_pages):
    page.goto(f"{mlflow_pages}/#/models/small")
    page.get_by_text("staging").first.wait_for()
    page.get_by_text("promote | staging | nobody -> 1").first.wait_for()
    keep(page, "model")
    page.goto(f"{mlflow_pages}/#/models/small/versions/1")
    page.get_by_text("podium.fingerprint").first.wait_for()
    assert page.get_by_text("staging").count() >= 1
    assert "mlflow.pyfunc.load_model" in page.inner_text("body")
    keep(page, "version")


def test_the_validation_page_opens_offline(page, keep, finished):
    page.goto(f"file://{finished.root}/artifacts/validation/index.html")
    assert "lemon/broken.jpg" in page.inner_text("body")
    keep(page, "validation")
