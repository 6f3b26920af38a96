"""The `podium` command as a whole: what it imports, exit codes, one-line errors, help."""

import os
import subprocess
import sys

import pytest

from tests.unit.cli.calls import one_line, podium


def run(cwd, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "podium", *arguments], cwd=cwd, capture_output=True, text=True, check=False
    )


def test_help_is_quick_and_needs_no_project(tmp_path):
    before = os.times()
    done = run(tmp_path, "--help")
    after = os.times()
    seconds = after.children_user + after.children_system - before.children_user - before.children_system
    assert done.returncode == 0
    assert all(command in done.stdout for command in ("status", "use", "models", "validate", "snapshot", "promote"))
    assert seconds < 2  # of processor time; 0.3 on a quiet machine, torch or MLflow alone would cost more than 2


def test_no_command_imports_anything_heavy_before_it_runs(tmp_path):
    heavy = ("great_expectations", "mlflow", "torch", "pandas", "numpy")
    code = f"import sys, podium.cli; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--version",), 0, ""),
        (("promoto",), 2, "error: No such command 'promoto'. Did you mean 'promote'?; see `podium --help`"),
        (("status",), 1, "is in no project: change into a folder with params.yaml and dvc.yaml"),
    ],
)
def test_exit_codes_reach_the_shell(tmp_path, arguments, code, message):
    done = run(tmp_path, *arguments)
    assert done.returncode == code
    assert message in done.stderr
    assert not done.stderr or one_line(done.stderr)


# --- wrong usage -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["promote", "--to", "staging"], "Missing option '--reason'"),
        (["promote", "--reason", "x"], "Missing option '--to'"),
        (["promote", "--to", "production", "--reason", "x"], "alias 'production' is not available"),
        (["promote", "--to", "stagin", "--reason", "x"], "did you mean 'staging'?"),
        (["promote", "newest", "--to", "staging", "--reason", "x"], "'newest' is neither a number nor `candidate`"),
        (["promote", "--to", "staging", "--reason", " "], "the reason is empty"),
        (["promote", "--to", "staging", "--reason", "x" * 501], "501 characters; at most 500"),
        (["rollback"], "Missing argument"),
        (["rollback", "production"], "alias 'production' is not available"),
        (["history", "extra"], "unexpected extra argument"),
        (["snapshot"], "Missing argument"),
        (["validate", "--data-docs", "--json"], "--data-docs goes alone"),
    ],
)
def test_wrong_usage_exits_2_with_one_line(arguments, message):
    result = podium(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert one_line(result.stderr)


@pytest.mark.parametrize(
    "command",
    [
        "status",
        "use",
        "doctor",
        "models",
        "validate",
        "snapshot",
        "promote",
        "rollback",
        "history",
    ],
)
def test_every_command_has_help_with_an_example(command):
    result = podium(command, "--help")
    assert result.exit_code == 0
    assert f"Example: podium {command}" in result.stdout
