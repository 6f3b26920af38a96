"""Two real processes under torchrun, on CPUs, against one."""

import json
import multiprocessing
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from podium.core.errors import DataError, PodiumError, UsageError
from podium.core.jobs import run_job
from podium.core.layout import Layout
from podium.models.callbacks import Callback
from podium.models.checkpoint import FitResult
from podium.models.distributed import process_group, refuse_several_processes, start
from podium.pipeline import train
from podium.records.training import ModelCard
from tests.parallel_runs import RECIPES, be_killed, never_end, refuse, run
from tests.small_splits import RESOURCES, RUNTIME, a_config, write_prepared, write_project

REPOSITORY = Path(__file__).parents[3]
WITHOUT_BATCH_NORM = "test_convnext"
TRAIN, VAL = 31, 13  # images: parts of unequal size
SCRIPT = """
    import sys
    from pathlib import Path
    import podium
    from podium.core.layout import Layout
    from podium.models.distributed import process_group
    from podium.models.callbacks import Callback
    from podium.pipeline import train
    from tests.parallel_runs import run_all
    from tests.small_splits import RESOURCES, RUNTIME, a_config

    class Telling(Callback):
        def on_epoch_end(self, row, seconds, trial=None):
            print("watched", row.epoch, flush=True)

    root = Path(sys.argv[1])
    with process_group("cpu"):
        train.train_model(Layout(root / "project"), "small", config=a_config("test_convnext", dropout=0.0),
                  runtime=RUNTIME, resources=RESOURCES, seed=0, callbacks=[Telling()])
        run_all(root)
    """


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> tuple[Path, str]:
    """A folder in which two processes have trained, and what they printed."""
    root = tmp_path_factory.mktemp("two")
    write_project(root / "project", WITHOUT_BATCH_NORM)
    write_prepared(root / "prepared", train=TRAIN, val=VAL)
    (root / "script.py").write_text(textwrap.dedent(SCRIPT))
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "script.py", str(root)],
        cwd=root,
        env={**os.environ, "PYTHONPATH": f"{REPOSITORY / 'src'}{os.pathsep}{REPOSITORY}", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return root, done.stdout


def test_two_processes_train_what_one_trains(two, tmp_path):
    layout = write_project(tmp_path, WITHOUT_BATCH_NORM)
    train.train_model(
        layout,
        "small",
        config=a_config(WITHOUT_BATCH_NORM, dropout=0.0),
        runtime=RUNTIME,
        resources=RESOURCES,
        seed=0,
    )
    ours, theirs = layout.model("small"), Layout(two[0] / "project").model("small")
    rows = [[float(cell) for cell in line.split(",")] for line in (ours / "history.csv").read_text().splitlines()[1:]]
    lines = (theirs / "history.csv").read_text().splitlines()[1:]
    for row, line in zip(rows, lines, strict=True):
        assert [float(cell) for cell in line.split(",")] == pytest.approx(row, rel=1e-4)
    one, other = load_file(ours / "weights.safetensors"), load_file(theirs / "weights.safetensors")
    assert all(torch.allclose(one[name], other[name], atol=1e-4) for name in one)
    cards = [ModelCard.read(folder / "model.json") for folder in (ours, theirs)]
    assert [card.runtime["processes"] for card in cards] == [1, 2]
    assert cards[0].fingerprint != cards[1].fingerprint


def test_processes_that_a_stage_starts_train_what_those_of_torchrun_train(two, tmp_path):
    class Telling(Callback):
        epochs: list[int] = []

        def on_epoch_end(self, row, seconds, trial=None) -> None:
            self.epochs.append(row.epoch)

    layout, config = write_project(tmp_path, WITHOUT_BATCH_NORM), a_config(WITHOUT_BATCH_NORM, dropout=0.0)
    given = {"resources": RESOURCES, "seed": 0, "callbacks": [Telling()]}
    train.train_model(layout, "small", config=config, runtime=RUNTIME.model_copy(update={"processes": 2}), **given)
    ours, theirs = (each.model("small") / "model.json" for each in (layout, Layout(two[0] / "project")))
    assert ours.read_text() == theirs.read_text()
    assert Telling.epochs == [1, 2, 3]


def test_what_a_started_process_raises_is_raised_here():
    with pytest.raises(DataError, match="^it is below zero$"):
        start(refuse, "it is below zero", 2)


def test_a_started_process_that_was_killed_is_one_line():
    with pytest.raises(PodiumError, match=r"ended from outside.*lower train\.micro_batch_size"):
        start(be_killed, None, 2)


def test_a_stage_that_is_stopped_ends_the_processes_it_started():
    def stop(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_job(lambda _: start(never_end, None, 2), None, stop)
    assert not multiprocessing.active_children()


def test_one_process_writes_prints_and_is_watched(two, tmp_path):
    root, printed = two
    project = root / "project"
    names = {path.relative_to(project) for path in project.rglob("*") if path.is_file()}
    names = {name for name in names if "prepared" not in name.parts and name.suffix != ".lock"}
    times = {name for name in names if name.is_relative_to(".podium/times")}
    assert len(times) == 1
    assert {str(name) for name in names - times} == {
        "artifacts/models/small/history.csv",
        "artifacts/models/small/model.json",
        "artifacts/models/small/weights.safetensors",
        "artifacts/tuning/small/best.json",
        "artifacts/weights/small/weights.json",
        "stages/repeat.py",
        "stages/train.py",
        "stages/tune.py",
    }
    told = [line for line in printed.splitlines() if line.startswith(("watched", "train small: epoch"))]
    assert [line.split(", learning rate")[0] for line in told] == [
        line for epoch in (1, 2, 3) for line in (f"train small: epoch {epoch} of 3", f"watched {epoch}")
    ]


@pytest.mark.parametrize("name", RECIPES)
def test_a_step_of_two_processes_is_the_step_of_one(two, name, tmp_path):
    root, _ = two
    alone: FitResult = run(root / "prepared", name, tmp_path)
    told = [json.loads((root / f"{name} {rank}.json").read_text()) for rank in (0, 1)]
    assert told[0] == told[1]
    # batch norm sees the images of its own process only: losses are near, and who is right by a hair may differ
    own_images = name.startswith("batch norm")
    for row, theirs in zip(alone.progress.history, told[0]["losses"], strict=True):
        assert theirs[:2] == pytest.approx([row.train_loss, row.val_loss], rel=0.1 if own_images else 1e-3)
        assert own_images or theirs[2:] == pytest.approx([row.train_accuracy, row.val_accuracy], rel=1e-3)


def test_two_processes_resume_to_the_same_bytes(two):
    for name in RECIPES:
        told = json.loads((two[0] / f"{name} 0.json").read_text())
        assert told["resumed"] == told["whole"]


def test_a_study_refuses_processes_it_would_not_use(monkeypatch):
    refuse_several_processes("tune", "x")
    started = {"WORLD_SIZE": "4", "RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    for name, value in started.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=r"torchrun started 4 processes, but tune .*python -m stages\.tune"):
        refuse_several_processes("tune", "x")


def test_what_a_scheduler_alone_has_set_is_not_taken_for_torchrun(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    with (
        pytest.raises(UsageError, match=r"WORLD_SIZE is '4'.*RANK, LOCAL_RANK.*missing.*unset WORLD_SIZE"),
        process_group("cpu"),
    ):
        pass
