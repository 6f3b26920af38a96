"""`podium status`, `promote`, `rollback`, `history`: tables for people, JSON for scripts, refusals in one line."""

import json
import subprocess

import pytest
import yaml
from PIL import Image

from podium.config.judging import Compare
from podium.core.files import write_text
from podium.pipeline import compare
from podium.pipeline.publish import publish_experiment
from podium.tracking.run_writer import search_runs
from tests.unit.cli.calls import change_gates, one_line, podium
from tests.unit.registry.promotions import NAME, client_of, register_anew


def staging(layout):
    alias = client_of(layout).get_registered_model(NAME).aliases.get("staging")
    return None if alias is None else str(alias)


def test_status_shows_the_experiment_in_force_results_versions_and_next_steps(project, versions):
    result = podium("status")
    assert result.exit_code == 0, result.stderr
    for part in ("In force: tiny (experiments/tiny.yaml)", "tiny_resnet", "tiny_convnext", "candidate", "make ui"):
        assert part in result.stdout
    assert "Ledger: Test set used 2 times: on 24 images" in " ".join(result.stdout.split())
    for part in ("podium promote candidate --check", 'podium promote candidate --to staging --reason "..."'):
        assert part in result.stdout


def test_status_advises_no_promotion_that_gates_would_refuse(project, versions):
    change_gates(project.root, minimum_accuracy=1.0)
    said = " ".join(podium("status").stdout.split())
    assert "promote would refuse the candidate, version 2: accuracy 0.900 is 0.100 below 1.000" in said
    assert "--check" in said
    assert "--reason" not in said
    assert "kept in no file of experiments/" in said


def test_status_advises_nothing_about_what_is_not_there_or_done(project, experiment, versions):
    assert podium("promote", "--to", "staging", "--reason", "x").exit_code == 0
    assert "podium promote" not in podium("status").stdout
    for name in client_of(project).get_registered_model(NAME).aliases:
        client_of(project).delete_registered_model_alias(NAME, name)
    assert "podium promote" not in podium("status").stdout


def test_status_says_that_the_candidate_is_far_worse_than_the_holder(project, versions):
    client = client_of(project)
    client.set_registered_model_alias(NAME, "staging", "1")
    assert "far below" not in podium("status").stdout
    client.set_model_version_tag(NAME, "2", "podium.accuracy", "0.311")
    said = " ".join(podium("status").stdout.split())
    assert "candidate is version 2 with accuracy 31.1%, far below the 90.0% of version 1, which holds staging" in said


