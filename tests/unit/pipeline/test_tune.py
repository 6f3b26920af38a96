import csv
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping

import pytest

from podium.config.runtime import Resources
from podium.config.train import Choices, Range, Span, Train, Value
from podium.core.errors import ModelError
from podium.core.files import sha256_file
from podium.core.layout import Layout
from podium.models.callbacks import Callback, Ending
from podium.models.study import Study
from podium.pipeline import tune
from podium.records.training import EpochResult, TrialResult, TuningResult
from tests.small_splits import RECIPE, RESOURCES, RUNTIME, SEARCH, TUNE, a_config, write_project

STUDY = TUNE.model_copy(update={"trials": 5})
BATCHES = STUDY.model_copy(update={"together": 2})
SIDE_BY_SIDE = Resources(trials_at_once=2)
IMAGES = 30
FILES = ("best.json", "history.csv", "trials.csv")


class Killed(BaseException):
    """Stands for the end of the process: nothing in the product may catch it."""


class Listening(Callback):
    """Keeps what it is told of trials; ends the process at one of their epochs where asked to."""

    def __init__(self, kill_at: tuple[int, int] | None = None) -> None:
        self.kill_at = kill_at
        self.started: list[int] = []
        self.endings: list[tuple[int | None, str]] = []

    def on_trial_begin(self, number: int, parameters: Mapping[str, Value]) -> None:
        self.started.append(number)

    def on_epoch_end(self, row: EpochResult, seconds: float, trial: int | None = None) -> None:
        if (trial, row.epoch) == self.kill_at:
            raise Killed

    def on_trial_end(self, result: TrialResult) -> None:
        self.endings.append((result.number, result.state))

    def on_train_end(self, ending: Ending) -> None:
        self.endings.append((None, ending))


def study(
    layout: Layout,
    callback: Callback | None = None,
    recipe: Train = RECIPE,
    search: dict[str, Span] = SEARCH,
    settings=STUDY,
    resources=RESOURCES,
    warm_start=(),
) -> dict[str, str]:
    tune.tune_model(
        layout,
        "small",
        Study(a_config(recipe=recipe), search, settings, 0, warm_start),
        runtime=RUNTIME,
        resources=resources,
        callbacks=[callback or Callback()],
    )
    folder = layout.tuning("small")
    assert sorted(p.name for p in folder.iterdir()) == list(FILES)
    return {name: sha256_file(folder / name) for name in FILES}


def table(layout: Layout, name: str) -> list[dict[str, str]]:
    with (layout.tuning("small") / name).open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Layout, dict[str, str]]:
    layout = write_project(tmp_path_factory.mktemp("uninterrupted"))
    return layout, study(layout)


def test_two_studies_write_the_same_bytes(uninterrupted, tmp_path):
    assert study(write_project(tmp_path)) == uninterrupted[1]


def test_a_killed_study_goes_on_without_repeating_a_finished_trial(uninterrupted, tmp_path):
    layout = write_project(tmp_path)
    for kill_at in [(0, 1), (2, 2), (3, 1)]:
        with pytest.raises(Killed):
            study(layout, callback=Listening(kill_at))
    last = Listening()
    assert study(layout, callback=last) == uninterrupted[1]
    assert last.started[0] == 3
    assert list((layout.work / "studies").glob("*/")) == []


SIGKILLED = """
import os, signal, sys
from pathlib import Path
from podium.config.runtime import Resources
from podium.core.layout import Layout
from tests.unit.pipeline.test_tune import BATCHES, SIDE_BY_SIDE, Listening, study

class Dying(Listening):
    def on_trial_end(self, result):
        super().on_trial_end(result)
        if result.number >= 2:
            os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    study(Layout(Path(sys.argv[1])), callback=Dying(), settings=BATCHES, resources=SIDE_BY_SIDE)
"""


