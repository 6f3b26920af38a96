"""On a cluster of two nodes an experiment gives the bytes it gives on one machine, also when a node is lost."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import podium
from podium.config.params import load
from podium.config.preprocess import Preprocess
from podium.config.runtime import Resources
from podium.console.process import Terminated, stoppable
from podium.core.errors import DataError, PodiumError
from podium.core.executor import open_executor
from podium.core.files import sha256_tree
from podium.core.jobs import Cluster
from podium.core.layout import Layout
from podium.core.machine import Machine
from podium.curation.near_duplicates import grouping
from podium.models.callbacks import Callback
from podium.models.study import Study
from podium.models.trials import run_trials
from podium.pipeline import tune
from podium.pipeline.preprocess import preprocess_dataset
from podium.pipeline.repeat import repeat_training
from podium.pipeline.tune import tune_model
from podium.registry.checkup import examine_cluster
from tests.judged_model import judge, trained_project
from tests.raw_images import files, write_raw
from tests.ray_cluster import lose_node
from tests.servers import free_port
from tests.small_splits import RUNTIME, SEARCH, TUNE, a_config, write_project
from tests.unit.core.test_executor import slow_first
from tests.unit.curation.near_duplicates.test_grouping import MIXED_GROUPS, MIXED_SHA256, MIXED_SIGNATURES
from tests.unit.models.toy_study import endless

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:unclosed")]

ROOT = Path(__file__).parents[2]
STUDY = Study(a_config(), SEARCH, TUNE.model_copy(update={"trials": 4, "together": 2}), 0)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return write_project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def studied(project):
    """What the study finds on this machine."""
    return study(project, Resources())


def on(cluster, storage: str | None = None) -> Resources:
    return Resources(executor="ray", address=cluster.address, storage=storage)


@contextmanager
def seen_here_alone(root: Path) -> Iterator[Layout]:
    """A project at a path that leads there in this process alone: no other can read or write anything of it."""
    opened = os.open(root, os.O_PATH)
    try:
        yield Layout(Path(f"/proc/self/fd/{opened}"))
    finally:
        os.close(opened)


def study(layout: Layout, resources: Resources, *callbacks: Callback) -> str:
    tune_model(layout, "small", STUDY, runtime=RUNTIME, resources=resources, callbacks=callbacks)
    return sha256_tree([layout.tuning("small")], layout.root)


def test_jobs_on_the_cluster_come_back_in_order_tell_all_and_fail_as_here(cluster, tmp_path):
    told, ended, where = [], [], Cluster(cluster.address, tmp_path)
    with open_executor(slow_first, 1, lower="nothing", cluster=where, on_event=told.append) as executor:
        assert list(executor.map(range(6), ended.append)) == [0, 1, 4, 9, 16, 25]
        with pytest.raises(DataError, match="^it is below zero$"):
            list(executor.map([1, -1]))
    assert sorted(ended) == [0, 1, 4, 9, 16, 25]
    assert sorted(told) == sorted((what, number) for what in ("began", "ends") for number in (*range(6), 1))


def test_a_job_that_fits_no_node_is_refused(cluster, tmp_path):
    with (
        pytest.raises(PodiumError, match="no node of the Ray cluster has 2 processors"),
        open_executor(slow_first, 1, lower="nothing", cluster=Cluster(cluster.address, tmp_path, cpus=2)),
    ):
        pass


def test_preprocess_writes_the_same_shards(cluster, tmp_path):
    digests = set()
    for name, workers, resources in [("one", 0, Resources()), ("two", 2, Resources()), ("ray", 0, on(cluster))]:
        layout = Layout(tmp_path / name)
        write_raw(layout, files(["lemon", "orange"], 70))
        preprocess_dataset(layout, Preprocess(image_size=16), 0, workers, resources.cluster(layout.root))
        digests.add(sha256_tree([layout.prepared], layout.root))
    assert len(digests) == 1


def test_near_duplicates_are_grouped_the_same(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(grouping, "_WORTH_CLUSTER", 1)
    MIXED_SIGNATURES.tofile(tmp_path / "signatures.bin")
    signatures = np.memmap(tmp_path / "signatures.bin", np.uint8, "r", shape=MIXED_SIGNATURES.shape)
    where = Cluster(cluster.address, tmp_path)
    found, here = (grouping.group_duplicates(MIXED_SHA256, signatures, cluster=each) for each in (where, None))
    assert (found.first.tolist(), found.kind) == (MIXED_GROUPS, here.kind)
    assert all((a == b).all() for a, b in zip(vars(found.links).values(), vars(here.links).values(), strict=True))


def test_a_study_finds_the_same(cluster, project, studied):
    assert study(project, Resources(trials_at_once=2)) == studied
    assert study(project, on(cluster)) == studied


def test_further_seeds_train_to_the_same_weights(cluster, project):
    given = {"config": a_config(), "runtime": RUNTIME}
    digests = set()
    for resources in (Resources(), on(cluster)):
        shutil.rmtree(project.repeats("small"), ignore_errors=True)
        repeat_training(project, "small", [1, 2], **given, resources=resources)
        digests.add(sha256_tree([project.repeats("small")], project.root))
    assert len(digests) == 1


def test_a_model_is_judged_the_same(cluster, tmp_path):
    layout = trained_project(tmp_path)
    assert judge(layout, on(cluster)) == judge(layout, Resources())


def test_nodes_that_do_not_see_the_project_find_the_same(cluster, bucket, project, studied):
    with seen_here_alone(project.root) as layout:
        assert study(layout, on(cluster, bucket)) == studied


def test_nodes_that_do_not_see_the_project_train_to_the_same_weights(cluster, bucket, project):
    results = []
    with seen_here_alone(project.root) as layout:
        for resources in (Resources(), on(cluster, bucket)):
            for folder in (project.repeats("small"), project.work / "times"):
                shutil.rmtree(folder, ignore_errors=True)
            repeat_training(layout, "small", [1, 2], config=a_config(), runtime=RUNTIME, resources=resources)
            times = sorted(path.name for path in (project.work / "times").iterdir())
            results.append((sha256_tree([project.repeats("small")], project.root), times))
    assert results[0] == results[1] and len(results[0][1]) == 2


def test_nodes_that_do_not_see_the_project_decode_the_same(cluster, bucket, tmp_path):
    digests = set()
    write_raw(Layout(tmp_path), files(["lemon", "orange"], 70))
    with seen_here_alone(tmp_path) as layout:
        for resources in (Resources(), on(cluster, bucket)):
            preprocess_dataset(layout, Preprocess(image_size=16), 0, 0, resources.cluster(layout.root))
            digests.add(sha256_tree([layout.prepared], layout.root))
            shutil.rmtree(layout.prepared)
            shutil.rmtree(layout.decoded, ignore_errors=True)  # or no image would be decoded again
    assert len(digests) == 1


@dataclass(frozen=True)
class HeldObjective(tune._Objective):
    """Trials wait after their first epoch until a file is there."""

    def __call__(self, number, parameters, callback) -> None:
        (self.layout.root / f"{os.getpid()}.pid").touch()
        super().__call__(number, parameters, Hold(callback, self.layout.root / "go on"))


@dataclass(frozen=True)
class Hold(Callback):
    told: Callback
    until: Path

    def on_epoch_end(self, row, seconds, trial=None) -> None:
        self.told.on_epoch_end(row, seconds, trial)
        while not self.until.exists():
            time.sleep(0.05)


def test_a_study_that_loses_a_node_finds_the_same(cluster, project, studied, monkeypatch):
    class Losing(Callback):
        begun: list[int] = []

        def on_trial_begin(self, number, parameters) -> None:
            self.begun.append(number)

        def on_epoch_end(self, row, seconds, trial=None) -> None:
            if len(self.begun) == 2 and not go_on.exists():  # one on each node
                lose_node(cluster, project.root)
                go_on.touch()

    go_on = project.root / "go on"
    monkeypatch.setattr(tune, "_Objective", HeldObjective)
    assert study(project, on(cluster), losing := Losing()) == studied
    assert sorted(losing.begun) in ([0, 0, 1, 2, 3], [0, 1, 1, 2, 3])  # one was begun again on the other node


def test_a_stopped_study_ends_what_runs_on_the_cluster(cluster, tmp_path):
    class Stopping(Callback):
        def on_epoch_end(self, row, seconds, trial=None) -> None:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Terminated), stoppable():
        run_trials(STUDY, tmp_path, endless, [Stopping()], cluster=Cluster(cluster.address, tmp_path))
    deadline = time.monotonic() + 60
    with open_executor(slow_first, 1, lower="nothing", cluster=Cluster(cluster.address, tmp_path)) as executor:
        assert list(executor.map(range(2))) == [0, 1]  # the processors are free again
    assert time.monotonic() < deadline


def test_nodes_with_another_version_are_refused_by_name(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(podium, "__version__", "0.0.1")
    Machine.here.cache_clear()
    with (
        pytest.raises(
            PodiumError, match=r"node \S+ \(\w{8}\) of the Ray cluster differs.*Podium is .* instead of 0\.0\.1"
        ),
        open_executor(slow_first, 1, lower="nothing", cluster=Cluster(cluster.address, tmp_path)),
    ):
        pass
    Machine.here.cache_clear()


def test_doctor_asks_every_node_and_names_what_is_wrong_there(cluster, tmp_path, monkeypatch):
    for command in ("init --no-scm", f"remote add --default store {tmp_path / 'remote'}"):
        subprocess.run(["dvc", "--quiet", *command.split()], cwd=tmp_path, check=True)
    (tmp_path / "remote").mkdir()
    params = load(ROOT / "params.yaml").model_copy(update={"resources": on(cluster)})
    well = examine_cluster(Layout(tmp_path), params)
    assert sorted(check.said.partition("; ")[2] for check in well) == [
        *["takes jobs on 1 processors"] * 2,
        "takes no jobs",
    ]
    (tmp_path / "remote").rmdir()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    ill = examine_cluster(Layout(tmp_path), params)
    assert [check.passed for check in (*well, *ill)] == [True] * 3 + [False] * 3
    assert all("store: " in check.said and "remote: there is nothing at " in check.said for check in ill)


def test_doctor_exchanges_a_file_with_every_node_by_the_storage(cluster, bucket, tmp_path):
    params = load(ROOT / "params.yaml")
    well = examine_cluster(Layout(tmp_path), params.model_copy(update={"resources": on(cluster, bucket)}))
    assert [check.passed for check in well] == [True] * 3
    with seen_here_alone(tmp_path) as alone:
        only_here = params.model_copy(update={"resources": on(cluster, f"file://{alone.root}/shared")})
        ill = examine_cluster(Layout(tmp_path), only_here)
    assert [check.passed for check in ill] == [False] * 3
    assert all("storage: on " in check.said and "FileNotFoundError" in check.said for check in ill)


def test_a_head_that_cannot_be_reached_is_one_line(tmp_path):
    write_raw(Layout(tmp_path), files(["lemon", "orange"], 70))
    shutil.copytree(ROOT / "stages", tmp_path / "stages")
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    text = (ROOT / "params.yaml").read_text().replace("executor: local ", "executor: ray ")
    (tmp_path / "params.yaml").write_text(text.replace("address: auto ", f"address: 127.0.0.1:{free_port()} "))
    command = [sys.executable, "-m", "stages.preprocess"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("error: no Ray cluster at resources.address 127.0.0.1:")


# Runs a study that does not end, and says when trials run.
ENDLESS = """
import sys
from pathlib import Path
from podium.core.errors import DataError, PodiumError
from podium.core.jobs import Cluster
from podium.models.callbacks import Callback
from podium.models.trials import run_trials
from tests.scale.test_ray import STUDY
from tests.unit.models.toy_study import endless

class Telling(Callback):
    def on_epoch_end(self, row, seconds, trial=None):
        print("running", flush=True)

address, folder = sys.argv[1:]
try:
    run_trials(STUDY, Path(folder), endless, [Telling()], cluster=Cluster(address, Path(folder)))
except PodiumError as error:
    sys.exit(f"error: {error}")
"""


def test_a_lost_head_is_one_line(cluster, tmp_path):
    """The last one here: the cluster is gone after it."""
    command = [sys.executable, "-c", ENDLESS, cluster.address, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None and "running\n" in iter(driver.stdout.readline, "")
        cluster.remove_node(cluster.head_node, allow_graceful=False)
        _, said = driver.communicate(timeout=200)
    assert driver.returncode == 1
    assert said.startswith("error: the Ray cluster at ") and said.count("\n") == 1, said
