"""A student in the real DAG: it waits for its teacher, learns from it, and reruns with it."""

import json

from tests.small_project import build


def test_a_student_waits_for_its_teacher_and_reruns_when_either_changes(tmp_path, warm_path):
    project = build(tmp_path / "project")
    models = {"student": {"architecture": "resnet10t"}, "teacher": {"architecture": "convnext_atto"}}
    wish = {"teacher": "teacher", "temperature": 2.0, "weight": 0.5}
    project.change_params(models=models, distil={"student": wish}, tune={"trials": 1}, train={"epochs": 1})

    def ran(*targets: str) -> list[str]:
        done = project.run("dvc", "repro", *targets, timeout=900, PATH=warm_path)
        assert done.returncode == 0, done.stdout + done.stderr
        return [line.split("'")[1] for line in done.stdout.splitlines() if line.startswith("Running stage")]

    def card(model: str) -> dict:
        return json.loads(project.read(f"artifacts/models/{model}/model.json"))

    first = ran("compare")
    assert first.index("train@teacher") < first.index("teach@student") < first.index("tune@student")
    assert card("student")["distil"] == wish and card("teacher")["distil"] is None
    assert card("student")["teacher_fingerprint"] == card("teacher")["fingerprint"]
    board = json.loads(project.read("artifacts/comparison/leaderboard.json"))
    assert not board["comparable"]
    (difference,) = board["differences"]
    assert difference["condition"] == "distillation"
    assert difference["values"] == {"student": "from teacher", "teacher": "none"}

    project.change_params(
        distil={"student": {**wish, "temperature": 4.0}}, compare={"accept": {"distillation": "a test"}}
    )
    per_model = {f"{stage}@student" for stage in ("distil", "tune", "train", "repeat", "evaluate")}
    assert set(ran("compare")) == {"code", "compare", *per_model}
    assert card("student")["distil"]["temperature"] == 4.0
    assert json.loads(project.read("artifacts/comparison/decision.json"))["comparable"]

    models["teacher"]["train"] = {"weight_decay": 0.1}
    project.change_params(models=models)
    again = ran("train@student")
    assert {"train@teacher", "teach@student", "tune@student", "train@student"} <= set(again)
    assert card("student")["teacher_fingerprint"] == card("teacher")["fingerprint"]

    project.replace_params(distil={})
    assert set(ran("train@student")) == {"code", "distil@student", "tune@student", "train@student"}
    assert card("student")["distil"] is None
