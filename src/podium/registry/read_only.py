"""What a local MLflow store holds, read with SQL: importing MLflow takes three seconds, and some ask each time.

`podium status`, `podium history` and a `publish` with nothing to do read here. A server is asked by HTTP. Whatever
this module does not know (other tables, other ways to log in) is asked through MLflow, which gives the same answers.
"""

import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from podium.core.layout import Layout
from podium.registry.audit import read_record
from podium.registry.evidence import CANDIDATE, digest_tags
from podium.report.results import ModelResults, Results, git_commit
from podium.tracking import store
from podium.tracking.run_writer import was_killed, workspace_of

_BUSY_SECONDS = 20.0  # as long as MLflow waits for another writer
_WORKSPACE = "default"
_OTHER_WAYS = [
    f"MLFLOW_TRACKING_{way}" for way in ("TOKEN", "AUTH", "INSECURE_TLS", "SERVER_CERT_PATH", "CLIENT_CERT_PATH")
]
"""Settings of how a server is asked that MLflow alone knows."""
_MODELS = "models:/"
_LOGGED = (
    "SELECT tags.tag_value FROM logged_model_tags AS tags JOIN logged_models ON logged_models.model_id = tags.model_id "
    "WHERE tags.tag_key = 'podium.evidence' AND logged_models.lifecycle_stage = 'active'"
)
_RUNNING = (
    "SELECT runs.run_uuid, tags.key, tags.value FROM tags JOIN runs ON runs.run_uuid = tags.run_uuid "
    "WHERE runs.lifecycle_stage = 'active' AND runs.status = 'RUNNING' AND tags.key LIKE 'podium.%'"
)
_PENDING = (
    "SELECT 1 FROM logged_models JOIN experiments ON experiments.experiment_id = logged_models.experiment_id "
    "JOIN logged_model_tags AS tags ON tags.model_id = logged_models.model_id AND tags.tag_key = 'podium.fingerprint' "
    "WHERE logged_models.status = 1 AND logged_models.lifecycle_stage = 'active' AND experiments.name = ?"
)


@dataclass(frozen=True)
class Version:
    """A version: its number, what it was made from (`models:/...` or a folder), its tags and its deprecated stage."""

    version: str
    source: str
    tags: Mapping[str, str]
    stage: str = "None"


@dataclass(frozen=True)
class RegisteredModel:
    """A registered model: its tags, the version by alias, all versions, oldest first."""

    name: str
    tags: Mapping[str, str]
    aliases: Mapping[str, str]
    versions: tuple[Version, ...]


def find_registered(layout: Layout, name: str, pauses: Sequence[float] = ()) -> RegisteredModel | None:
    """The registered model of a name; None where nothing is registered under it, or no store was made yet.

    Args:
        layout: the project's paths.
        name: in the registry.
        pauses: seconds to wait before each further try to reach a server.

    Raises:
        TrackingError: the store does not answer.
    """
    uri = store.tracking_uri(layout)
    if store.is_local(uri):
        path = _file_of(uri)
        if not path.is_file():
            return None
        try:
            with _reading(path) as database:
                return _registered(database, name)
        except sqlite3.Error:
            pass  # other tables than these, or no database: MLflow knows, or says what is wrong
    elif store.is_server(uri) and not any(os.environ.get(setting) for setting in _OTHER_WAYS):
        with suppress(LookupError, OSError, ValueError):  # requests' errors are of the second kind; MLflow says why
            return _ask_server(uri, name)
    return _ask_mlflow(layout, uri, name, pauses)


def package_of(layout: Layout, version: Version) -> str | None:
    """Where a local store keeps the package of a version; None where that is not known."""
    uri = store.tracking_uri(layout)
    if not store.is_local(uri):
        return None
    if not version.source.startswith(_MODELS):
        return version.source
    try:
        with _reading(_file_of(uri)) as database:
            return _place(database, version)
    except sqlite3.Error:
        return None


def is_published(layout: Layout, results: Results, registers: bool = True) -> bool:
    """Whether a local store holds all that `publish` would write, to the last trial; False where that is not known.

    Args:
        layout: the project's paths.
        results: the experiment in force.
        registers: whether the winner is to be a version.
    """
    uri = store.tracking_uri(layout)
    path = _file_of(uri)
    if not store.is_local(uri) or not path.is_file():
        return False
    try:
        with _reading(path) as database:
            return _holds_runs(database, results) and (not registers or _holds_version(database, results))
    except sqlite3.Error:
        return False


