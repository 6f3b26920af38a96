"""`podium runtime`: what it measures, what it recommends, and that it changes nothing unless told what to."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from podium.analysis.trial_run import Speed, quicker
from podium.cli.runtime import SETTINGS, Measured
from podium.config.params import load
from tests.small_splits import ARCHITECTURE, SIZE, write_project
from tests.unit.cli.calls import one_line, podium

PARAMS = Path(__file__).parents[3] / "params.yaml"


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A project with prepared images and one tiny model, under the comments of the default params file."""
    layout = write_project(tmp_path)
    raw = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))
    raw["preprocess"]["image_size"] = SIZE
    raw["models"] = {"small": {"architecture": ARCHITECTURE, "train": {"batch_size": 8}}}
    raw["runtime"]["threads"] = 1
    layout.params.write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("podium.cli.runtime.PASSES", 1)
    return layout


def speeds(*rates: float) -> dict[str, Speed]:
    return {name: Speed(rate, 1.0, 10**9) for name, rate in zip(SETTINGS, rates, strict=True)}


# --- measuring -------------------------------------------------------------------------------------------------------


def test_every_model_is_measured_with_every_setting_and_nothing_is_changed(small):
    before = small.params.read_bytes()
    result = podium("runtime", "--seconds", "0")
    assert result.exit_code == 0, result.stderr
    assert f"Training steps on cpu, 1 threads, prepared training images of {SIZE} px" in result.stdout
    assert "small, 8 a step" in result.stdout and "all models together" in result.stdout
    assert all(result.stdout.count(f" {name} ") >= 2 for name in SETTINGS)
    assert result.stdout.count("in force") >= 2 and result.stdout.count("quickest") >= 2
    assert "podium runtime --write" in result.stdout or "Keep float32" in result.stdout
    assert small.params.read_bytes() == before
    assert not small.work.exists()


def test_it_is_json_for_scripts_and_needs_no_prepared_images(small):
    shutil.rmtree(small.prepared)
    result = podium("runtime", "--seconds", "0", "--json")
    said = json.loads(result.stdout)
    assert (said["images"], said["image_size"], said["present"]) == ("random", SIZE, "float32")
    assert [(row["model"], row["setting"]) for row in said["rows"]] == [("small", name) for name in SETTINGS]
    assert all(row["images_per_second"] > 0 and row["images_per_step"] == 8 for row in said["rows"])
    assert said["rows"][0]["ratio"] == 1
    assert set(said["best"].values()) <= set(SETTINGS) and said["recommended"] in SETTINGS


def test_prepared_images_of_another_size_are_not_taken_for_those_of_the_params(small):
    raw = yaml.safe_load(small.params.read_text(encoding="utf-8"))
    raw["preprocess"]["image_size"] = 48
    small.params.write_text(yaml.safe_dump(raw), encoding="utf-8")
    result = podium("runtime", "--seconds", "0")
    assert "random images (nothing is prepared yet) of 48 px" in result.stdout


def test_a_recipe_that_freezes_and_mixes_is_measured_too(small):
    raw = yaml.safe_load(small.params.read_text(encoding="utf-8"))
    raw["models"]["small"] |= {"trainable": "head", "head": {"dropout": 0.3}}
    raw["models"]["small"]["train"] |= {"augment": {"mixup": 0.2}, "unfreeze_every": 1, "ema_decay": 0.9}
    small.params.write_text(yaml.safe_dump(raw), encoding="utf-8")
    result = podium("runtime", "--seconds", "0")
    assert result.exit_code == 0, result.stderr


def test_the_quicker_time_and_the_higher_peak_of_two_measurements_count():
    assert quicker(None, Speed(1, 2, None)) == Speed(1, 2, None)
    assert quicker(Speed(10, 0.1, 5), Speed(20, 0.05, 4)) == Speed(20, 0.05, 5)
    assert quicker(Speed(10, 0.1, None), Speed(5, 0.2, 4)) == Speed(10, 0.1, 4)


# --- recommending ----------------------------------------------------------------------------------------------------


def test_what_is_quickest_for_all_together_is_recommended_not_what_is_for_one():
    measured = Measured("float32", {"large": speeds(10, 11, 12, 20), "small": speeds(400, 390, 380, 300)})
    assert (measured.best("large"), measured.best("small")) == ("bfloat16+channels_last", "float32")
    assert measured.recommended == "bfloat16+channels_last"
    assert measured.together["float32"] == pytest.approx(2 / (1 / 10 + 1 / 400))


def test_a_gain_within_the_noise_is_no_reason_to_change():
    assert Measured("float32", {"one": speeds(100, 104, 90, 80)}).recommended == "float32"
    assert Measured("float32", {"one": speeds(100, 106, 90, 80)}).recommended == "float32+channels_last"


# --- writing ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def commented(small):
    """The same project with the default params file as people keep it."""
    shutil.copyfile(PARAMS, small.params)
    return small


def test_writing_changes_two_lines_and_keeps_comments_and_columns(commented):
    before = commented.params.read_text(encoding="utf-8").splitlines()
    result = podium("runtime", "--write", "bfloat16+channels_last")
    assert (result.exit_code, one_line(result.stdout)) == (0, True), result.stderr
    assert "is in force. Next: dvc repro" in result.stdout
    after = commented.params.read_text(encoding="utf-8").splitlines()
    changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert [new.split("#")[0].strip() for _, new in changed] == ["dtype: bfloat16", "channels_last: true"]
    assert all(old.partition("#")[2] == new.partition("#")[2] for old, new in changed)
    assert all(old.index("#") == new.index("#") for old, new in changed)
    found = load(commented.params).runtime
    assert (found.dtype, found.channels_last) == ("bfloat16", True)


def test_writing_what_is_in_force_is_refused(commented):
    before = commented.params.read_bytes()
    result = podium("runtime", "--write", "float32")
    assert result.exit_code == 1
    assert "float32 is in force already: nothing was changed" in result.stderr
    assert one_line(result.stderr)
    assert commented.params.read_bytes() == before


def test_an_unknown_setting_is_wrong_usage_and_the_nearest_is_named(commented):
    result = podium("runtime", "--write", "bfloat16+channel_last")
    assert result.exit_code == 2
    assert "did you mean 'bfloat16+channels_last'?" in result.stderr
    assert podium("runtime", "--write", "float32", "--json").exit_code == 2


def test_a_section_on_one_line_is_left_to_people(small):
    raw = yaml.safe_load(small.params.read_text(encoding="utf-8"))
    del raw["runtime"]
    text = "runtime: {device: cpu, threads: 1}\n" + yaml.safe_dump(raw)
    small.params.write_text(text, encoding="utf-8")
    result = podium("runtime", "--write", "bfloat16")
    assert result.exit_code == 1
    assert "set there by hand dtype: bfloat16, channels_last: false" in result.stderr
    assert small.params.read_text(encoding="utf-8") == text
