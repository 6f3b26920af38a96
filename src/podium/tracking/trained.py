"""Every model that was trained and tested, of all experiments in the store, for `podium status --all`."""

from typing import TYPE_CHECKING

from podium.core.layout import Layout
from podium.records.base import Record
from podium.records.evaluation import Interval
from podium.tracking import store
from podium.tracking.local_store import file_of
from podium.tracking.run_writer import search_runs

if TYPE_CHECKING:
    from mlflow.entities import Run


class TrainedModel(Record):
    """A model that was trained and tested under one of the experiments in the store.

    `images` and `test_images` are how many photographs it was tested on, and a digest of these and their labels.
    """

    model: str
    experiment: str
    accuracy: Interval
    commit: str
    committed: bool
    started: int
    images: int
    test_images: str


def find_trained(layout: Layout) -> tuple[list[TrainedModel], int]:
    """Every model that MLflow knows from `publish`, whatever its experiment, best first.

    Returns:
        The models, and how many runs do not say what they were tested on.

    Raises:
        TrackingError: the store does not answer.
    """
    uri = store.tracking_uri(layout)
    if store.is_local(uri) and not ((path := file_of(uri)) and path.is_file()):
        return [], 0
    client = store.open_client(layout)
    with store.translate_errors(uri):
        names = {found.experiment_id: found.name for found in client.search_experiments()}
        found = search_runs(client, list(names), {"podium.kind": "train"})
    known = [run for run in found if {"podium.test_images", "podium.git_commit"} <= run.data.tags.keys()]
    trained = [_trained(run, names[run.info.experiment_id]) for run in known]
    return sorted(trained, key=lambda one: (-one.accuracy.value, one.started)), len(found) - len(known)


def _trained(run: "Run", experiment: str) -> TrainedModel:
    """What a complete run of a training says."""
    tags, metrics = run.data.tags, run.data.metrics
    value, low, high = (metrics[f"test/accuracy{end}"] for end in ("", "_low", "_high"))
    images, _, digest = tags["podium.test_images"].partition(" ")
    return TrainedModel(
        model=tags["podium.model"],
        experiment=experiment,
        accuracy=Interval(value=value, low=low, high=high),
        commit=tags["podium.git_commit"],
        committed=tags.get("podium.git_dirty") == "false",
        started=run.info.start_time,
        images=int(images),
        test_images=digest,
    )