def _file_of(uri: str) -> Path:
    """The file of an `sqlite:///` URI."""
    return Path(unquote(uri.removeprefix("sqlite:///").partition("?")[0]))


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A store that nothing can be written to through this connection."""
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_BUSY_SECONDS)) as database:
        yield database


def _registered(database: sqlite3.Connection, name: str) -> RegisteredModel | None:
    """The registered model as its five tables tell."""
    one = (_WORKSPACE, name)
    if not database.execute("SELECT 1 FROM registered_models WHERE workspace = ? AND name = ?", one).fetchone():
        return None
    tags = database.execute("SELECT key, value FROM registered_model_tags WHERE workspace = ? AND name = ?", one)
    aliases = database.execute(
        "SELECT alias, version FROM registered_model_aliases WHERE workspace = ? AND name = ?", one
    )
    found = database.execute(
        "SELECT version, source, current_stage FROM model_versions WHERE workspace = ? AND name = ? "
        "AND current_stage != 'Deleted_Internal' ORDER BY version",
        one,
    ).fetchall()
    told: dict[int, dict[str, str]] = {}
    for version, key, value in database.execute(
        "SELECT version, key, value FROM model_version_tags WHERE workspace = ? AND name = ?", one
    ):
        told.setdefault(version, {})[key] = value
    return RegisteredModel(
        name=name,
        tags=dict(tags.fetchall()),
        aliases={alias: str(version) for alias, version in aliases},
        versions=tuple(
            Version(str(number), str(source), told.get(number, {}), stage) for number, source, stage in found
        ),
    )


def _ask_mlflow(layout: Layout, uri: str, name: str, pauses: Sequence[float] = ()) -> RegisteredModel | None:
    """The same from a server."""
    from podium.registry.registered_model import Registry

    registry = Registry(
        store.open_client(layout, pauses), uri, name, layout
    )  # before MLflow is imported here: it has settings
    from mlflow.exceptions import MlflowException

    with store.translate_errors(uri):
        try:
            model = registry.client.get_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
        return RegisteredModel(
            name=name,
            tags=dict(model.tags),
            aliases={alias: str(version) for alias, version in model.aliases.items()},
            versions=tuple(
                Version(str(v.version), str(v.source), dict(v.tags), str(v.current_stage)) for v in registry.versions()
            ),
        )


def _ask_server(uri: str, name: str) -> RegisteredModel | None:
    """The same from a server, by its REST interface.

    Raises:
        LookupError: it refuses.
        OSError: it does not answer.
        ValueError: what it answers is no JSON.
    """
    import requests

    session = requests.Session()
    if user := os.environ.get("MLFLOW_TRACKING_USERNAME"):
        session.auth = (user, os.environ.get("MLFLOW_TRACKING_PASSWORD", ""))

    def ask(path: str, **query: str) -> Any:
        """What the server says."""
        answer = session.get(f"{uri.rstrip('/')}/api/2.0/mlflow/{path}", params=query, timeout=store.PROBE_SECONDS)
        said = answer.json()
        if not answer.ok and said.get("error_code") != "RESOURCE_DOES_NOT_EXIST":
            raise LookupError(path)
        return said

    model, found, page = ask("registered-models/get", name=name).get("registered_model"), [], ""
    while model is not None:
        said = ask("model-versions/search", filter=f"name='{name}'", max_results="1000", page_token=page)
        found += said.get("model_versions", [])
        if not (page := said.get("next_page_token", "")):
            break
    return model and RegisteredModel(
        name=name,
        tags=_pairs(model),
        aliases={each["alias"]: str(each["version"]) for each in model.get("aliases", [])},
        versions=tuple(
            Version(str(v["version"]), str(v.get("source")), _pairs(v), str(v["current_stage"]))
            for v in sorted(found, key=lambda v: int(v["version"]))
        ),
    )


def _pairs(found: Mapping[str, Any]) -> dict[str, str]:
    """The tags of what a server says."""
    return {tag["key"]: tag.get("value", "") for tag in found.get("tags", [])}


def _holds_runs(database: sqlite3.Connection, results: Results) -> bool:
    """Whether the experiment's run is complete, no run below it is missing, and no kill left anything unfinished."""
    experiment, workspace = results.params.experiment, workspace_of(results.layout)
    begun = _tags_by_run(database.execute(_RUNNING))
    if any(was_killed(tags, workspace) for tags in begun.values()):
        return False
    if database.execute(_PENDING, (experiment,)).fetchone():
        return False
    runs = _tags_of_runs(database, experiment)
    parents = [run for run in runs if _is(run, kind="experiment", state=results.state, complete=results.files)]
    if not parents:
        return False
    below = {run.get("fingerprint") for run in runs if run.get("mlflow.parentRunId") == parents[0]["id"]}
    logged = {evidence for (evidence,) in database.execute(_LOGGED)}
    return all(
        {model.card.fingerprint, model.tuning.fingerprint, *(r.card.fingerprint for r in model.repeats)} <= below
        and model.evidence in logged
        and any(_is(r, kind="train", fingerprint=model.card.fingerprint, complete=model.evidence) for r in runs)
        and any(_is(r, kind="tune", complete=model.tuning.fingerprint) for r in runs)
        and all(
            any(_is(r, kind="repeat", fingerprint=other.card.fingerprint, complete=other.evidence) for r in runs)
            for other in model.repeats
        )
        and sum(_is(r, kind="trial", fingerprint=model.tuning.fingerprint) for r in runs) >= model.tuning.trials
        for model in results.models
    )


