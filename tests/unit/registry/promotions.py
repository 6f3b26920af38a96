"""Registered versions for the tests of promotion: real packages' evidence, registered in a real store."""

import shutil
import sqlite3
from pathlib import Path
from types import SimpleNamespace

from mlflow import MlflowClient

from podium.config.judging import Promote
from podium.config.params import Params
from podium.core.layout import Layout
from podium.records.training import ModelCard
from podium.registry import audit, package
from podium.registry.evidence import Evidence, digest_package, digests_of, read_evidence
from podium.registry.promotion import move
from podium.registry.registered_model import Registry
from podium.tracking import store

NAME = "podium-tiny"


def gathered(layout: Layout, params: Params, folder: Path, model: str = "tiny_resnet") -> Evidence:
    """The evidence `publish` would package for a model, with the tags it would set."""
    artifacts = folder / "artifacts"
    package.gather_evidence(layout, model, params.runtime, artifacts)
    return read_evidence(SimpleNamespace(version="1", tags=tags_of(artifacts), aliases=[]), folder)


def tags_of(artifacts: Path, **changes: str) -> dict[str, str]:
    card = ModelCard.read(artifacts / "model.json")
    return {
        "podium.fingerprint": card.fingerprint,
        "podium.model": card.model,
        "podium.weights_sha256": card.weights_sha256,
        "podium.test_digest": "d" * 64,
        "podium.validation_passed": "true",
        "podium.outcome": "better",
        "podium.undecided_because": "none",
        "podium.comparable": "true",
        "podium.differences": "none",
        "podium.accuracy": "0.9",
        "podium.macro_f1": "0.9",
        **changes,
    }


def client_of(layout: Layout) -> MlflowClient:
    return store.open_client(layout)


def copied(project: Layout, root: Path) -> Layout:
    """A copy of a project in a new folder, whose store is told where it lies now."""
    shutil.copytree(project.root, root, symlinks=True)
    places = (("model_versions", "source"), ("model_versions", "storage_location"), ("runs", "artifact_uri"))
    with sqlite3.connect(root / "mlflow.db") as database:
        for table, column in (*places, ("experiments", "artifact_location")):
            change = f"UPDATE {table} SET {column} = replace({column}, ?, ?)"
            database.execute(change, (str(project.root), str(root)))
    return Layout(root)


def register(layout: Layout, evidence: Evidence, **tags: str) -> str:
    """Registers a copy of the evidence as the newest version with the alias `candidate`, on record."""
    client = client_of(layout)
    if not client.search_registered_models(f"name='{NAME}'"):
        client.create_registered_model(NAME, tags={audit.STORE: "here"})
    number = len(client.search_model_versions(f"name='{NAME}'")) + 1
    source = layout.root / "packages" / str(number)
    shutil.copytree(evidence.folder, source / "artifacts")
    named = {key.replace("__", "."): value for key, value in tags.items()}
    tags = {**evidence.tags, **named}
    run_id, place = logged(client, source) if store.is_server(store.tracking_uri(layout)) else local(client, source)
    version = str(client.create_model_version(NAME, place, run_id, tags=tags).version)
    registry = registry_of(layout)
    held, digests = registry.aliases().get("candidate"), digests_of(tags, digest_package(source))
    reason = {"reason": "registered", "version": digests}
    registry.set_alias(registry.append("register", "candidate", holder=held, number=version, **reason))
    return version


def local(client: MlflowClient, source: Path) -> tuple[str, str]:
    """A run, and where a local store finds the package."""
    return new_run(client, source.parent), str(source)


def new_run(client: MlflowClient, folder: Path) -> str:
    """A run whose artifacts lie below a folder; those of MLflow's own experiment lie where the tests are started."""
    found = client.get_experiment_by_name("tests")
    experiment = found.experiment_id if found else client.create_experiment("tests", str(folder / "runs"))
    return str(client.create_run(experiment).info.run_id)


def logged(client: MlflowClient, source: Path) -> tuple[str, str]:
    """A run of an experiment of one's own on a server, and where its package went."""
    found = client.get_experiment_by_name("tiny")
    run = client.create_run(found.experiment_id if found else client.create_experiment("tiny")).info
    client.log_artifacts(run.run_id, str(source), "package")
    return run.run_id, f"{run.artifact_uri}/package"


def register_anew(layout: Layout, number: str) -> None:
    """Puts a version on record as it is now."""
    registry = registry_of(layout)
    package = digest_package(layout.root / "packages" / number)
    said = {"holder": number, "number": number, "reason": "anew"}
    registry.append("register", "candidate", **said, version=digests_of(registry.version(number).tags, package))


def hold_staging(layout: Layout, number: str) -> None:
    """Moves `staging` to a version, on record."""
    registry = registry_of(layout)
    held = registry.aliases().get("staging")
    move(registry, "promote", "staging", holder=held, number=number, reason="first", gates=[])


def registry_of(layout: Layout) -> Registry:
    return Registry(client_of(layout), store.tracking_uri(layout), NAME, layout)


def lenient(params: Params, **gates: object) -> Params:
    """The same params with gates a network with random weights passes, unless told otherwise."""
    floors = {"minimum_accuracy": 0.0, "minimum_macro_f1": 0.0, "maximum_latency_seconds": 60.0, **gates}
    told = {**params.promote.model_dump(exclude={"moves"}), **floors}
    moves = told.pop("moves", {"staging": {}, "production": {"from": "staging"}})
    return params.model_copy(update={"promote": Promote.model_validate({**told, "moves": moves})})


def ignore(results: object) -> None:
    """A `ShowGates` that shows nothing."""
