"""What is read from a local store with SQL is what MLflow says, and a change in the store is noticed."""

import sqlite3

import pytest

from podium.pipeline.publish import publish_experiment
from podium.registry import read_only
from podium.registry.read_only import find_registered, is_published
from podium.report.results import read_results
from podium.tracking import store
from tests.unit.registry.promotions import NAME

CHANGES = {
    "nothing": ("SELECT 1", True),
    "the experiment's run is deleted": (
        "UPDATE runs SET lifecycle_stage = 'deleted' WHERE run_uuid IN "
        "(SELECT run_uuid FROM tags WHERE key = 'podium.kind' AND value = 'experiment')",
        False,
    ),
    "a training run is deleted": (
        "UPDATE runs SET lifecycle_stage = 'deleted' WHERE run_uuid = "
        "(SELECT run_uuid FROM tags WHERE key = 'podium.kind' AND value = 'train' LIMIT 1)",
        False,
    ),
    "a trial is deleted": (
        "UPDATE runs SET lifecycle_stage = 'deleted' WHERE run_uuid = "
        "(SELECT run_uuid FROM tags WHERE key = 'podium.kind' AND value = 'trial' LIMIT 1)",
        False,
    ),
    "a study is deleted": (
        "UPDATE runs SET lifecycle_stage = 'deleted' WHERE run_uuid = "
        "(SELECT run_uuid FROM tags WHERE key = 'podium.kind' AND value = 'tune' LIMIT 1)",
        False,
    ),
    "the experiment is deleted": ("UPDATE experiments SET lifecycle_stage = 'deleted'", False),
    "the alias is gone": ("DELETE FROM registered_model_aliases", False),
    "the logged models are deleted": ("UPDATE logged_models SET lifecycle_stage = 'deleted'", False),
    "a tag says it won otherwise": (
        "UPDATE model_version_tags SET value = 'false' WHERE key = 'podium.comparable'",
        False,
    ),
    "the tables are others": ("ALTER TABLE registered_models RENAME TO models_of_tomorrow", False),
}


def change(layout, statement):
    with sqlite3.connect(layout.root / "mlflow.db") as database:
        database.execute(statement)
    database.close()


def test_a_published_experiment_is_recognised_and_every_loss_is_noticed(experiment, monkeypatch):
    publish_experiment(experiment.layout, experiment.params)
    results, file = read_results(experiment.layout, experiment.params), experiment.layout.root / "mlflow.db"
    whole = file.read_bytes()
    for name, (statement, expected) in CHANGES.items():
        file.write_bytes(whole)
        change(experiment.layout, statement)
        assert is_published(experiment.layout, results) is expected, name
    file.write_bytes(whole)
    monkeypatch.setattr(store, "open_client", None)  # nothing to do is said without MLflow
    publish_experiment(experiment.layout, experiment.params)
    for weights in experiment.layout.root.glob("mlruns/**/artifacts/weights.safetensors"):
        weights.unlink()
    assert not is_published(experiment.layout, results)


def test_sql_and_mlflow_say_the_same_of_a_registered_model(experiment):
    publish_experiment(experiment.layout, experiment.params)
    client = store.open_client(experiment.layout)
    client.set_registered_model_tag(NAME, "podium.audit.000001", "{}")
    client.copy_model_version(f"models:/{NAME}/1", NAME)
    client.copy_model_version(f"models:/{NAME}/1", NAME)
    client.delete_model_version(NAME, "2")
    read = find_registered(experiment.layout, NAME)
    asked = read_only._ask_mlflow(experiment.layout, store.tracking_uri(experiment.layout), NAME)
    assert read == asked
    assert [version.version for version in read.versions] == ["1", "3"]
    change(experiment.layout, "ALTER TABLE model_version_tags RENAME TO tags_of_tomorrow")
    with pytest.raises(Exception, match="tracking|store|refused|cannot"):
        find_registered(experiment.layout, NAME)  # MLflow is asked, and cannot read it either


def test_nothing_registered_and_no_store_are_none(store):
    assert find_registered(store, "nothing") is None
    (store.root / "mlflow.db").unlink()
    assert find_registered(store, "nothing") is None
    assert not (store.root / "mlflow.db").exists()
