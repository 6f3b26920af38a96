"""A key that takes a number takes no truth value: to Python `true` is 1, and YAML reads `yes` and `on` as true."""

import copy
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import pytest
import yaml
from pydantic import TypeAdapter, ValidationError

from podium.config.base import Section
from podium.config.params import load
from podium.core.errors import ParamsError

ROOT = Path(__file__).parents[3]
VALID = yaml.safe_load((ROOT / "experiments" / "sample.yaml").read_text(encoding="utf-8"))
RULE = "takes a number, not true or false (which yes, no, on and off mean too)"


def changed(tmp_path: Path, keys: tuple[Any, ...], text: str) -> Path:
    """A params file with some YAML at a place of it."""
    values = copy.deepcopy(VALID)
    *above, last = keys
    section = values
    for key in above:
        section = section.setdefault(key, {})
    section[last] = yaml.safe_load(text)
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(values, allow_unicode=True), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("keys", "text", "where", "given"),
    [
        (("train", "epochs"), "true", "train.epochs", True),
        (("train", "epochs"), "yes", "train.epochs", True),
        (("train", "weight_decay"), "off", "train.weight_decay", False),
        (("train", "augment", "zoom"), "false", "train.augment.zoom", False),
        (("seed",), "true", "seed", True),
        # in a number or nothing, in a number or a mapping, in a mapping, in a list
        (("train", "ema_decay"), "true", "train.ema_decay", True),
        (("dataset", "limit_per_class"), "true", "dataset.limit_per_class", True),
        (("dataset", "limit_per_class"), "{val: true}", "dataset.limit_per_class.val", True),
        (("promote", "minimum_recall"), "{lemon: true}", "promote.minimum_recall.lemon", True),
        (("models", "resnet18", "head"), "{hidden: [true]}", "models.resnet18.head.hidden[0]", True),
        # where values are checked a second time, as those of another section
        (("models", "resnet18", "train"), "{epochs: true}", "models.resnet18.train.epochs", True),
        (
            ("tune", "search"),
            "{train.batch_size: {choices: [true, 8]}}",
            "tune.search.train.batch_size",
            True,
        ),
        (
            ("tune", "search"),
            "{train.learning_rate: {low: false, high: 0.1}}",
            "tune.search.train.learning_rate.low",
            False,
        ),
        (
            ("models", "resnet18", "warm_start"),
            "[{train.learning_rate: true}]",
            "models.resnet18.warm_start[0]: train.learning_rate",
            True,
        ),
    ],
)
def test_a_truth_value_is_no_number(tmp_path, keys, text, where, given):
    with pytest.raises(ParamsError) as raised:
        load(changed(tmp_path, keys, text))
    assert f"{where}: {RULE} (given {given})" in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("text", "number"), [("3", 3), ("3.0", 3), ("'3'", 3), ("3.0e+0", 3)])
def test_other_ways_to_write_a_whole_number_load_as_before(tmp_path, text, number):
    epochs = load(changed(tmp_path, ("train", "epochs"), text)).train.epochs
    assert (epochs, type(epochs)) == (number, int)


@pytest.mark.parametrize(("text", "number"), [("1", 1.0), ("1e-4", 1e-4), ("'0.5'", 0.5)])
def test_other_ways_to_write_a_number_load_as_before(tmp_path, text, number):
    decay = load(changed(tmp_path, ("train", "weight_decay"), text)).train.weight_decay
    assert (decay, type(decay)) == (number, float)


def test_truth_values_stay_what_they_are_where_they_belong(tmp_path):
    choices = "{train.augment.flip: {choices: [yes, no]}, train.learning_rate: {low: 1e-4, high: 1e-2}}"
    params = load(changed(tmp_path, ("tune", "search"), choices))
    assert params.search("resnet18")["train.augment.flip"].model_dump() == {"choices": (True, False)}
    assert load(changed(tmp_path, ("train", "augment", "flip"), "off")).train.augment.flip is False


def numbers(annotation: Any) -> list[Any]:
    """The types of numbers within a type, with what is annotated to them; a union that has `bool` means truth too."""
    members = get_args(annotation)
    if get_origin(annotation) is Annotated:
        return [annotation] if members[0] in (int, float) else numbers(members[0])
    if get_origin(annotation) in (Union, UnionType) and bool in members:
        return []
    if annotation in (int, float):
        return [annotation]
    return [number for member in members for number in numbers(member)]


def sections(above: type[Section] = Section) -> list[type[Section]]:
    """All kinds of sections that there are."""
    return [one for below in above.__subclasses__() for one in (below, *sections(below))]


def test_no_number_of_any_section_takes_a_truth_value():
    found = [
        (f"{section.__name__}.{name}", number)
        for section in sections()
        for name, field in section.model_fields.items()
        for number in numbers(field.rebuild_annotation())
    ]
    assert len(found) > 100
    taking = []
    for key, number in found:
        try:
            TypeAdapter(number).validate_python(True)
        except ValidationError as error:
            assert RULE in str(error)
        else:
            taking.append(key)
    assert taking == []
