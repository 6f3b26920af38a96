"""Looking up versions and aliases, in a real store."""

import pytest

from podium.core.errors import TrackingError
from podium.registry.registered_model import open_registry
from podium.registry.versions import description
from podium.report.results import read_results
from tests.unit.registry.promotions import client_of


@pytest.fixture
def registry(experiment):
    return open_registry(experiment.layout, experiment.params)


@pytest.fixture
def three(registry, experiment):
    client = client_of(experiment.layout)
    client.create_registered_model(registry.name)
    for _ in range(3):
        client.create_model_version(registry.name, source=str(experiment.layout.root))
    client.set_registered_model_alias(registry.name, "candidate", "3")
    return registry


def test_a_name_nobody_registered_says_how_to_register_it(registry):
    with pytest.raises(TrackingError, match="no model is registered as 'podium-tiny': run `dvc repro`"):
        registry.resolve("candidate")


def test_candidate_and_numbers_are_found(three):
    assert str(three.resolve("candidate").version) == "3"
    assert str(three.resolve("2").version) == "2"
    assert [str(version.version) for version in three.versions()] == ["1", "2", "3"]
    assert three.aliases() == {"candidate": "3"}


def test_an_unknown_version_lists_those_there_are(three):
    with pytest.raises(TrackingError, match=r"has no version 9 \(versions: 1, 2, 3\)"):
        three.resolve("9")


def test_a_missing_candidate_is_told(three):
    three.client.delete_registered_model_alias(three.name, "candidate")
    with pytest.raises(TrackingError, match="no version with the alias `candidate`"):
        three.resolve("candidate")


def test_a_deleted_version_is_no_version(three):
    three.client.delete_model_version(three.name, "2")
    assert three.version("2") is None


def test_a_class_is_named_on_the_card_as_it_is_and_never_as_markup(experiment):
    card = description(read_results(experiment.layout, experiment.params), "1")
    assert "| classes | 3: &lt;b&gt;pear&lt;/b&gt;, apple, \uac10 |" in card
