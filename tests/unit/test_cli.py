"""The `podium` command: exit codes, one-line errors, JSON for scripts, tables a person can read."""

import json
import os
import subprocess
import sys

import pytest
import yaml
from typer.testing import CliRunner

from podium.cli import app
from podium.core.config.params import load
from tests.unit.registry.promotions import NAME, client_of, gathered, register

LENIENT = {"minimum_accuracy": 0.0, "minimum_macro_f1": 0.0, "maximum_latency_seconds": 60.0}


@pytest.fixture
def project(experiment, monkeypatch):
    """A finished experiment whose gates anything passes, as the working directory."""
    root = experiment.layout.root
    change_gates(root, **LENIENT)
    (root / "dvc.yaml").write_text("stages: {}\n")
    (root / "experiments").mkdir()
    (root / "experiments" / "tiny.yaml").write_bytes((root / "params.yaml").read_bytes())
    monkeypatch.chdir(root)
    monkeypatch.setenv("COLUMNS", "100")
    return experiment.layout


@pytest.fixture
def versions(project, tmp_path):
    """Two registered versions."""
    evidence = gathered(project, load(project.params), tmp_path / "gathered")
    return [register(project, evidence), register(project, evidence)]


def change_gates(root, **gates):
    raw = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))
    raw["promote"].update(gates)
    (root / "params.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")


def podium(*arguments):
    return CliRunner().invoke(app, list(arguments))


def one_line(text):
    return text.count("\n") == 1 and "Traceback" not in text


def staging(layout):
    alias = client_of(layout).get_registered_model(NAME).aliases.get("staging")
    return None if alias is None else str(alias)


# --- the command as a whole, in processes of its own -----------------------------------------------------------------


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
    assert all(command in done.stdout for command in ("status", "use", "promote", "rollback", "history"))
    assert seconds < 2  # of processor time; 0.3 on a quiet machine, torch or MLflow alone would cost more than 2


