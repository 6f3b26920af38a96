"""`podium status` and `podium use`."""

import json
import subprocess

import pytest
import yaml

from podium.config.judging import Compare
from podium.pipeline import compare
from tests.unit.cli.calls import change_gates, podium
from tests.unit.registry.promotions import client_of


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


def test_status_tells_an_unfair_comparison_and_which_version_won_one(project, versions):
    metrics = project.evaluation_report("tiny_resnet") / "metrics.json"
    document = json.loads(metrics.read_text(encoding="utf-8"))
    document["conditions"]["images_seen"] += 1
    metrics.write_text(json.dumps(document), encoding="utf-8")
    compare.compare_models(project, ["tiny_resnet", "tiny_convnext"], Compare())
    client_of(project).set_model_version_tag("podium-tiny", "1", "podium.comparable", "false")
    assert "Not comparable: the models differ in planned training images" in " ".join(podium("status").stdout.split())
    said = json.loads(podium("status", "--json").stdout)
    assert said["leaderboard"]["comparable"] is said["decision"]["comparable"] is False
    assert [version["comparable"] for version in said["versions"]] == ["false", "true"]


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
