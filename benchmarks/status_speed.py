"""`podium status` beside a full store: `python -m benchmarks.status_speed`, on an idle machine.

A store gets 1,000 runs of 50 epochs with four curves each and 20 versions of a registered model, as MLflow writes them:
once an SQLite file, once PostgreSQL behind `podium server`, asked by an account that may read. Then the command is
given three times, and the quickest counts. `podium status --all`, which reads every run, is shown beside it.
"""

import json
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from benchmarks.scratch import Scratch

RUNS, EPOCHS, VERSIONS, ROUNDS, LIMIT = 1000, 50, 20, 3, 2.0
CURVES = ("epoch/train_loss", "epoch/train_accuracy", "epoch/val_loss", "epoch/val_accuracy")
NAME = "small"


def fill(uri: str) -> None:
    """Writes runs and versions with MLflow's own client; `uri` is the database's."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric, RunTag

    client = MlflowClient(uri, uri)
    place = client.create_experiment("full", artifact_location="mlflow-artifacts:/full")
    curves = [Metric(name, 1 / (epoch + 1), epoch, epoch) for name in CURVES for epoch in range(EPOCHS)]
    rates = [Metric(f"test/accuracy{end}", 0.9, 0, 0) for end in ("", "_low", "_high")]
    for number in range(RUNS):
        tags = {"kind": "train", "model": f"m{number}", "test_images": f"264 {number % 3}", "git_commit": "none"}
        run = client.create_run(place, run_name=f"m{number}: training")
        written = [RunTag(f"podium.{key}", value) for key, value in tags.items()]
        client.log_batch(run.info.run_id, metrics=[*curves, *rates], tags=written)
    client.create_registered_model(NAME, tags={"podium.store": "full"})
    for _ in range(VERSIONS):
        client.create_model_version(
            NAME, "mlflow-artifacts:/full/m0", tags={"podium.model": "m0", "podium.accuracy": "0.9"}
        )


def seconds_of(project: Scratch, command: str, environment: Mapping[str, str]) -> tuple[float, float]:
    """Seconds on the clock and of the processor that a command takes; the quickest of three on the clock.

    Raises:
        RuntimeError: it failed.
    """
    found = []
    for _ in range(ROUNDS):
        started, before = time.perf_counter(), os.times()
        done = project.run(*command.split(), timeout=600, **environment)
        if done.returncode:
            raise RuntimeError(done.stderr)
        after = os.times()
        used = after.children_user + after.children_system - before.children_user - before.children_system
        found.append((time.perf_counter() - started, used))
    return min(found)


def main() -> int:
    """Prints a table and one JSON line."""
    from tests.servers import PASSWORDS, postgresql, team_server
    from tests.small_project import build

    figure: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder, postgresql() as database:
        root = Path(folder)
        project = build(root / "project")
        with team_server(root, database) as address:
            account = {"MLFLOW_TRACKING_USERNAME": "bob", "MLFLOW_TRACKING_PASSWORD": PASSWORDS["bob"]}
            stores = {
                "sqlite": (f"sqlite:///{root}/full.db", {"MLFLOW_TRACKING_URI": f"sqlite:///{root}/full.db"}),
                "server": (database, {"MLFLOW_TRACKING_URI": address, **account}),
            }
            print(f"{'command':<22}{'store':<8}{'clock':>10}{'processor':>12}")
            for name, (uri, environment) in stores.items():
                fill(uri)
                for command in ("podium status", "podium status --all"):
                    clock, used = seconds_of(project, command, environment)
                    figure[f"{command}, {name}"] = round(clock, 2)
                    print(f"{command:<22}{name:<8}{clock:>8.2f} s{used:>10.2f} s", flush=True)
    print(
        json.dumps(
            {
                "claim": f"podium status answers at once beside {RUNS:,} runs of {EPOCHS} epochs",
                "figure": figure,
                "target": LIMIT,
                "holds": all(figure[f"podium status, {name}"] <= LIMIT for name in stores),
                "unit": f"seconds, quickest of {ROUNDS}",
            }
        )
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