def test_side_by_side_and_killed_a_study_ends_like_one_in_one_process(tmp_path_factory):
    """Batches of two in two processes; SIGKILL as soon as one of the second batch has ended."""
    alone, killed = (write_project(tmp_path_factory.mktemp(name)) for name in ("alone", "killed"))
    expected = study(alone, settings=BATCHES)
    script = killed.root / "dying.py"
    script.write_text(SIGKILLED, encoding="utf-8")
    process = subprocess.run(
        [sys.executable, script, str(killed.root)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == -signal.SIGKILL, process.stderr
    ended = {path.stem for path in (killed.work / "studies").glob("*/*.json")}
    assert {"trial-00000", "trial-00001"} < ended
    last = Listening()
    assert study(killed, callback=last, settings=BATCHES, resources=SIDE_BY_SIDE) == expected
    assert not ended & {f"trial-{number:05d}" for number in last.started}
    assert list((killed.work / "studies").glob("*/")) == []


def test_the_first_trial_has_the_contender_s_own_value(uninterrupted):
    rows = table(uninterrupted[0], "trials.csv")
    assert [row["number"] for row in rows] == [str(number) for number in range(len(rows))]
    assert float(rows[0]["train.learning_rate"]) == RECIPE.learning_rate
    assert len({row["train.learning_rate"] for row in rows}) == len(rows)


def test_best_is_the_finished_trial_with_the_lowest_loss_and_the_files_agree(uninterrupted):
    layout, _ = uninterrupted
    best = TuningResult.read(layout.tuning("small") / "best.json")
    trials, history = table(layout, "trials.csv"), table(layout, "history.csv")
    finished = [row for row in trials if row["state"] == "finished"]
    lowest = min(finished, key=lambda row: float(row["val_loss"]))
    assert (best.trial, best.val_loss) == (int(lowest["number"]), float(lowest["val_loss"]))
    assert best.parameters == {"train.learning_rate": float(lowest["train.learning_rate"])}
    assert (best.trials, best.pruned) == (len(trials), len(trials) - len(finished))
    for row in trials:
        losses = [float(r["val_loss"]) for r in history if r["trial"] == row["number"]]
        assert len(losses) == int(row["epochs"])
        assert min(losses) == float(row["val_loss"])


def test_what_pruning_saves_is_spent_on_further_trials_within_the_budget(uninterrupted):
    layout, _ = uninterrupted
    best = TuningResult.read(layout.tuning("small") / "best.json")
    assert best.images_budget == STUDY.trials * STUDY.epochs * IMAGES
    assert best.images_seen == len(table(layout, "history.csv")) * IMAGES
    assert best.images_budget - STUDY.epochs * IMAGES < best.images_seen <= best.images_budget
    assert best.pruned > 0
    assert best.trials > STUDY.trials


def test_a_trial_worse_than_the_median_is_pruned(uninterrupted):
    pruned = [row for row in table(uninterrupted[0], "trials.csv") if row["state"] == "pruned"]
    assert pruned
    assert all(row["epochs"] == "1" for row in pruned)


def test_a_trial_that_diverges_is_dropped_and_the_study_goes_on(tmp_path):
    layout = write_project(tmp_path)
    wild = {"train.learning_rate": Range(low=1e-3, high=1e30, log=True)}
    seen = Listening()
    study(layout, search=wild, callback=seen)
    states = [row["state"] for row in table(layout, "trials.csv")]
    assert "diverged" in states
    assert TuningResult.read(layout.tuning("small") / "best.json").parameters["train.learning_rate"] < 1
    assert seen.endings == [*enumerate(states), (None, "finished")]


def test_a_study_in_which_all_trials_diverge_says_what_to_change(tmp_path):
    layout = write_project(tmp_path)
    shutil.rmtree(layout.tuning("small"))
    hopeless = {"train.learning_rate": Range(low=1e25, high=1e30, log=True)}
    with pytest.raises(ModelError, match=r"lower the learning rate"):
        study(layout, search=hopeless, recipe=RECIPE.model_copy(update={"learning_rate": 1e26}))
    assert not layout.tuning("small").exists()


def test_keys_of_every_kind_and_depth_are_searched_and_reach_the_network(tmp_path):
    layout = write_project(tmp_path)
    search: dict[str, Span] = {
        **SEARCH,
        "train.batch_size": Range(low=4, high=15),
        "train.augment.flip": Choices(choices=(True, False)),
        "train.optimizer": Choices(choices=("adamw", "sgd")),
        "head.dropout": Range(low=0.0, high=0.5),
    }
    warm = {"train.batch_size": 5, "train.augment.flip": False, "train.optimizer": "sgd", "head.dropout": 0.4}
    study(layout, search=search, warm_start=[warm])
    rows = table(layout, "trials.csv")
    assert list(rows[0])[5:] == sorted(search)
    assert {key: rows[0][key] for key in warm} == {key: str(value) for key, value in warm.items()}
    assert float(rows[0]["train.learning_rate"]) == RECIPE.learning_rate
    assert (rows[1]["train.batch_size"], rows[1]["train.augment.flip"]) == (str(RECIPE.batch_size), "True")
    steps = {row["trial"]: row["step"] for row in table(layout, "history.csv") if row["epoch"] == "1"}
    # a last batch of one image joins the one before it
    for row in rows:
        size = int(row["train.batch_size"])
        assert int(steps[row["number"]]) == -(-IMAGES // size) - (IMAGES % size == 1)


def test_each_trial_prints_a_line(uninterrupted, tmp_path, capsys):
    study(write_project(tmp_path), settings=TUNE)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith(
        "tune small: trial 0, train.learning_rate 0.002, finished after 2 of 2 epochs: val loss "
    )


def test_a_warning_names_key_value_and_range(tmp_path, capsys):
    layout = write_project(tmp_path)
    one = TUNE.model_copy(update={"trials": 1})
    study(layout, settings=one, search={"train.learning_rate": Range(low=2e-3, high=1.0, log=True)})
    assert TuningResult.read(layout.tuning("small") / "best.json").at_the_edge == ["train.learning_rate"]
    assert (
        "warning: tune small: the best train.learning_rate, 0.002, lies at an end of what was searched (0.002 to 1): "
        "a better value may lie beyond; widen the range" in capsys.readouterr().out
    )
