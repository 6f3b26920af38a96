"""Logged models and registered versions: each pair of weights and evidence is packaged once, and registered once if it
won. New test images, a new validation or other metrics make a new version of the same weights.

Both are found again by the tags `podium.fingerprint` and `podium.evidence`. Depends on `outcome`, `evidence` and
`package`; MLflow and torch are imported on use.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

from podium.analysis.conditions import sentences
from podium.registry.evidence import CANDIDATE, FILES, JUDGED, evidence_digest
from podium.registry.outcome import Entry, Outcome, git_commit

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel
    from mlflow.entities.model_registry import ModelVersion

_READY = "READY"


def is_registered(client: "MlflowClient", outcome: Outcome) -> bool:
    """Whether the winner is a version that says how it won, `candidate` is on it, and its package is there."""
    found = find_version(client, outcome)
    if found is None or _changed_tags(found, outcome):
        return False
    model = client.get_registered_model(found.name)
    return str(model.aliases.get(CANDIDATE)) == str(found.version) and _is_there(
        client.get_logged_model(_model_id(found)), outcome.winner
    )


def find_version(client: "MlflowClient", outcome: Outcome) -> "ModelVersion | None":
    """The version of the winner's weights and evidence under the name in params.yaml; the newest of several."""
    name = outcome.params.publish.registered_model
    found = client.search_model_versions(f"name = '{name}' and {_same_tags(outcome.winner)}")
    return max(found, key=lambda version: int(version.version), default=None)


def log_model(client: "MlflowClient", experiment: str, outcome: Outcome, contender: Entry, run_id: str) -> str:
    """Packages and logs a trained model, unless it is there.

    Args:
        client: an open client.
        experiment: MLflow's id of it.
        outcome: what the files say.
        contender: whose model.
        run_id: the run that shows it.

    Returns:
        MLflow's id of the logged model.

    Raises:
        ModelError: the package would not reproduce the evaluation.
    """
    found = client.search_logged_models([experiment], _same_tags(contender))
    ready = [model for model in found if str(model.status) == _READY]
    model = ready[0] if ready else _create(client, experiment, contender, run_id)
    if not ready or not _is_there(model, contender):
        _upload(client, outcome, contender, model, run_id)
    _show_in_run(client, run_id, model.model_id)
    return str(model.model_id)


def register(client: "MlflowClient", outcome: Outcome, model_id: str) -> tuple[str, bool]:
    """Registers the winner, unless it is, and moves the alias `candidate` to it.

    A version is of weights and evidence; what it won against may change, so its tags about that are brought up to date.

    Args:
        client: an open client.
        outcome: what the files say.
        model_id: of the winner's logged model.

    Returns:
        The version's number, and whether it is new.
    """
    name = outcome.params.publish.registered_model
    found = find_version(client, outcome)
    if found is None:
        _create_name(client, name, outcome)
        version = str(
            client.create_model_version(
                name,
                source=f"models:/{model_id}",
                tags=version_tags(outcome),
                description=description(outcome),
                model_id=model_id,
            ).version
        )
        _show_in_model(client, model_id, name, version)
    else:
        version = str(found.version)
        _tell_how_it_won(client, found, outcome)
    if str(client.get_registered_model(name).aliases.get(CANDIDATE)) != version:
        client.set_registered_model_alias(name, CANDIDATE, version)
    return version, found is None


def version_tags(outcome: Outcome) -> dict[str, str]:
    """What lineage and promotion look up on a version."""
    best = outcome.winner
    commit, dirty = git_commit(outcome.layout.root)
    return {
        **_identity(best),
        "podium.weights_sha256": best.card.weights_sha256,
        "podium.data_digest": outcome.validation.manifest_sha256,
        "podium.test_digest": best.metrics.test_digest,
        "podium.validation_passed": str(outcome.validation.passed).lower(),
        "podium.git_commit": commit,
        "podium.git_dirty": str(dirty).lower(),
        "podium.dvc_lock_sha256": outcome.dvc_lock,
        "podium.state": outcome.state,
        "podium.accuracy": repr(best.metrics.accuracy.value),
        "podium.macro_f1": repr(best.metrics.macro_f1.value),
        **outcome.comparison_tags,
        **_relaxed(outcome),
    }


def description(outcome: Outcome) -> str:
    """The version in plain words."""
    best, m = outcome.winner, outcome.winner.metrics
    how = " ".join([outcome.decision.reason, *sentences(outcome.decision.differences)])
    return (
        f"{best.card.architecture}, winner of experiment {outcome.params.experiment} over "
        f"{len(outcome.contenders)} model(s): right on {m.accuracy.value:.1%} of {m.images} test images it had never "
        f"seen ({m.accuracy.low:.1%} to {m.accuracy.high:.1%}), macro F1 {m.macro_f1.value:.3f}, "
        f"{len(best.card.classes)} classes. {how}"
    )


