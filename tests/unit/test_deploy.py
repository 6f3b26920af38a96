"""What `deploy/` holds is well-formed, and a backup brings back what it took."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from podium.registry import server
from tests.servers import postgresql, s3

DEPLOY = Path(__file__).parents[2] / "deploy"


def test_the_compose_file_names_what_it_defines_and_has_no_secret_of_its_own() -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    compose = yaml.safe_load(text)
    services, volumes = compose["services"], compose["volumes"]
    assert {name for service in services.values() for name in service.get("depends_on", [])} <= set(services)
    mounted = {mount.partition(":")[0] for service in services.values() for mount in service.get("volumes", [])}
    assert mounted == set(volumes)
    assert (DEPLOY / ".." / services["server"]["build"]["dockerfile"]).is_file()
    assert services["server"]["ports"] == ["127.0.0.1:5000:5000"]
    secrets = re.findall(r"^ +\w*(?:PASSWORD|SECRET\w*|KEY\w*): (.*)$", text, re.MULTILINE)
    assert len(secrets) == 6 and all(value.startswith("${") for value in secrets)


@pytest.mark.parametrize("unit", ["podium-server.service", "podium-backup.service", "podium-backup.timer"])
def test_systemd_reads_the_units(unit: str, tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd is not installed")
    for file in DEPLOY.glob("podium-*"):
        text = re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", file.read_text(), flags=re.MULTILINE)
        (tmp_path / file.name).write_text(text)
    said = subprocess.run(["systemd-analyze", "verify", tmp_path / unit], capture_output=True, text=True, check=False)
    assert (said.returncode, [line for line in said.stderr.splitlines() if "podium" in line]) == (0, [])


@pytest.mark.filterwarnings("ignore:No path_separator found:DeprecationWarning")  # Alembic about MLflow's settings
def test_a_backup_restored_elsewhere_has_runs_accounts_and_artifacts(tmp_path: Path) -> None:
    import boto3
    import psycopg
    from sqlalchemy import NullPool, create_engine, text

    if not shutil.which("aws") or not shutil.which("pg_dump"):
        pytest.skip("the aws command line or PostgreSQL's clients are not installed")
    with postgresql() as database, s3("mlflow", "restored") as settings:
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute("CREATE DATABASE restored")
        there = database.replace("/postgres", "/restored")
        server.prepare_database(database)
        write(database, "INSERT INTO users (username, password_hash, is_admin) VALUES ('ada', 'x', false)")
        write(database, "INSERT INTO experiments (name, workspace) VALUES ('kept', 'default')")
        keys = {"endpoint_url": settings["MLFLOW_S3_ENDPOINT_URL"], "region_name": "us-east-1"}
        bucket = boto3.client("s3", **keys, aws_access_key_id="x", aws_secret_access_key="x")
        bucket.put_object(Bucket="mlflow", Key="artifacts/0/run/file.txt", Body=b"all of it")
        for script, place, destination in (
            ("backup.sh", database, "s3://mlflow/artifacts"),
            ("restore.sh", there, "s3://restored/artifacts"),
        ):
            told = {**settings, "MLFLOW_BACKEND_STORE_URI": place, "MLFLOW_ARTIFACTS_DESTINATION": destination}
            subprocess.run([DEPLOY / script, tmp_path / "copy"], check=True, env={**os.environ, **told})
        server.prepare_database(there)  # nothing is left to be made
        engine = create_engine(there, poolclass=NullPool)
        with engine.connect() as found:
            assert found.execute(text("SELECT username FROM users")).scalars().all() == ["ada"]
            assert "kept" in found.execute(text("SELECT name FROM experiments")).scalars().all()
        kept = bucket.get_object(Bucket="restored", Key="artifacts/0/run/file.txt")["Body"]
        assert kept.read() == b"all of it"


@pytest.mark.filterwarnings("ignore:No path_separator found:DeprecationWarning")  # Alembic about MLflow's settings
def test_a_local_store_goes_to_a_server_s_database_with_versions_aliases_and_tags(tmp_path: Path, empty_store) -> None:
    import psycopg
    from mlflow import MlflowClient

    file = shutil.copyfile(empty_store, tmp_path / "mlflow.db")
    client = MlflowClient(f"sqlite:///{file}", f"sqlite:///{file}")
    place = client.create_experiment("sample", artifact_location=(tmp_path / "mlruns/sample").as_uri())
    run = client.create_run(place)
    client.log_text(run.info.run_id, "all of it", "folder/file.txt")
    client.create_registered_model("kept", tags={"podium.store": "here"})
    client.create_model_version("kept", f"{run.info.artifact_uri}/folder", run.info.run_id, tags={"podium.model": "m"})
    client.set_registered_model_alias("kept", "staging", "1")
    with postgresql() as database, s3() as settings:
        told = {
            **settings,
            "MLFLOW_BACKEND_STORE_URI": database,
            "MLFLOW_ARTIFACTS_DESTINATION": "s3://mlflow/artifacts",
        }
        command = [sys.executable, DEPLOY / "sqlite_to_postgresql.py", file]
        usual = {name: value for name, value in os.environ.items() if name != "MLFLOW_AUTH_CONFIG_PATH"}
        ran = {"env": {**usual, **told}, "capture_output": True, "text": True, "check": False}
        done = subprocess.run(command, **ran)
        assert done.returncode == 0, done.stderr
        assert f"s3 sync {tmp_path}/mlruns/sample s3://mlflow/artifacts/{place}\n" in done.stdout
        again = subprocess.run(command, **ran)
        assert again.returncode == 1 and again.stderr.endswith(
            "error: the database holds runs already: give an empty one\n"
        )
        there = f"mlflow-artifacts:/{place}/{run.info.run_id}/artifacts"
        asked = {
            "SELECT artifact_uri FROM runs": there,
            "SELECT source FROM model_versions": f"{there}/folder",
            "SELECT alias || version FROM registered_model_aliases": "staging1",
            "SELECT value FROM registered_model_tags": "here",
            "INSERT INTO experiments (name, workspace) VALUES ('next', 'default') RETURNING experiment_id": int(place)
            + 1,
        }
        with psycopg.connect(database) as connection:
            for query, said in asked.items():
                assert connection.execute(query).fetchall() == [(said,)]


def write(database: str, statement: str) -> None:
    import psycopg

    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(statement)
