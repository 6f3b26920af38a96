"""A team's server: PostgreSQL, S3, accounts; who may read, who may promote, who may nothing."""

import base64
import hmac
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from queue import Queue
from types import SimpleNamespace

import mlflow
import psutil
import psycopg
import pytest
import requests
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from sqlalchemy import NullPool, create_engine, inspect

from podium.core.errors import TrackingError
from podium.core.layout import Layout
from podium.registry import promotion
from podium.registry.promotion import PromotionRequest
from podium.tracking import locks, server, store
from podium.tracking.server import ServerSettings
from tests.servers import PASSWORDS, answering, postgresql, team_server
from tests.unit.cli.calls import one_line, podium
from tests.unit.registry.promotions import NAME, gathered, ignore, lenient, register, registry_of

SETTINGS = ServerSettings("postgresql://u:100%25@h/db", "s3://bucket/mlflow", "", "127.0.0.1", 5000, 1)
PROMOTE = ["promote", "candidate", "--to", "staging", "--reason", "because", "--force"]


@pytest.fixture(scope="module")
def team(tmp_path_factory):
    """A server, and the database behind it."""
    with postgresql() as database, team_server(tmp_path_factory.mktemp("team"), database) as address:
        yield SimpleNamespace(address=address, database=database)


@pytest.fixture
def as_user(team, monkeypatch):
    """Makes this process one of the server's accounts, or nobody."""

    def become(user):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", team.address)
        for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
            monkeypatch.delenv(name, raising=False)
        if user:
            monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", user)
            monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORDS[user])

    return become


@pytest.fixture
def project(experiment, as_user, tmp_path, monkeypatch):
    """A finished experiment as the working directory; the account `trainer` registered one version of it."""
    (experiment.layout.root / "dvc.yaml").write_text("stages: {}\n")
    monkeypatch.chdir(experiment.layout.root)
    as_user("trainer")
    register(experiment.layout, gathered(experiment.layout, experiment.params, tmp_path / "gathered"))
    yield experiment
    as_user("admin")
    registry_of(experiment.layout).client.delete_registered_model(NAME)


def promote(project):
    request = PromotionRequest("candidate", "staging", "because", force=True)
    return promotion.promote(project.layout, lenient(project.params), request, ignore)


def names(project):
    return {model.name for model in registry_of(project.layout).client.search_registered_models()}


def test_one_may_promote_one_may_read_and_an_anonymous_may_nothing(project, as_user):
    as_user("ada")
    with pytest.raises(TrackingError, match=r"ada may read there, but not do this: .* `podium grant ada`"):
        promote(project)
    assert "ada may read there" in podium("grant", "ada").stderr
    as_user("admin")
    assert podium("grant", "ada").stdout == f"ada may register and promote versions of {NAME}\n"
    as_user("ada")
    entry = promote(project)
    registry = registry_of(project.layout)
    assert (entry.action, registry.aliases()) == ("promote", {"candidate": "1", "staging": "1"})
    assert [each.account for each in registry.record().entries] == ["trainer", "ada"]
    assert registry.record().problems == ()
    as_user("bob")
    assert "staging" in podium("history").stdout
    for command in (PROMOTE, ["rollback", "staging"]):
        refused = podium(*command)
        assert refused.exit_code == 1 and one_line(refused.stderr)
    as_user(None)
    refused = podium(*PROMOTE)
    assert refused.exit_code == 1 and one_line(refused.stderr)
    assert "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" in refused.stderr
    as_user("admin")
    assert names(project) == {NAME}  # and no lock
    assert podium("grant", "ada", "--revoke").exit_code == 0
    as_user("ada")
    with pytest.raises(MlflowException, match="403"):
        registry.client.set_registered_model_alias(NAME, "staging", "1")


def test_a_lock_that_another_account_died_with_is_taken_over(project, as_user, monkeypatch):
    monkeypatch.setattr(locks, "LEASE_SECONDS", 0.2)
    monkeypatch.setattr(locks, "PAUSE_SECONDS", 0.1)
    as_user("admin")
    podium("grant", "ada")
    as_user("trainer")
    registry_of(project.layout).client.create_registered_model(locks.promoting(NAME), tags={"podium.owner": "dead"})
    as_user("ada")
    assert promote(project).to_version == "1"
    as_user("admin")
    assert names(project) == {NAME}


