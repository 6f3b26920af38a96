"""`podium use`."""

import subprocess

import pytest
import yaml

from tests.unit.cli.calls import change_gates, one_line, podium


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


def test_offline_starts_from_the_weights_that_come_with_podium(project, request):
    for name in ("folder", "sample", "surveillance"):
        source = request.config.rootpath / "experiments" / f"{name}.yaml"
        (project.root / "experiments" / source.name).write_bytes(source.read_bytes())
    assert podium("use", "folder", "--offline").exit_code == 0
    raw = {
        path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in (project.root / "experiments").iterdir()
    }
    in_force = yaml.safe_load(project.params.read_text(encoding="utf-8"))
    assert in_force == {**raw["folder"], "models": raw["sample"]["models"]}
    assert "folder  (in force)" in podium("use").stdout
    assert podium("use", "folder").exit_code == 0  # nothing was edited, so nothing is lost
    assert yaml.safe_load(project.params.read_text(encoding="utf-8")) == raw["folder"]
    refused = podium("use", "surveillance", "--offline")
    assert refused.exit_code == 1
    assert "compares torchvision/resnet18, torchvision/resnet50, but small weights" in refused.stderr


def test_doctor_names_telemetry_and_secrets_that_others_may_read(project, monkeypatch):
    assert "ok    telemetry" in podium("doctor").stdout
    secret = project.root / ".dvc" / "config.local"
    secret.parent.mkdir()
    secret.touch(0o644)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "false")
    monkeypatch.setenv("DO_NOT_TRACK", "false")
    monkeypatch.setattr("mlflow.telemetry.utils._IS_IN_CI_ENV_OR_TESTING", False)
    told = podium("doctor")
    assert told.exit_code == 1
    assert f"FAIL  permissions  {secret} may hold a password and is open to others: chmod 600" in told.stdout
    assert "FAIL  telemetry    MLflow would send usage data" in told.stdout
    assert "ok    store        sqlite:///mlflow.db: 1 experiments" in told.stdout


def test_doctor_names_an_edited_ledger_and_brings_back_a_lost_one(project):
    ledger, whole = project.test_openings, project.test_openings.read_bytes()
    assert podium("doctor").exit_code == 0
    ledger.unlink()
    assert podium("doctor", "--repair").exit_code == 0
    assert ledger.read_bytes() == whole  # from the copy of what was ever appended here
    ledger.write_bytes(whole.replace(b"tiny_resnet", b"tiny_other", 1))
    for arguments in ((), ("--repair",)):
        result = podium("doctor", *arguments)
        assert result.exit_code == 1
        assert one_line(result.stderr)
        assert "was edited, its digest is another one: `git checkout reports/test_openings.jsonl`" in result.stderr
    assert b"tiny_other" in ledger.read_bytes()  # people alone mend it
