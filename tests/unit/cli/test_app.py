"""The `podium` command as a whole: what it imports, exit codes, one-line errors, help."""

import subprocess
import sys

import pytest

from podium.cli import COMMANDS
from tests.unit.cli.calls import one_line, podium


def run(cwd, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "podium", *arguments], cwd=cwd, capture_output=True, text=True, check=False
    )


HEAVY = ("dvc", "great_expectations", "mlflow", "pandas", "pyarrow", "sqlalchemy", "torch")


def imported(cwd, *arguments):
    """What a command printed, and the heavy libraries that it imported."""
    code = (
        "import sys, podium.cli\n"
        "try: podium.cli.main()\n"
        f"finally: print([m for m in {HEAVY} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=cwd, capture_output=True, text=True, check=False
    )
    return done.stdout, done.stderr.splitlines()[-1]


def test_help_needs_no_project_and_nothing_heavy(tmp_path):
    said, heavy = imported(tmp_path, "--help")
    assert all(command in said for command in COMMANDS)
    assert "..." not in said.partition("Commands:")[2]  # every summary fits beside its name
    assert "Exit codes: 0 done" in said
    assert heavy == "[]"


@pytest.mark.parametrize("command", ["status", "history", "use"])
def test_what_is_asked_all_day_imports_nothing_heavy(project, versions, command):
    said, heavy = imported(project.root, command)
    assert said
    assert heavy == "[]"


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
        (["promote", "--to", "nightly", "--reason", "x"], "alias 'nightly' is not available"),
        (["promote", "--to", "stagin", "--reason", "x"], "did you mean 'staging'?"),
        (["promote", "newest", "--to", "staging", "--reason", "x"], "'newest' is neither a number nor `candidate`"),
        (["promote", "--to", "staging", "--reason", " "], "the reason is empty"),
        (["promote", "--to", "staging", "--reason", "x" * 501], "501 characters; at most 500"),
        (["rollback"], "Missing argument"),
        (["rollback", "nightly"], "alias 'nightly' is not available"),
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


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example_and_exit_codes(command):
    result = podium(command, "--help")
    assert result.exit_code == 0
    assert f"Example: podium {command}" in result.stdout
    assert "Exit codes: 0 done" in result.stdout


def test_in_a_project_with_a_package_of_its_own_that_one_runs(tmp_path):
    """Also below its root, and where another checkout is the one that the environment knows."""
    own = tmp_path / "src" / "podium"
    (own / "cli").mkdir(parents=True)
    (own / "__init__.py").touch()
    (own / "cli" / "__init__.py").write_text("import sys\ndef main(): print('own', sys.argv[1:])\n")
    (own / "__main__.py").write_text("from podium.cli import main\nmain()\n")
    (tmp_path / "params.yaml").touch()
    (tmp_path / "dvc.yaml").touch()
    below = tmp_path / "data"
    below.mkdir()
    for folder in (tmp_path, below):
        done = run(folder, "status", "--json")
        assert (done.stdout, done.stderr) == ("own ['status', '--json']\n", "")
