"""`python -m benchmarks.runtime`: what it measures, what it recommends, and that it changes nothing."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from benchmarks import runtime
from benchmarks.runtime import SETTINGS, Measured
from benchmarks.trial_steps import Speed, quicker
from tests.small_splits import ARCHITECTURE, SIZE, write_project

PARAMS = Path(__file__).parents[3] / "params.yaml"


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A project with prepared images and one tiny model."""
    layout = write_project(tmp_path)
    raw = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))
    raw["preprocess"]["image_size"] = SIZE
    raw["models"] = {"small": {"architecture": ARCHITECTURE, "train": {"batch_size": 8}}}
    raw["runtime"]["threads"] = 1
    layout.params.write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
    monkeypatch.setattr(runtime, "PASSES", 1)
    monkeypatch.setattr(sys, "argv", ["runtime", "--project", str(tmp_path), "--seconds", "0"])
    return layout


def speeds(*rates: float) -> dict[str, Speed]:
    return {name: Speed(rate, 1.0, 10**9) for name, rate in zip(SETTINGS, rates, strict=True)}


def change(layout, section, **values):
    raw = yaml.safe_load(layout.params.read_text(encoding="utf-8"))
    raw[section] |= values
    layout.params.write_text(yaml.safe_dump(raw), encoding="utf-8")


def test_every_model_is_measured_with_every_setting_and_nothing_is_changed(small, capsys):
    before = small.params.read_bytes()
    assert runtime.main() == 0
    said = capsys.readouterr().out
    assert f"training steps on cpu, 1 threads, prepared training images of {SIZE} px" in said
    assert "small, 8 images a step" in said and "all models together" in said
    assert all(said.count(f" {name} ") >= 2 for name in SETTINGS)
    assert "under `runtime` of params.yaml" in said or "keep float32" in said
    assert small.params.read_bytes() == before
    assert not small.work.exists()
    last = json.loads(said.splitlines()[-1])
    assert set(last["figure"]) == set(SETTINGS) and all(rate > 0 for rate in last["figure"].values())
    assert set(last["best"].values()) <= set(SETTINGS) and last["recommended"] in SETTINGS


def test_it_needs_no_prepared_images(small, capsys):
    shutil.rmtree(small.prepared)
    assert runtime.main() == 0
    assert f"random images (nothing is prepared in this size) of {SIZE} px" in capsys.readouterr().out


def test_prepared_images_of_another_size_are_not_taken_for_those_of_the_params(small, capsys):
    change(small, "preprocess", image_size=48)
    assert runtime.main() == 0
    assert "random images (nothing is prepared in this size) of 48 px" in capsys.readouterr().out


def test_a_recipe_that_freezes_and_mixes_is_measured_too(small):
    train = {"batch_size": 8, "augment": {"mixup": 0.2}, "unfreeze_every": 1, "ema_decay": 0.9}
    small_model = {"architecture": ARCHITECTURE, "trainable": "head", "head": {"dropout": 0.3}, "train": train}
    change(small, "models", small=small_model)
    assert runtime.main() == 0


def test_the_quicker_time_and_the_higher_peak_of_two_measurements_count():
    assert quicker(None, Speed(1, 2, None)) == Speed(1, 2, None)
    assert quicker(Speed(10, 0.1, 5), Speed(20, 0.05, 4)) == Speed(20, 0.05, 5)
    assert quicker(Speed(10, 0.1, None), Speed(5, 0.2, 4)) == Speed(10, 0.1, 4)


def test_what_is_quickest_for_all_together_is_recommended_not_what_is_for_one():
    measured = Measured("float32", {"large": speeds(10, 11, 12, 20), "small": speeds(400, 390, 380, 300)})
    assert (measured.best("large"), measured.best("small")) == ("bfloat16+channels_last", "float32")
    assert measured.recommended == "bfloat16+channels_last"
    assert measured.together["float32"] == pytest.approx(2 / (1 / 10 + 1 / 400))


def test_a_gain_within_the_noise_is_no_reason_to_change():
    assert Measured("float32", {"one": speeds(100, 104, 90, 80)}).recommended == "float32"
    assert Measured("float32", {"one": speeds(100, 106, 90, 80)}).recommended == "float32+channels_last"