def _tags_of_runs(database: sqlite3.Connection, experiment: str) -> list[dict[str, str]]:
    """Podium's tags of every run of an experiment that nobody deleted, without their prefix."""
    rows = database.execute(
        "SELECT runs.run_uuid, tags.key, tags.value FROM tags JOIN runs ON runs.run_uuid = tags.run_uuid "
        "JOIN experiments ON experiments.experiment_id = runs.experiment_id "
        "WHERE experiments.workspace = ? AND experiments.name = ? AND experiments.lifecycle_stage = 'active' "
        "AND runs.lifecycle_stage = 'active' AND (tags.key LIKE 'podium.%' OR tags.key = 'mlflow.parentRunId')",
        (_WORKSPACE, experiment),
    )
    return [
        {"id": run, **{key.removeprefix("podium."): value for key, value in tags.items()}}
        for run, tags in _tags_by_run(rows).items()
    ]


def _tags_by_run(rows: Iterable[tuple[str, str, str]]) -> dict[str, dict[str, str]]:
    """Rows of a run's id, a tag's key and its value, by run."""
    runs: dict[str, dict[str, str]] = {}
    for run, key, value in rows:
        runs.setdefault(run, {})[key] = value
    return runs


def _is(run: Mapping[str, str], **wanted: str) -> bool:
    """Whether a run carries all of some tags."""
    return wanted.items() <= run.items()


def _holds_version(database: sqlite3.Connection, results: Results) -> bool:
    """Whether the winner is the version at `candidate`, says how it won, and its package lies whole."""
    from podium.registry.package import identity_tags, is_whole

    winner = results.winner
    registered = _registered(database, results.params.publish.registered_model)
    if registered is None:
        return False
    wanted = {**identity_tags(winner), **results.comparison_tags}
    record = read_record(results.layout, registered.name, registered.tags)
    same = [version for version in registered.versions if _same(version, winner)]
    same = [version for version in same if record.registration(version.version)] or same
    if not same or registered.aliases.get(CANDIDATE) != same[-1].version or not wanted.items() <= same[-1].tags.items():
        return False
    if same[-1].tags.get("podium.git_dirty") != "false" and not git_commit(results.layout.root)[1]:
        return False  # what was published before it was committed is committed now, and the version is to say so
    place, entry = _place(database, same[-1]), record.registration(same[-1].version)
    if place is None or entry is None or record.problems or record.behind:
        return False
    whole = is_whole(place, winner, entry.version.package, wanted=results.params.publish.export)
    return entry.version.tags == digest_tags(same[-1].tags) and whole


def _place(database: sqlite3.Connection, version: Version) -> str | None:
    """Where the logged model of a version lies; None where somebody deleted it."""
    found = database.execute(
        "SELECT artifact_location FROM logged_models WHERE model_id = ? AND lifecycle_stage = 'active'",
        (version.source.removeprefix(_MODELS),),
    ).fetchone()
    return None if found is None else str(found[0])


def _same(version: Version, winner: ModelResults) -> bool:
    """Whether a version is of the winner's weights, judged by the same evidence."""
    wanted = {"podium.fingerprint": winner.card.fingerprint, "podium.evidence": winner.evidence}
    return wanted.items() <= version.tags.items()
