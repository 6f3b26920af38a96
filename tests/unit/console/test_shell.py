"""A stage ends with one line and the right exit code."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from podium.config.params import Params
from podium.console import shell
from podium.console.dvc_files import alone
from podium.console.shell import run_stage
from podium.core.errors import DataError
from podium.core.layout import Layout

ROOT = Layout(Path(__file__).parents[3])


@pytest.fixture(autouse=True)
def at_root(monkeypatch):
    monkeypatch.chdir(ROOT.root)


def test_a_users_mistake_is_one_line_and_exit_code_1(capsys):
    def main(params: Params, layout: Layout) -> None:
        raise DataError("data/x is missing: run dvc pull")

    assert run_stage(main, []) == 1
    assert capsys.readouterr().err == "error: data/x is missing: run dvc pull\n"


def test_an_error_stays_one_line_whatever_a_file_is_called(capsys):
    def main(params: Params, layout: Layout) -> None:
        raise DataError("two\nlines \x1b[2J\u2028 사과 🍐.jpg is empty: remove it")

    assert run_stage(main, []) == 1
    assert capsys.readouterr().err == "error: two\\nlines \\x1b[2J\\u2028 사과 🍐.jpg is empty: remove it\n"


def test_a_full_disk_is_one_line_and_exit_code_1(capsys):
    def main(params: Params, layout: Layout) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "artifacts/x")

    assert run_stage(main, []) == 1
    assert "no space left on the device while writing artifacts/x" in capsys.readouterr().err


def test_an_unknown_model_is_named_before_the_stage_starts(capsys):
    def main(params: Params, layout: Layout, model: str) -> None:
        raise RuntimeError

    assert run_stage(main, ["--model", "resnet81"]) == 1
    assert "did you mean 'resnet18'?" in capsys.readouterr().err


def test_on_another_split_a_stage_only_looks_and_leaves_no_trace_of_a_run(capsys, monkeypatch, tmp_path):
    (tmp_path / "params.yaml").write_bytes(ROOT.params.read_bytes())
    monkeypatch.chdir(tmp_path)

    def main(params: Params, layout: Layout, model: str, on: str = "test") -> None:
        print(model, on)

    assert run_stage(main, ["--model", "resnet18", "--on", "val"]) == 0
    assert capsys.readouterr().out == "resnet18 val\n"
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]
    with pytest.raises(SystemExit):
        run_stage(main, ["--model", "resnet18", "--on", "train"])


def test_wrong_usage_is_exit_code_2(capsys):
    def main(params: Params, layout: Layout, model: str) -> None:
        raise RuntimeError

    with pytest.raises(SystemExit) as caught:
        run_stage(main, [])
    assert caught.value.code == 2


def test_a_defect_of_ours_keeps_its_traceback():
    def main(params: Params, layout: Layout) -> None:
        raise KeyError("ours")

    with pytest.raises(KeyError):
        run_stage(main, [])


SAYS_A_NAME = """
import logging, os, sys
from podium.console import shell
from podium.console.dvc_files import alone
from podium.console.shell import run_stage

def main(params, layout):
    name, = os.listdir(sys.argv[1])
    logging.getLogger("podium").warning("class %s", name)
    print(name)

sys.exit(run_stage(main, []))
"""


@pytest.mark.parametrize(
    "settings",
    [
        {"PYTHONIOENCODING": "latin-1"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},  # file names are ASCII to Python
    ],
)
def test_names_are_utf8_whatever_the_locale_and_the_terminal(tmp_path, settings):
    (tmp_path / "사과 🍐").mkdir()
    command = [sys.executable, "-c", SAYS_A_NAME, str(tmp_path)]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(ROOT.root / "src"), **settings}, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout.decode(), done.stderr.decode()) == (0, "사과 🍐\n", "warning: class 사과 🍐\n")


def test_a_project_runs_its_own_package_or_nothing(tmp_path, monkeypatch, capsys):
    (tmp_path / "src/podium").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)

    def main(params: Params, layout: Layout) -> None:
        raise RuntimeError

    assert run_stage(main, []) == 1
    said = capsys.readouterr().err
    assert f"fingerprinted with {tmp_path / 'src/podium'}" in said and "make install" in said


def test_without_the_environment_a_stage_names_it_in_one_line(request: pytest.FixtureRequest) -> None:
    done = subprocess.run(
        [sys.executable, "-S", "-m", "stages.code"],
        cwd=request.config.rootpath,
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: the libraries of Podium are not installed for ")
    assert "source .venv/bin/activate" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_stage_begins_once_no_dvc_writes(capsys, monkeypatch, tmp_path):
    """That of a stage beside it may be writing `dvc.lock`, which this one reads."""
    (tmp_path / "params.yaml").write_bytes(ROOT.params.read_bytes())
    (tmp_path / ".dvc").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shell, "_PATIENCE", 0.1)

    def main(params: Params, layout: Layout) -> None:
        with alone(layout):  # it is free while the stage is at work
            print("at work")

    with alone(Layout(tmp_path)):
        assert run_stage(main, []) == 1
    told = capsys.readouterr()
    assert told.out == "" and "a dvc is at work in" in told.err
    assert run_stage(main, []) == 0
    assert "at work" in capsys.readouterr().out
