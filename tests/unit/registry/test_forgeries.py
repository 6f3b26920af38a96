"""No forgery brings a version to `staging` unnoticed, and the audit names what was done past Podium."""

import re
import shutil
import sqlite3
import subprocess
from types import SimpleNamespace

import pytest

from podium.config.params import load
from podium.core.errors import PodiumError
from podium.core.layout import Layout
from podium.registry import integrity, promotion
from podium.registry.evidence import read_evidence
from podium.registry.promotion import PromotionRequest
from tests.unit.registry import forgeries
from tests.unit.registry.promotions import NAME, client_of, gathered, ignore, lenient, register, tags_of


@pytest.fixture(scope="module")
def honest(finished_project, empty_store, tmp_path_factory):
    """A project in git with two versions on record, the first at `staging`; copied for every forgery."""
    root = tmp_path_factory.mktemp("honest") / "project"
    shutil.copytree(finished_project, root)
    shutil.copyfile(empty_store, root / "mlflow.db")
    layout = Layout(root)
    params = lenient(load(layout.params))
    evidence = gathered(layout, params, tmp_path_factory.mktemp("gathered"))
    register(layout, evidence)
    promotion.promote(layout, params, PromotionRequest("1", "staging", "first"), ignore)
    register(layout, evidence)
    git = ["git", "-C", str(root), "-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    for step in (["init", "-q"], ["add", "registry", "params.yaml"], ["commit", "-q", "-m", "registered"]):
        subprocess.run([*git, *step], check=True)
    return layout


@pytest.fixture
def world(honest, tmp_path):
    """A copy of the honest project, whose store is told where it lies now."""
    layout = Layout(tmp_path / "project")
    shutil.copytree(honest.root, layout.root, symlinks=True)
    places = (("model_versions", "source"), ("model_versions", "storage_location"), ("runs", "artifact_uri"))
    with sqlite3.connect(layout.root / "mlflow.db") as database:
        for table, column in (*places, ("experiments", "artifact_location")):
            change = f"UPDATE {table} SET {column} = replace({column}, ?, ?)"
            database.execute(change, (str(honest.root), str(layout.root)))
    return SimpleNamespace(layout=layout, params=lenient(load(layout.params)), client=client_of(layout))


def audited(world):
    return integrity.audit_model(world.layout, world.params)[1]


def promote(world, **more):
    request = PromotionRequest("candidate", "staging", "second", **more)
    return promotion.promote(world.layout, world.params, request, ignore)


def test_the_honest_version_is_promoted_and_the_audit_finds_nothing(world):
    assert audited(world) == []
    assert promote(world).to_version == "2"
    assert audited(world) == []


@pytest.mark.parametrize("name", forgeries.PROMOTED)
def test_a_forgery_is_refused_even_by_force_and_named_by_the_audit(world, name):
    forgeries.PROMOTED[name](world)
    before = world.client.get_registered_model(NAME).aliases
    with pytest.raises(PodiumError) as refusal:
        promote(world, force=True)
    assert "\n" not in str(refusal.value)
    assert world.client.get_registered_model(NAME).aliases == before
    assert audited(world) != []


@pytest.mark.parametrize("name", forgeries.AUDITED)
def test_what_happens_past_podium_is_named_by_the_audit(world, name):
    forgeries.AUDITED[name](world)
    found = audited(world)
    assert found != []
    assert all("\n" not in problem for problem in found)


@pytest.mark.parametrize("name", forgeries.INVENTED)
def test_papers_that_were_invented_before_the_registration_fail_a_gate(world, tmp_path, name):
    forge, said = forgeries.INVENTED[name]
    gathered(world.layout, world.params, tmp_path / "package")
    artifacts = tmp_path / "package" / "artifacts"
    forge(artifacts)
    evidence = read_evidence(SimpleNamespace(version="3", tags=tags_of(artifacts), aliases=[]), tmp_path / "package")
    register(world.layout, evidence)
    with pytest.raises(PodiumError) as refusal:
        promote(world)
    assert re.search(said, str(refusal.value)), refusal.value


def test_a_rollback_to_a_version_whose_weights_were_swapped_is_refused(world):
    promote(world)
    forgeries.other_weights(forgeries.artifacts(world, "1"))
    with pytest.raises(PodiumError, match="the package of version 1 changed since"):
        promotion.rollback(world.layout, world.params, "staging", "it was better", ignore)


def test_gates_that_were_loosened_for_one_promotion_are_told_once_they_are_as_before(world):
    promote(world)
    strict = lenient(world.params, minimum_accuracy=0.99)
    found = integrity.audit_model(world.layout, strict)[1]
    assert len(found) == 1
    assert re.match(r"version 2 holds staging and fails a gate today: accuracy 0\.\d+ is 0\.\d+ below 0\.990", found[0])


REPAIRED = [
    *(f"record: {name}" for name in forgeries.RECORD if "MLflow" not in name and "package" not in name),
    "alias moved by a client",
    "alias deleted",
    "candidate moved back",
    "candidate's alias deleted",
    "stage moved alone",
    "stage archived",
]


@pytest.mark.parametrize("name", [name for name in REPAIRED if name != "record: the store's name"])
def test_a_repair_restores_the_last_recorded_state(world, name):
    aliases = world.client.get_registered_model(NAME).aliases
    {**forgeries.PROMOTED, **forgeries.AUDITED}[name](world)
    assert integrity.restore(world.layout, world.params) != []
    assert audited(world) == []
    assert world.client.get_registered_model(NAME).aliases == aliases