def test_status_all_shows_a_second_experiment_beside_the_first(project, experiment):
    root = project.root
    git = ["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    assert "No experiment is in MLflow yet" in podium("status", "--all").stdout
    for step in (["init", "-q"], ["add", "params.yaml", "dvc.yaml", "reports"], ["commit", "-q", "-m", "mine"]):
        subprocess.run([*git, *step], cwd=root, check=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=True).stdout
    publish_experiment(project, experiment.params)
    publish_experiment(project, experiment.params.model_copy(update={"experiment": "second"}))
    said = podium("status", "--all")
    assert said.exit_code == 0, said.stderr
    lines = said.stdout.splitlines()
    assert lines[0].strip() == "24 test images, best accuracy first"
    rows = [line.split() for line in lines if head[:8] in line]
    assert {(row[1], row[2]) for row in rows} == {
        (model, of) for model in experiment.params.models for of in ("tiny", "second")
    }
    assert [row[0] for row in rows] == ["1", "2", "3", "4"]
    rates = [float(row[3].rstrip("%")) for row in rows]
    assert rates == sorted(rates, reverse=True)
    assert "podium status --all" in podium("status").stdout
    client = client_of(project)
    (run,) = search_runs(client, "1", {"podium.kind": "train", "podium.model": "tiny_resnet"})
    client.set_tag(run.info.run_id, "podium.test_images", "9 other")
    (other,) = search_runs(client, "1", {"podium.kind": "train", "podium.model": "tiny_convnext"})
    client.delete_tag(other.info.run_id, "podium.test_images")
    said = podium("status", "--all").stdout
    assert "9 test images, best accuracy first" in said
    assert "Accuracies on different test images cannot be compared." in said
    assert "1 runs do not say what they were tested on" in said
    told = json.loads(podium("status", "--all", "--json").stdout)
    assert {(one["experiment"], one["images"]) for one in told} == {("tiny", 9), ("second", 24)}


def test_status_compares_the_winner_with_the_holder_of_staging(project, versions):
    assert "in use" not in podium("status").stdout
    assert json.loads(podium("status", "--json").stdout)["against_holder"] is None
    client = client_of(project)
    client.set_registered_model_alias(NAME, "staging", "1")
    client.set_model_version_tag(NAME, "1", "podium.fingerprint", "another")
    said = " ".join(podium("status").stdout.split())
    assert "Against the version in use: It is undecided whether" in said
    found = json.loads(podium("status", "--json").stdout)["against_holder"]
    assert (found["version"], found["comparison"]["outcome"]) == ("1", "undecided")
    lock = {"publish": {"cmd": "x", "params": {"params.yaml": {"experiment": "fruits"}}}}
    (project.root / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": lock}))
    assert "in use" not in podium("status").stdout  # the leaderboard on disk is of another experiment


def test_status_says_what_is_out_of_date_and_whose_results_are_shown(project, versions):
    (project.root / "dvc.yaml").write_text("stages: {compare: {cmd: x, params: [compare]}}\n")
    lock = {
        "publish": {"cmd": "x", "params": {"params.yaml": {"experiment": "fruits"}}},
        "compare": {"cmd": "x", "params": {}},
    }
    (project.root / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": lock}))
    said = " ".join(podium("status").stdout.split())
    assert "Out of date: compare (compare" in said
    assert "The results below are those of experiment fruits; tiny has not run." in said
    assert "rebuild the results dvc repro" in said
    assert json.loads(podium("status", "--json").stdout)["stale"]["compare"].startswith("compare")


def test_status_says_that_tracked_results_differ_though_nothing_was_edited(project, versions):
    git = ["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    file = project.comparison_report / "decision.json"
    write_text(file, (project.comparison / "decision.json").read_text())  # as publish copies it
    for step in (["init", "-q"], ["add", "params.yaml", "dvc.yaml", "reports"], ["commit", "-q", "-m", "mine"]):
        subprocess.run([*git, *step], cwd=project.root, check=True)
    assert "another type of CPU" not in " ".join(podium("status").stdout.split())
    file.write_text(file.read_text() + "\n")
    assert "1 tracked files of results (reports/comparison/decision.json, ...)" in " ".join(
        podium("status").stdout.split()
    )
    metrics = project.evaluation_report("tiny_resnet") / "metrics.json"
    made_here = json.loads((project.evaluation("tiny_resnet") / "metrics.json").read_text())
    elsewhere = {**made_here, "accuracy": {**made_here["accuracy"], "value": made_here["accuracy"]["value"] - 0.002}}
    write_text(metrics, json.dumps({**elsewhere, "instruction_set": "x86_64 AVX512"}))
    for step in (["add", "reports"], ["commit", "-q", "-m", "theirs"]):
        subprocess.run([*git, *step], cwd=project.root, check=True)
    write_text(metrics, json.dumps({**made_here, "instruction_set": "x86_64 AVX2"}))
    said = " ".join(podium("status").stdout.split())
    assert "another CPU type (x86_64 AVX512 -> x86_64 AVX2): metrics within 0.0020 of the committed ones" in said
    change_gates(project.root, minimum_accuracy=0.1)
    assert "another CPU type" not in " ".join(podium("status").stdout.split())
    assert "another type of CPU" not in " ".join(podium("status").stdout.split())


def test_check_says_what_every_gate_would_say_and_moves_nothing(project, versions):
    result = podium("promote", "--check")
    assert result.exit_code == 0, result.stderr
    assert "version 2 passes every gate; nothing was changed" in result.stdout
    change_gates(project.root, minimum_accuracy=1.0)
    result = podium("promote", "1", "--check", "--json")
    assert result.exit_code == 1
    said = json.loads(result.stdout)
    assert (said["version"], said["passes"]) == ("1", False)
    assert [gate["name"] for gate in said["gates"] if not gate["passed"]] == ["accuracy"]
    assert "version 1 would be refused: accuracy 0." in result.stderr
    assert one_line(result.stderr)
    assert staging(project) is None
    assert podium("promote", "--check", "--force").exit_code == 2


def test_status_fits_into_80_columns(project, versions, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert max(len(line.rstrip()) for line in podium("status").stdout.splitlines()) <= 80


def test_status_is_json_for_scripts(project, versions):
    said = json.loads(podium("status", "--json").stdout)
    assert said["decision"]["winner"] in {row["model"] for row in said["leaderboard"]["rows"]}
    assert [(v["version"], v["aliases"]) for v in said["versions"]] == [("1", []), ("2", ["candidate"])]


def test_status_tells_an_unfair_comparison_and_which_version_won_one(project, versions):
    metrics = project.evaluation("tiny_resnet") / "metrics.json"
    document = json.loads(metrics.read_text(encoding="utf-8"))
    document["conditions"]["images_seen"] += 1
    metrics.write_text(json.dumps(document), encoding="utf-8")
    compare.compare_models(project, ["tiny_resnet", "tiny_convnext"], Compare(margin=0.02))
    client_of(project).set_model_version_tag("podium-tiny", "1", "podium.comparable", "false")
    assert "Not comparable: the models differ in planned training images" in " ".join(podium("status").stdout.split())
    said = json.loads(podium("status", "--json").stdout)
    assert said["leaderboard"]["comparable"] is said["decision"]["comparable"] is False
    assert [version["comparable"] for version in said["versions"]] == ["false", "true"]
    assert [version["outcome"] for version in said["versions"]] == ["better", "better"]


def test_status_of_a_fresh_clone_makes_no_store(project):
    kept = [path.rename(project.comparison_report / path.name) for path in project.comparison.iterdir()]
    assert podium("status").stdout.count("tiny_resnet"), "git keeps a copy of the last comparison"
    for path in (*kept, project.root / "mlflow.db"):
        path.unlink()
    result = podium("status")
    assert result.exit_code == 0, result.stderr
    assert "No comparison yet: run `dvc repro`." in result.stdout
    assert "No version yet" in result.stdout
    assert not (project.root / "mlflow.db").exists()


def test_status_tells_all_else_where_an_earlier_podium_wrote_the_comparison(project, versions):
    board = project.comparison / "leaderboard.json"
    document = json.loads(board.read_text(encoding="utf-8"))
    document["rows"] = [{key: row[key] for key in row if key != "aurc"} for row in document["rows"]]
    board.write_text(json.dumps(document), encoding="utf-8")
    result = podium("status")
    assert result.exit_code == 0, result.stderr
    assert "or of another version of Podium" in " ".join(result.stdout.split()) and "candidate" in result.stdout
    said = json.loads(podium("status", "--json").stdout)
    assert said["leaderboard"] is None and "run `dvc repro`" in said["warnings"][0]


ADDED = ("aurc", "temperature", "abstention", "sets", "worst_slices", "confused", "conditions", "groups", "majority")


def make_old(project, version):
    """Leaves in a version's package what the first Podium wrote, its slices in a form of their own."""
    path = project.root / "packages" / version / "artifacts" / "metrics.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    document["per_class"] = {
        label: {key: found[key] for key in ("precision", "recall", "f1", "support")}
        for label, found in document["per_class"].items()
    }
    old = {key: value for key, value in document.items() if key not in ADDED}
    path.write_text(json.dumps({**old, "slices": {"occluded": 0.5}}), encoding="utf-8")


def test_a_version_of_an_earlier_podium_is_judged_compared_served_and_explains(project, versions):
    for version in versions:
        make_old(project, version)
        register_anew(project, version)
    change_gates(project.root, minimum_recall={"apple": 0.0})
    assert podium("promote", "1", "--to", "staging", "--reason", "first").exit_code == 0
    result = podium("promote", "2", "--to", "staging", "--reason", "against the holder")
    assert result.exit_code == 0 and "0 won, 0 lost" in " ".join(result.stdout.split()), result.stderr
    assert podium("status").exit_code == podium("compare", "1", "tiny_convnext").exit_code == 0
    Image.new("RGB", (40, 40), "red").save("red.png")
    result = podium("explain", "red.png", "--model", "staging")
    assert result.exit_code == 0, result.stderr
    assert "staging was registered before Podium calibrated probabilities" in result.stdout


def test_a_package_that_cannot_be_read_is_not_told_to_be_deleted(project, versions):
    (project.root / "packages" / "1" / "artifacts" / "model.json").write_text('{"dropout": 0.2}', encoding="utf-8")
    register_anew(project, "1")
    Image.new("RGB", (40, 40), "red").save("red.png")
    said = podium("explain", "red.png", "--model", "1").stderr
    assert one_line(said) and "of a Podium too old to be read here: name another version" in said


def test_status_works_from_a_folder_below(project, monkeypatch):
    below = project.root / "reports"
    monkeypatch.chdir(below)
    assert podium("status").exit_code == 0


def test_promote_prints_every_gate_and_the_outcome(project, versions):
    result = podium("promote", "candidate", "--to", "staging", "--reason", "first")
    assert result.exit_code == 0, result.stderr
    for gate in (
        "data_validation",
        "comparison",
        "weights_hash",
        "golden_batch",
        "accuracy",
        "macro_f1",
        "recall",
        "latency",
    ):
        assert gate in result.stdout
    assert "version 2 is now at staging; audit entry 3" in result.stdout
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
    assert "promote" not in podium("history").stdout
    for number in ("1", "2"):
        assert podium("promote", number, "--to", "staging", "--reason", f"try {number}").exit_code == 0
    back = podium("rollback", "staging", "--reason", "worse")
    assert "version 1 is now at staging (before: version 2); audit entry 5" in back.stdout
    entries = json.loads(podium("history", "--json").stdout)
    assert [(e["action"], e["from"], e["to"], e["reason"]) for e in entries] == [
        ("register", None, "1", "registered"),
        ("register", "1", "2", "registered"),
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
    told = "staging is at version 2, but the record ends at version 1"
    assert told in podium("history").stdout
    assert f"the store contradicts the audit record: {told}" in " ".join(podium("status").stdout.split())
    found = podium("audit")
    assert (found.exit_code, one_line(found.stderr)) == (1, True)
    assert told in found.stdout
    assert "2 things in the store contradict the record of podium-tiny" in found.stderr
    mended = podium("audit", "--repair")
    assert mended.exit_code == 0, mended.stderr
    assert "repaired: staging is at version 1 again" in mended.stdout
    assert "podium-tiny: 3 entries about 2 versions hold, and so does the store" in mended.stdout
    assert json.loads(podium("audit", "--json").stdout) == {"entries": 3, "repaired": [], "problems": []}


def test_a_reason_that_cannot_be_printed_is_wrong_usage(project, versions):
    refused = podium("promote", "1", "--to", "staging", "--reason", "a\udcff")
    assert (refused.exit_code, "cannot be printed" in refused.stderr) == (2, True)


def test_status_goes_on_where_a_rate_was_edited(project, versions):
    client_of(project).set_model_version_tag(NAME, "2", "podium.accuracy", "n/a")
    assert podium("status").exit_code == 0


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