def test_no_command_imports_anything_heavy_before_it_runs(tmp_path):
    code = "import sys, podium.cli; print([m for m in ('mlflow', 'torch', 'pandas', 'numpy') if m in sys.modules])"
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
    ],
)
def test_wrong_usage_exits_2_with_one_line(arguments, message):
    result = podium(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert one_line(result.stderr)


@pytest.mark.parametrize("command", ["status", "use", "promote", "rollback", "history"])
def test_every_command_has_help_with_an_example(command):
    result = podium(command, "--help")
    assert result.exit_code == 0
    assert f"Example: podium {command}" in result.stdout


# --- promote, rollback, history --------------------------------------------------------------------------------------


def test_promote_prints_every_gate_and_the_outcome(project, versions):
    result = podium("promote", "candidate", "--to", "staging", "--reason", "first")
    assert result.exit_code == 0, result.stderr
    for gate in ("data_validation", "weights_hash", "golden_batch", "accuracy", "macro_f1", "recall", "latency"):
        assert gate in result.stdout
    assert "version 2 is now at staging; audit entry 1" in result.stdout
    assert staging(project) == "2"


def test_a_refusal_exits_1_and_says_by_how_much(project, versions):
    change_gates(project.root, minimum_accuracy=1.0)
    result = podium("promote", "1", "--to", "staging", "--reason", "first")
    assert result.exit_code == 1
    assert result.stderr.startswith("refused: accuracy 0.")
    assert "below 1.000" in result.stderr
    assert one_line(result.stderr)
    assert staging(project) is None


def test_a_refusal_is_json_for_scripts(project, versions):
    change_gates(project.root, minimum_accuracy=1.0)
    result = podium("promote", "1", "--to", "staging", "--reason", "first", "--json")
    assert result.exit_code == 1
    said = json.loads(result.stdout)
    assert (said["moved"], said["action"], said["alias"]) == (False, "promote", "staging")
    assert said["refused"] in result.stderr
    assert [gate["name"] for gate in said["gates"] if not gate["passed"]] == ["accuracy"]


def test_moves_and_refused_moves_have_one_shape_in_json(project, versions):
    def as_json(*arguments):
        return json.loads(podium(*arguments, "--json").stdout)

    said = [as_json("rollback", "staging")]
    said += [as_json("promote", number, "--to", "staging", "--reason", "x") for number in versions]
    said += [as_json("rollback", "staging")]
    shape = [(s["moved"], s["action"], s["alias"], "refused" in s) for s in said]
    assert shape == [
        (False, "rollback", "staging", True),
        (True, "promote", "staging", False),
        (True, "promote", "staging", False),
        (True, "rollback", "staging", False),
    ]
    assert all("gates" in s for s in said)


def test_force_is_told_and_kept_in_history(project, versions):
    change_gates(project.root, minimum_accuracy=1.0)
    result = podium("promote", "1", "--to", "staging", "--reason", "demo", "--force", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["forced"] is True
    shown = podium("history").stdout
    assert "force" in shown
    assert "demo (forced past" in shown


def test_rollback_and_history_tell_the_same_story(project, versions):
    assert "was never promoted" in podium("history").stdout
    for number in ("1", "2"):
        assert podium("promote", number, "--to", "staging", "--reason", f"try {number}").exit_code == 0
    back = podium("rollback", "staging", "--reason", "worse")
    assert "version 1 is now at staging (before: version 2); audit entry 3" in back.stdout
    entries = json.loads(podium("history", "--json").stdout)
    assert [(e["action"], e["from"], e["to"], e["reason"]) for e in entries] == [
        ("promote", None, "1", "try 1"),
        ("promote", "1", "2", "try 2"),
        ("rollback", "2", "1", "worse"),
    ]
    again = podium("rollback", "staging")
    assert (again.exit_code, one_line(again.stderr)) == (1, True)
    assert "no earlier holder" in again.stderr


def test_history_tells_when_the_alias_was_moved_past_the_record(project, versions):
    assert podium("promote", "1", "--to", "staging", "--reason", "first").exit_code == 0
    assert "past Podium" not in podium("history").stdout
    client_of(project).set_registered_model_alias(NAME, "staging", "2")
    assert (
        "staging is at version 2, but the record ends at 1:\nsomebody moved it past Podium" in podium("history").stdout
    )


def test_markup_in_a_reason_is_text(project, versions):
    reason = "[bold]not markup[/bold] and [/] neither"
    assert podium("promote", "1", "--to", "staging", "--reason", reason).exit_code == 0
    assert "[bold]not" in podium("history").stdout


@pytest.mark.parametrize("arguments", [["promote", "--to", "staging", "--reason", "x"], ["history"]])
def test_a_project_without_versions_says_how_to_get_one(project, arguments):
    result = podium(*arguments)
    assert result.exit_code == 1
    assert result.stderr == (
        "error: no model is registered as 'podium-tiny': run `dvc repro`, whose last stage registers the winner\n"
    )


def test_a_server_that_does_not_answer_is_one_line(project, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    result = podium("promote", "--to", "staging", "--reason", "x")
    assert result.exit_code == 1
    assert "http://127.0.0.1:9 cannot be reached" in result.stderr
    assert one_line(result.stderr)
    status = podium("status")
    assert status.exit_code == 0
    assert "cannot be reached" in status.stdout


# --- status ----------------------------------------------------------------------------------------------------------


def test_status_shows_results_versions_and_three_next_steps(project, versions):
    result = podium("status")
    assert result.exit_code == 0, result.stderr
    for part in ("tiny_resnet", "tiny_convnext", "candidate", "make ui", "reports/report.html", "podium promote"):
        assert part in result.stdout


def test_status_fits_into_80_columns(project, versions, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert max(len(line.rstrip()) for line in podium("status").stdout.splitlines()) <= 80


def test_status_is_json_for_scripts(project, versions):
    said = json.loads(podium("status", "--json").stdout)
    assert said["decision"]["winner"] in {row["model"] for row in said["leaderboard"]["rows"]}
    assert [(v["version"], v["aliases"]) for v in said["versions"]] == [("1", []), ("2", ["candidate"])]


def test_status_of_a_fresh_clone_makes_no_store(project):
    for path in (*project.comparison.iterdir(), project.root / "mlflow.db"):
        path.unlink()
    result = podium("status")
    assert result.exit_code == 0, result.stderr
    assert "No comparison yet: run `dvc repro`." in result.stdout
    assert "No version yet" in result.stdout
    assert not (project.root / "mlflow.db").exists()


def test_status_works_from_a_folder_below(project, monkeypatch):
    below = project.root / "reports"
    monkeypatch.chdir(below)
    assert podium("status").exit_code == 0


# --- use -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def other(project):
    raw = yaml.safe_load((project.root / "params.yaml").read_text(encoding="utf-8"))
    path = project.root / "experiments" / "other.yaml"
    path.write_text(yaml.safe_dump({**raw, "experiment": "other"}), encoding="utf-8")
    return path


def test_use_puts_an_experiment_in_force(project, other):
    result = podium("use", "other")
    assert (result.exit_code, result.stdout) == (0, "other is in force. Next: dvc repro\n")
    assert project.params.read_bytes() == other.read_bytes()
    assert podium("use", "other").stdout == "other is in force already.\n"
    assert podium("use").stdout == "other  (in force)\ntiny\n"


def test_use_refuses_an_unknown_name_and_lists_those_there_are(project, other):
    for name in ("othr", "../params"):
        result = podium("use", name)
        assert result.exit_code == 1
        assert "(experiments: other, tiny)" in result.stderr
    assert "did you mean 'other'?" in podium("use", "othr").stderr


def test_use_refuses_an_experiment_that_breaks_a_rule(project, other):
    present = project.params.read_bytes()
    other.write_text(other.read_text().replace("tune:", "tuen:"))
    result = podium("use", "other")
    assert result.exit_code == 1
    assert "other.yaml: " in result.stderr
    assert project.params.read_bytes() == present


def test_use_does_not_lose_edits_unless_forced(project, other):
    change_gates(project.root, minimum_accuracy=0.123)
    refused = podium("use", "other")
    assert refused.exit_code == 1
    assert "neither in experiments/ nor committed" in refused.stderr
    assert podium("use", "other", "--force").exit_code == 0


def test_use_replaces_edits_that_git_keeps(project, other):
    change_gates(project.root, minimum_accuracy=0.123)
    git = ["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    for step in (["init", "-q"], ["add", "params.yaml"], ["commit", "-q", "-m", "mine"]):
        subprocess.run([*git, *step], cwd=project.root, check=True)
    assert podium("use", "other").exit_code == 0