@pytest.mark.parametrize(
    ("user", "code", "says"),
    [
        ("admin", 0, "admin is an administrator"),
        ("trainer", 0, f"trainer may register and promote versions of {NAME} (MANAGE)"),
        ("bob", 0, f"bob may read {NAME} (READ); an administrator's `podium grant bob` adds more"),
        (None, 1, "it asks for an account: set MLFLOW_TRACKING_USERNAME"),
    ],
)
def test_doctor_asks_the_server_about_this_account(user, code, says, project, as_user):
    as_user(user)
    told = podium("doctor")
    assert told.exit_code == code, told.stderr
    assert says in told.stdout
    assert "ok    server" in told.stdout and "ok    clock" in told.stdout
    if user:
        assert f"ok    versions     MLflow {mlflow.__version__} here, {mlflow.__version__} on the server" in told.stdout


def test_doctor_names_a_server_that_is_gone_another_version_and_a_clock_that_is_off(project, as_user, monkeypatch):
    class Another(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response_only(200)
            self.send_header("Date", "Sat, 01 Jan 2022 00:00:00 GMT")
            self.end_headers()
            self.wfile.write(b"2.22.0" if self.path == "/version" else b'{"user": {"username": "a", "is_admin": true}}')

        def log_message(self, *said):
            pass

    with answering(Another) as port:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
        told = podium("doctor")
    assert told.exit_code == 1 and one_line(told.stderr)
    assert "2.22.0 on the server: install the server's (pip install mlflow==2.22.0)" in told.stderr
    assert "s off the server's: set it" in told.stderr
    gone = podium("doctor", "--json")
    assert [check["name"] for check in json.loads(gone.stdout) if not check["passed"]] == ["server"]
    as_user("admin")


class Receiver:
    """What webhooks are sent to: a server on loopback that is overloaded when the first promotion is told of."""

    def __init__(self):
        self.got, self.failed = Queue(), []

    @contextmanager
    def listening(self):
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                fails = not receiver.failed and '\\"promote\\"' in body
                (receiver.failed.append if fails else receiver.got.put)((dict(self.headers), body))
                self.send_response_only(503 if fails else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *said):
                pass

        with answering(Handler) as port:
            yield f"http://127.0.0.1:{port}/podium"

    def take(self):
        return self.got.get(timeout=600)

    def event(self):
        told = json.loads(self.take()[1])
        assert (told["entity"], told["action"], told["data"]["key"]) == ("model_version_tag", "set", "podium.event")
        return {**json.loads(told["data"]["value"]), "model": told["data"]["name"], "version": told["data"]["version"]}


def signature(secret, headers, body):
    signed = f"{headers['X-MLflow-Delivery-Id']}.{headers['X-MLflow-Timestamp']}.{body}"
    return "v1," + base64.b64encode(hmac.digest(secret.encode(), signed.encode(), "sha256")).decode()


def test_every_move_and_refusal_is_told_to_a_webhook_once_signed_and_again_where_it_was_not_taken(project, as_user):
    receiver = Receiver()
    with receiver.listening() as url:
        as_user("bob")
        assert "webhooks are for administrators of the server" in podium("webhook", url).stderr
        as_user("admin")
        added = podium("webhook", url)
        assert added.exit_code == 0, added.stderr
        assert added.stdout.endswith("an example was sent there: answered 200\n")
        (secret,) = re.findall(r"secret that signs: (\w{64})\n", added.stdout)
        headers, body = receiver.take()
        assert signature(secret, headers, body) == headers["X-MLflow-Signature"] != signature("x", headers, body)
        assert podium("webhook").stdout == f"{url}\n"

        refused = podium(*PROMOTE[:-1])
        assert refused.exit_code == 1
        event = receiver.event()
        assert (event["action"], event["asked"], event["model"], event["version"]) == ("refuse", "promote", NAME, "1")
        assert event["refused"] in refused.stderr and event["reason"] == "because"

        entry = promote(project)
        event = receiver.event()
        assert (event["digest"], event["number"]) == (entry.digest, entry.number)
        told = [
            event[key] for key in ("action", "model", "version", "alias", "from", "to", "account", "reason", "forced")
        ]
        assert told == ["promote", NAME, "1", "staging", None, "1", "admin", "because", entry.forced]
        assert len(receiver.failed) == 1  # it was told again
        assert registry_of(project.layout).record().problems == ()

        assert podium("rollback", "staging", "--reason", "worse").exit_code == 1
        event = receiver.event()
        assert (event["asked"], event["version"]) == ("rollback", "1") and "no earlier holder" in event["refused"]

        assert podium("webhook", url).stdout == "an example was sent there: answered 200\n"
        assert "example_key" in receiver.take()[1] and receiver.got.empty()
        assert podium("webhook", url, "--remove").exit_code == 0
        assert podium("webhook").stdout.startswith("no webhooks")


def watch(database, ended):
    """What a person who looks all the time sees: who holds `staging`, and how many versions the old stage has."""
    seen, staged = [], set()
    with psycopg.connect(database, autocommit=True) as connection:
        while not ended.wait(0.02):
            holders = connection.execute("SELECT version FROM registered_model_aliases WHERE alias = 'staging'")
            seen.append([version for (version,) in holders.fetchall()])
            found = connection.execute("SELECT count(*) FROM model_versions WHERE current_stage = 'Staging'").fetchone()
            staged.add(found[0])
    return seen, staged


@pytest.mark.parametrize("through", ["server", "database"])
def test_of_many_promotions_at_once_one_wins_at_a_time_and_the_others_are_told_who(
    through, project, team, as_user, promoters, tmp_path, monkeypatch
):
    """Three processes on two machines (clones with folders of their own) promote three versions again and again."""
    evidence = gathered(project.layout, project.params, tmp_path / "more")
    uri, database = (team.address, team.database) if through == "server" else (promoters.database,) * 2
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    if through == "database":
        for folder in ("packages", "registry"):  # of the version on the server
            shutil.rmtree(project.layout.root / folder)
    for _ in range(2 if through == "server" else 3):
        register(project.layout, evidence)
    clone = Layout(tmp_path / "clone")
    shutil.copytree(project.layout.root, clone.root)
    account = {name: value for name, value in os.environ.items() if name.startswith("MLFLOW_TRACKING_")}
    rounds, ended = (50 // 3 + 1 if os.environ.get("PODIUM_LONG") else 2), threading.Event()
    started = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        watching = pool.submit(watch, database, ended)
        asked = []
        for who, process in enumerate(promoters.processes):
            root = str((clone if who == 2 else project.layout).root)
            versions = [str((who + n) % 3 + 1) for n in range(rounds)]
            told = {"environment": account, "root": root, "versions": versions, "who": who, "pause": 0.1}
            asked.append(pool.submit(promoters.ask, process, told))
        done = [each for answer in asked for each in answer.result()]
        ended.set()
    seen, staged = watching.result()
    won = sorted((each for each in done if "number" in each), key=lambda each: each["number"])
    lost = [each["refused"] for each in done if "refused" in each]
    took = time.monotonic() - started
    print(
        f"{len(done)} promotions through the {through}: {len(won)} won, {len(lost)} told so, {took:.0f} s; "
        f"looked {len(seen):,} times"
    )
    registry = registry_of(project.layout)
    record = registry.record()
    moves = [entry for entry in record.entries if entry.action == "promote"]
    assert record.problems == () and len(won) + len(lost) == 3 * rounds
    assert [(e.number, e.from_version, e.to_version) for e in moves] == [(w["number"], w["from"], w["to"]) for w in won]
    assert [entry.from_version for entry in moves] == [None, *(entry.to_version for entry in moves[:-1])]
    assert registry.aliases()["staging"] == moves[-1].to_version
    first = next(n for n, holders in enumerate(seen) if holders)
    assert {len(holders) for holders in seen[first:]} == {1} and staged <= {0, 1}
    told = {"environment": account, "root": str(clone.root), "versions": [moves[-1].to_version], "who": 2, "pause": 0}
    lost += [each["refused"] for each in promoters.ask(promoters.processes[2], told)]  # one loses whoever was quicker
    assert lost
    assert all(re.search(r"is already at staging \(promote \d+, .*, by .*\): nothing to do", said) for said in lost)


@pytest.fixture(scope="module")
def promoters(tmp_path_factory):
    """Three processes that promote, warm, and a database they may open themselves."""
    repository = Path(__file__).parents[3]
    settings = {**os.environ, "PYTHONPATH": f"{repository / 'src'}{os.pathsep}{repository}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.unit.registry.promoter"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": settings}

    def ask(process, told):
        print(json.dumps(told), file=process.stdin, flush=True)
        while not (line := process.stdout.readline()).startswith("["):
            assert process.poll() is None, "it ended"
        return json.loads(line)

    with postgresql() as database:
        processes = [subprocess.Popen(command, **pipes) for _ in range(3)]
        store._make_tables(database)
        yield SimpleNamespace(processes=processes, database=database, ask=ask)
        for process in processes:
            process.stdin.close()
            process.wait(30)
            process.stdout.close()


def test_artifacts_go_through_the_server_and_what_others_made_is_not_written_to(project, team, as_user):
    registry = registry_of(project.layout)
    run = registry.client.get_run(registry.version("1").run_id).info
    assert run.artifact_uri.startswith("mlflow-artifacts:/")
    as_user("bob")
    from mlflow.artifacts import load_text

    assert "weights_sha256" in load_text(f"{run.artifact_uri}/package/artifacts/model.json")
    address = f"{team.address}/api/2.0/mlflow-artifacts/artifacts/{run.experiment_id}/{run.run_id}/artifacts/forged"
    assert requests.put(address, data=b"x", auth=("bob", PASSWORDS["bob"]), timeout=300).status_code == 403
    assert requests.put(address, data=b"x", timeout=300).status_code == 401


def test_no_default_password_opens_it_and_no_secret_is_on_a_command_line(team):
    asked = f"{team.address}/api/2.0/mlflow/users/list"
    assert requests.get(asked, auth=("admin", "password1234"), timeout=300).status_code == 401
    assert requests.get(asked, auth=("admin", PASSWORDS["admin"]), timeout=300).status_code == 200
    port = int(team.address.rpartition(":")[2])
    found = [p for p in psutil.Process().children(recursive=True) if f"{port}" in " ".join(p.cmdline())]
    lines = [" ".join(p.cmdline()) for p in found]
    assert lines and not [line for line in lines if "postgresql://" in line or PASSWORDS["admin"] in line]


@pytest.mark.filterwarnings("ignore:No path_separator found:DeprecationWarning")  # Alembic about MLflow's settings
@pytest.mark.parametrize("start", ["empty", "an older MLflow's"])
def test_two_servers_that_start_at_once_make_or_upgrade_the_tables_once(start, tmp_path):
    with postgresql() as database:
        if start != "empty":
            make_older_tables(database)
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(server.prepare_database, [database] * 2))
        with closing_engine(database) as engine:
            tables = inspect(engine).get_table_names()
        assert {"runs", "logged_models", "users", "roles", "role_permissions"} <= set(tables)
        MlflowClient(database, database).create_experiment("it can be used")


@contextmanager
def closing_engine(database):
    engine = create_engine(database, poolclass=NullPool)
    yield engine
    engine.dispose()


def make_older_tables(database):
    """Tables as an older MLflow left them."""
    from alembic import command
    from mlflow.store.db.utils import InitialBase, _get_alembic_config

    config = _get_alembic_config(database)
    with closing_engine(database) as engine:
        InitialBase.metadata.create_all(engine)
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "+5")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"MLFLOW_AUTH_ADMIN_PASSWORD": "password1234"}, "MLFLOW_AUTH_ADMIN_PASSWORD has 12 characters and needs 16"),
        ({"MLFLOW_FLASK_SERVER_SECRET_KEY": ""}, "MLFLOW_FLASK_SERVER_SECRET_KEY has 0 characters and needs 32"),
        ({"MLFLOW_BACKEND_STORE_URI": "sqlite:///m.db"}, "'sqlite:///m.db' is not PostgreSQL"),
        ({"MLFLOW_ARTIFACTS_DESTINATION": ""}, "set MLFLOW_ARTIFACTS_DESTINATION to s3://BUCKET/PREFIX"),
        ({}, "postgresql://127.0.0.1:1/none cannot be used"),
    ],
)
def test_a_server_says_what_it_lacks_in_one_line(change, says, monkeypatch):
    settings = {
        "MLFLOW_BACKEND_STORE_URI": "postgresql://u:secret@127.0.0.1:1/none",
        "MLFLOW_ARTIFACTS_DESTINATION": "s3://bucket",
        "MLFLOW_AUTH_ADMIN_PASSWORD": "p" * 16,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "s" * 32,
        **change,
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    said = podium("server")
    assert said.exit_code == (2 if change else 1)
    assert says in said.stderr and one_line(said.stderr) and "secret@" not in said.stderr


def test_the_file_with_the_passwords_is_for_this_user_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_AUTH_ADMIN_PASSWORD", "100% of it is secret")
    path = server.write_auth_config(tmp_path, SETTINGS.backend)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    monkeypatch.delenv("MLFLOW_AUTH_ADMIN_PASSWORD")
    monkeypatch.setenv("MLFLOW_AUTH_CONFIG_PATH", str(path))
    from mlflow.server.auth.config import read_auth_config

    read = read_auth_config()
    assert (read.admin_password, read.database_uri) == ("100% of it is secret", SETTINGS.backend)
    assert read.default_permission == "READ"
