"""Params section `validate`: defaults, and relaxing only for a reason."""

from pathlib import Path

import pytest
import yaml

from podium.config.base import LONGEST_BECAUSE
from podium.config.params import load
from podium.config.validate import Validate
from podium.core.errors import ParamsError

SAMPLE = Path(__file__).parents[3] / "experiments" / "sample.yaml"
CRITICAL = {
    "columns", "classes_in_every_split", "minimum_rows", "image_in_one_split", "duplicates_in_one_split",
    "photo_in_one_split", "split_group_in_one_split", "first_weights_unseen", "share_rejected", "one_label_per_picture",
    "manifest_is_true", "near_copies_in_one_split",
}  # fmt: skip


def loaded(folder: Path, **entries: object) -> Validate:
    params = yaml.safe_load(SAMPLE.read_text(encoding="utf-8"))
    params["validate"] = {**params["validate"], **entries}
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump(params), encoding="utf-8")
    return load(path).validate_


def test_a_file_without_any_entry_has_all_defaults():
    section = Validate.model_validate({})

    assert {id for id in set(Validate.file_keys()) - {"probes"} if section.entry(id).severity == "critical"} == CRITICAL
    assert not any(section.entry(id).relaxed for id in CRITICAL)


def test_an_entry_changes_what_it_names_and_keeps_the_rest():
    section = Validate.model_validate({"minimum_rows": {"minimum": 20}, "class_balance": {"maximum": 9.0}})

    assert (section.minimum_rows.severity, section.minimum_rows.minimum) == ("critical", 20)
    assert (section.class_balance.severity, section.class_balance.maximum) == ("warning", 9.0)


def test_a_critical_expectation_is_relaxed_with_a_reason(tmp_path):
    entry = loaded(tmp_path, photo_in_one_split={"severity": "warning", "because": " of another\n camera "})

    assert entry.photo_in_one_split.relaxed
    assert entry.photo_in_one_split.because == "of another camera"


@pytest.mark.parametrize("because", [None, "", "  \n "])
def test_relaxing_without_a_reason_names_the_key(tmp_path, because):
    entry = {"severity": "warning"} if because is None else {"severity": "warning", "because": because}

    with pytest.raises(ParamsError, match=r"params.yaml: .*validate\.photo_in_one_split"):
        loaded(tmp_path, photo_in_one_split=entry)


LOOSER = {
    "minimum_rows": ({"minimum": 1}, "minimum 1 is below the default 5"),
    "share_rejected": ({"maximum": 1.0}, "maximum 1.0 is above the default 0.02"),
}


@pytest.mark.parametrize("id", LOOSER)
def test_a_critical_threshold_is_loosened_only_with_a_reason(tmp_path, id):
    entry, told = LOOSER[id]
    with pytest.raises(ParamsError, match=rf"validate\.{id}.*{told}.*add `because: "):
        loaded(tmp_path, **{id: entry})

    assert loaded(tmp_path, **{id: {**entry, "because": "a pilot"}}).entry(id).relaxed


@pytest.mark.parametrize("entry", [{"minimum": 5}, {"minimum": 50}])
def test_a_threshold_as_strict_as_the_default_needs_no_reason(tmp_path, entry):
    assert not loaded(tmp_path, minimum_rows=entry).minimum_rows.relaxed


def test_a_reason_fits_the_tag_it_travels_in(tmp_path):
    with pytest.raises(ParamsError, match=r"validate\.columns\.because"):
        loaded(tmp_path, columns={"severity": "warning", "because": "x" * (LONGEST_BECAUSE + 1)})


def test_a_warning_may_be_made_critical_without_a_reason(tmp_path):
    entry = loaded(tmp_path, split_drift={"severity": "critical"}).split_drift

    assert (entry.severity, entry.relaxed) == ("critical", False)


def test_the_default_experiment_shows_every_entry_with_its_default():
    shown = yaml.safe_load(SAMPLE.read_text(encoding="utf-8"))["validate"]

    assert set(shown) == set(Validate.file_keys())
    assert Validate.model_validate(shown) == Validate()
