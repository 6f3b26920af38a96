import csv
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

import pytest

from podium.core.config.recipe import Train
from podium.core.config.tuning import Range
from podium.core.errors import ModelError
from podium.core.files import sha256_file
from podium.core.layout import Layout
from podium.core.records.training import EpochResult, TuningResult
from podium.models.watcher import Ending, Unwatched, unwatched
from podium.pipeline import tune
from tests.small_splits import RECIPE, RUNTIME, SEARCH, TUNE, contender, write_project

STUDY = TUNE.model_copy(update={"trials": 5})
FILES = ("best.json", "history.csv", "trials.csv")


class Killed(BaseException):
    """Stands for the end of the process: nothing in the product may catch it."""


class Listening(Unwatched):
    """Keeps what it is told of trials; ends the process at one of their epochs where asked to."""

    def __init__(self, kill_at: tuple[int, int] | None = None) -> None:
        self.kill_at = kill_at
        self.started: list[int] = []
        self.endings: list[Ending] = []

    def trial(self, number: int, parameters: Mapping[str, float]) -> "Listening":
        self.started.append(number)
        return self

    def epoch(self, row: EpochResult) -> None:
        if (self.started[-1], row.epoch) == self.kill_at:
            raise Killed

    def close(self, ending: Ending) -> None:
        self.endings.append(ending)


def study(
    layout: Layout,
    watch=unwatched,
    recipe: Train = RECIPE,
    search: dict[str, Range] = SEARCH,
    settings=STUDY,
) -> dict[str, str]:
    tune.run(
        layout,
        "small",
        contender=contender(),
        recipe=recipe,
        search=search,
        tune=settings,
        runtime=RUNTIME,
        seed=0,
        watch=watch,
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
            study(layout, watch=lambda *_, at=kill_at: Listening(at))
    last = Listening()
    assert study(layout, watch=lambda *_: last) == uninterrupted[1]
    assert last.started == [3, 4]
    assert list((layout.work / "studies").glob("*/")) == []


def test_sigkill_with_a_half_written_line_in_the_journal_does_no_harm(uninterrupted, tmp_path):
    layout = write_project(tmp_path)
    script = textwrap.dedent(
        """
        import os, signal, sys
        from pathlib import Path
        from podium.core.layout import Layout
        from tests.unit.pipeline.test_tune import Listening, study

        class Dying(Listening):
            def epoch(self, row):
                if self.started[-1] == 1:
                    os.kill(os.getpid(), signal.SIGKILL)

        study(Layout(Path(sys.argv[1])), watch=lambda *_: Dying())
        """
    )
    killed = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    (journal,) = (layout.work / "studies").glob("*/journal.log")
    with journal.open("ab") as stream:
        stream.write(b'{"op_code":4,"work')
    journal.with_name("journal.log.lock").symlink_to(journal)
    last = Listening()
    assert study(layout, watch=lambda *_: last) == uninterrupted[1]
    assert last.started == [1, 2, 3, 4]


def test_the_first_trial_is_the_recipe_s_own_value(uninterrupted):
    rows = table(uninterrupted[0], "trials.csv")
    assert [row["number"] for row in rows] == ["0", "1", "2", "3", "4"]
    assert float(rows[0]["learning_rate"]) == RECIPE.learning_rate
    assert len({row["learning_rate"] for row in rows}) == 5


def test_best_is_the_finished_trial_with_the_lowest_loss_and_the_files_agree(uninterrupted):
    layout, _ = uninterrupted
    best = TuningResult.read(layout.tuning("small") / "best.json")
    trials, history = table(layout, "trials.csv"), table(layout, "history.csv")
    finished = [row for row in trials if row["state"] == "finished"]
    lowest = min(finished, key=lambda row: float(row["val_loss"]))
    assert (best.trial, best.val_loss) == (int(lowest["number"]), float(lowest["val_loss"]))
    assert best.parameters == {"learning_rate": float(lowest["learning_rate"])}
    assert best.images_seen == len(history) * 30
    assert best.pruned == len(trials) - len(finished)
    for row in trials:
        losses = [float(r["val_loss"]) for r in history if r["trial"] == row["number"]]
        assert len(losses) == int(row["epochs"])
        assert min(losses) == float(row["val_loss"])


def test_a_trial_worse_than_the_median_is_pruned(uninterrupted):
    layout, _ = uninterrupted
    pruned = [row for row in table(layout, "trials.csv") if row["state"] == "pruned"]
    assert pruned
    assert all(row["epochs"] == "1" for row in pruned)


def test_a_trial_that_diverges_is_dropped_and_the_study_goes_on(tmp_path):
    layout = write_project(tmp_path)
    wild = {"learning_rate": Range(low=1e-3, high=1e30, log=True)}
    seen = Listening()
    study(layout, search=wild, watch=lambda *_: seen)
    states = [row["state"] for row in table(layout, "trials.csv")]
    assert "diverged" in states
    assert TuningResult.read(layout.tuning("small") / "best.json").parameters["learning_rate"] < 1
    assert len(seen.endings) == 6
    assert seen.endings[-1] == "finished"


def test_a_study_in_which_all_trials_diverge_says_what_to_change(tmp_path):
    layout = write_project(tmp_path)
    shutil.rmtree(layout.tuning("small"))
    hopeless = {"learning_rate": Range(low=1e25, high=1e30, log=True)}
    with pytest.raises(ModelError, match=r"lower tune\.search\.learning_rate"):
        study(layout, search=hopeless)
    assert not layout.tuning("small").exists()


def test_whole_numbers_are_searched_as_whole_numbers(tmp_path):
    layout = write_project(tmp_path)
    study(layout, search={**SEARCH, "batch_size": Range(low=4, high=15)})
    rows = table(layout, "trials.csv")
    assert float(rows[0]["batch_size"]) == RECIPE.batch_size
    assert all(float(row["batch_size"]).is_integer() for row in rows)
    steps = {row["trial"]: row["step"] for row in table(layout, "history.csv") if row["epoch"] == "1"}
    # a last batch of one image joins the one before it
    for row in rows:
        size = round(float(row["batch_size"]))
        assert int(steps[row["number"]]) == -(-30 // size) - (30 % size == 1)


def test_each_trial_prints_one_line(uninterrupted, tmp_path, capsys):
    study(write_project(tmp_path), settings=TUNE)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("tune small: trial 1/3  learning_rate 0.002  finished after 2 of 2 epochs  val ")
