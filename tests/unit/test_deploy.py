"""What `deploy/` holds is well-formed, and a backup brings back what it took."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from podium.tracking import server
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


RAY = DEPLOY / "ray"
RAY_VERSION = next(
    line.removeprefix("ray==")
    for line in (DEPLOY / "../constraints.txt").read_text().split()
    if line.startswith("ray==")
)


def test_the_cluster_file_is_what_ray_takes_and_its_machines_are_of_one_type() -> None:
    import ray.autoscaler

    config = yaml.safe_load((RAY / "cluster.yaml").read_text())
    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())
    jsonschema.validate(config, schema)
    types = config["available_node_types"]
    assert config["head_node_type"] in types
    assert len({of["node_config"]["InstanceType"] for of in types.values()}) == 1
    assert sum(of.get("max_workers", 0) for of in types.values()) == config["max_workers"]
    commands = [command for name, given in config.items() if name.endswith("commands") for command in given]
    assert all(subprocess.run(["bash", "-n", "-c", each], check=False).returncode == 0 for each in commands)


def test_kubernetes_pods_share_the_projects_folder_and_the_pinned_ray() -> None:
    cluster, claim = yaml.safe_load_all((RAY / "kuberay.yaml").read_text())
    assert (cluster["apiVersion"], cluster["kind"]) == ("ray.io/v1", "RayCluster")
    assert cluster["spec"]["rayVersion"] == RAY_VERSION
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    groups = [cluster["spec"]["headGroupSpec"], *cluster["spec"]["workerGroupSpecs"]]
    images, paths = set(), set()
    for pod in (group["template"]["spec"] for group in groups):
        (volume,), (container,) = pod["volumes"], pod["containers"]
        images.add(container["image"])
        paths.update(mount["mountPath"] for mount in container["volumeMounts"])
        assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
        assert [mount["name"] for mount in container["volumeMounts"]] == [volume["name"]]
        assert container["resources"]["limits"] == container["resources"]["requests"]
    assert len(images) == len(paths) == 1
    assert all(group["minReplicas"] <= group["replicas"] <= group["maxReplicas"] for group in groups[1:])


def test_the_compose_file_of_a_cluster_has_a_head_and_two_workers_with_one_folder_and_a_token() -> None:
    services = yaml.safe_load((RAY / "compose.yaml").read_text())["services"]
    head, worker = services["head"], services["worker"]
    assert worker["depends_on"] == ["head"] and worker["deploy"]["replicas"] == 2
    assert "--address head:6379" in worker["command"] and "--head --port 6379" in head["command"]
    assert head["volumes"] == worker["volumes"] and "ports" not in head
    assert head["environment"]["RAY_AUTH_MODE"] == "token" and head["environment"]["RAY_AUTH_TOKEN"].startswith("${")
    assert (RAY / head["build"]["context"] / head["build"]["dockerfile"]).is_file()
    known = subprocess.run(["ray", "start", "--help"], capture_output=True, text=True, check=True).stdout
    options = re.findall(r"--[a-z-]+", f"{head['command']} {worker['command']}")
    assert [option for option in options if option not in known] == []


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