def _identity(contender: Entry) -> dict[str, str]:
    """The tags by which a logged model or a version is found again."""
    return {
        "podium.fingerprint": contender.card.fingerprint,
        "podium.evidence": contender.evidence,
        "podium.model": contender.name,
    }


def _changed_tags(version: "ModelVersion", outcome: Outcome) -> Mapping[str, str]:
    """Tags about the comparison that the version lacks, or has with another value."""
    return {key: value for key, value in outcome.comparison_tags.items() if version.tags.get(key) != value}


def _tell_how_it_won(client: "MlflowClient", version: "ModelVersion", outcome: Outcome) -> None:
    """Brings the tags about the comparison up to date, and the description where one of them changed."""
    changed = _changed_tags(version, outcome)
    for key, value in changed.items():
        client.set_model_version_tag(version.name, version.version, key, value)
    if changed:
        client.update_model_version(version.name, version.version, description(outcome))


def _relaxed(outcome: Outcome) -> dict[str, str]:
    """The critical expectations that were made warnings, each with the reason; no tag where there is none."""
    told = [f"{result.id}: {result.because}" for result in outcome.validation.results if result.relaxed]
    return {"podium.relaxed": "; ".join(told)} if told else {}


def _same_tags(contender: Entry) -> str:
    """MLflow's filter for the same weights judged by the same evidence."""
    return (
        f"tags.`podium.fingerprint` = '{contender.card.fingerprint}' and "
        f"tags.`podium.evidence` = '{contender.evidence}'"
    )


def _create(client: "MlflowClient", experiment: str, contender: Entry, run_id: str) -> "LoggedModel":
    """A logged model without files; it is not ready before `_upload`."""
    return client.create_logged_model(
        experiment,
        name=contender.name,
        source_run_id=run_id,
        tags=_identity(contender),
        params={"architecture": contender.card.architecture, "learning_rate": repr(contender.card.learning_rate)},
        model_type="image classifier",
    )


def _upload(client: "MlflowClient", outcome: Outcome, contender: Entry, model: "LoggedModel", run_id: str) -> None:
    """Builds the package, sends it to the store and marks the logged model as ready."""
    from mlflow.models import Model

    from podium.registry import package

    described = Model(
        artifact_path=contender.name,
        run_id=run_id,
        model_uuid=model.model_id,
        model_id=model.model_id,
        metadata=_identity(contender),
    )
    with package.built(outcome.layout, contender.name, outcome.params.runtime, described) as folder:
        client.log_model_artifacts(model.model_id, str(folder))
    client.finalize_logged_model(model.model_id, _READY)


def _show_in_run(client: "MlflowClient", run_id: str, model_id: str) -> None:
    """Links the run to the model it made, unless it is linked."""
    from mlflow.entities import LoggedModelOutput

    outputs = client.get_run(run_id).outputs
    if outputs is None or model_id not in {output.model_id for output in outputs.model_outputs}:
        client.log_outputs(run_id, [LoggedModelOutput(model_id, 0)])


def _show_in_model(client: "MlflowClient", model_id: str, name: str, version: str) -> None:
    """The tag MLflow's UI reads to link a logged model with its registered versions."""
    key = "mlflow.modelVersions"
    known = json.loads(client.get_logged_model(model_id).tags.get(key, "[]"))
    client.set_logged_model_tags(model_id, {key: json.dumps([*known, {"name": name, "version": version}])})


def _create_name(client: "MlflowClient", name: str, outcome: Outcome) -> None:
    """Makes the registered model, unless it is there."""
    from mlflow.exceptions import MlflowException

    about = f"Winners of {outcome.params.experiment}, one version per pair of weights and evidence. Made by Podium."
    try:
        client.create_registered_model(name, description=about)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _is_there(model: "LoggedModel", contender: Entry) -> bool:
    """Whether a local package still lies whole where MLflow says; a server looks after its own."""
    location = str(model.artifact_location)
    if urlsplit(location).scheme not in ("", "file"):
        return True
    folder = Path(url2pathname(urlsplit(location).path))
    if not all(
        path.is_file() for path in (folder / "MLmodel", *(folder / "artifacts" / name for name in FILES.values()))
    ):
        return False
    return evidence_digest(folder / "artifacts" / name for name in JUDGED) == contender.evidence


def _model_id(version: "ModelVersion") -> str:
    """Of the logged model that the version was made from."""
    source: str = version.source
    return source.removeprefix("models:/")
