"""What models that left `params.yaml` have left goes; what a person put there stays."""

import json

import pytest

from podium.config.models import Network
from podium.config.train import Distil
from podium.core.errors import ModelError
from podium.core.layout import Layout
from podium.pipeline import code
from podium.pipeline.code import check_networks, write_code

LOCK = """\
schema: '2.0'
stages:
  code:
    cmd: python -m stages.code
  train@old:
    cmd: python -m stages.train --model old
    outs:
    - path: artifacts/models/old
      md5: 0a.dir
  train@new:
    cmd: python -m stages.train --model new
"""
DAG = """\
stages:
  code: {cmd: python -m stages.code, always_changed: true}
  train: {foreach: "${models}", do: {cmd: "python -m stages.train --model ${key}"}}
"""


@pytest.fixture
def layout(tmp_path, monkeypatch):
    monkeypatch.setattr(code, "STAGES", ())
    (tmp_path / "dvc.yaml").write_text(DAG)
    (tmp_path / "dvc.lock").write_text(LOCK)
    (tmp_path / "params.yaml").write_text("models: {new: {}}")
    layout = Layout(tmp_path)
    for place in (layout.tuning, layout.model, layout.evaluation, layout.evaluation_report, layout.teacher):
        for model in ("old", "new"):
            place(model).mkdir(parents=True)
    return layout


def test_results_of_models_that_left_params_go_and_so_do_their_stages_in_the_lock(layout, capsys):
    (layout.root / "elsewhere").mkdir()
    (layout.model("linked")).symlink_to(layout.root / "elsewhere")
    write_code(layout, ["new"], {})
    assert capsys.readouterr().out == "code: removed results of old, which is no longer in params.yaml\n"
    for place in (layout.tuning, layout.evaluation, layout.evaluation_report):
        assert [entry.name for entry in place("new").parent.iterdir()] == ["new"]
    assert {entry.name for entry in layout.model("new").parent.iterdir()} == {"new", "linked"}
    assert list(layout.teacher("new").parents[1].rglob("*")) == [layout.teacher("new").parent]  # nobody teaches it
    lock = LOCK.splitlines(keepends=True)
    assert (layout.root / "dvc.lock").read_text() == "".join(lock[:4] + lock[-2:])
    write_code(layout, ["new"], {})
    assert capsys.readouterr().out == ""


def test_who_teaches_whom_is_a_file_a_model(layout):
    wish = Distil(teacher="old", temperature=2.0, weight=0.5)
    write_code(layout, ["new", "old"], {"new": wish})
    assert layout.teacher("new").is_dir()
    assert json.loads(layout.distil("new").read_text()) == wish.model_dump()
    assert json.loads(layout.distil("old").read_text()) is None
    write_code(layout, ["new"], {})
    assert not layout.distil("old").exists() and not layout.teacher("new").exists()


def test_a_network_that_does_not_fit_the_images_is_refused_before_all_else_with_sizes_that_do(layout):
    fits, other = (Network(architecture=name) for name in ("test_resnet", "test_vit"))
    check_networks(layout, {"a": fits}, 50)
    with pytest.raises(ModelError, match=r"^test_vit: .* 50 px .*; it takes 32, 48, 64$"):
        check_networks(layout, {"a": fits, "b": other}, 50)


def test_what_fits_is_not_built_again(layout, monkeypatch):
    models = {"a": Network(architecture="test_vit")}
    check_networks(layout, models, 64)
    monkeypatch.setattr("podium.models.zoo.check_size", None)
    check_networks(layout, {"renamed": models["a"]}, 64)
    with pytest.raises(TypeError):
        check_networks(layout, models, 96)
