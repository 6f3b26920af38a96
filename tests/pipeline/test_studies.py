"""The kept experiments are those of the studies, value by value: params are read, nothing is trained."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest

from podium.config.params import Params, load
from tests.data.openimages_classes import NAMES
from tests.pipeline.studies import STUDIES, Said

ROOT = Path(__file__).parents[2]


@cache
def params(study: str) -> Params:
    return load(ROOT / "experiments" / f"{study}.yaml")


def found(study: str, key: str) -> Any:
    """The value at a dotted key, of a model its complete section."""
    given = params(study)
    value: Any = given.model_dump(mode="json", by_alias=True)
    value["models"] = {name: given.complete(name).model_dump(mode="json") for name in given.models}
    for step in key.split("."):
        value = value[step]
    return value


@pytest.mark.parametrize("said", STUDIES, ids=lambda said: f"{said.study}: {said.key}")
def test_an_experiment_has_the_value_of_its_study(said: Said) -> None:
    assert found(said.study, said.key) == said.value, said.where


def test_no_value_is_told_twice() -> None:
    keys = [(said.study, said.key) for said in STUDIES]
    assert len(set(keys)) == len(keys)


def test_the_classes_of_surveillance_are_those_of_a_korean_setting_and_known_to_open_images() -> None:
    labels = found("surveillance", "dataset.labels")
    assert list(labels) == ["person", "animal", "object"]
    assert {name for names in labels.values() for name in names} <= NAMES
    assert "Pig" in labels["animal"]
    assert not {"Monkey", "Elephant", "Kangaroo"} & set(labels["animal"])
    assert {"Handgun", "Rifle", "Shotgun", "Knife"} <= set(labels["object"])
    assert not {"Car", "Bench", "Tree", "Chair"} & set(labels["object"])
