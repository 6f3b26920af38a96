"""A fingerprint changes with what can change a result, and with nothing else."""

from podium.config.runtime import Runtime, runtime_identity
from podium.core.identity import fingerprint, source_digest

DVC_YAML = """
stages:
  train:
    foreach: ${models}
    do:
      cmd: x
      deps: [artifacts/prepared/train, stages/train.py, src/podium/models]
  compare:
    cmd: x
    deps: [stages/compare.py]
"""


def test_workers_are_not_part_of_it_and_threads_are():
    assert runtime_identity(Runtime(workers=0)) == runtime_identity(Runtime(workers=4))
    assert runtime_identity(Runtime(threads=1)) != runtime_identity(Runtime(threads=2))


def test_order_of_parts_does_not_matter():
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1}) != fingerprint({"a": 2, "b": 1})


def test_source_is_what_the_stage_lists_in_dvc_yaml(tmp_path):
    for name in ("stages/train.py", "stages/compare.py", "src/podium/models/engine.py", "src/podium/report.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "dvc.yaml").write_text(DVC_YAML)
    before = source_digest(tmp_path, "train")
    (tmp_path / "src/podium/report.py").write_text("edited")
    (tmp_path / "stages/compare.py").write_text("edited")
    assert source_digest(tmp_path, "train") == before
    (tmp_path / "src/podium/models/engine.py").write_text("edited")
    assert source_digest(tmp_path, "train") != before
