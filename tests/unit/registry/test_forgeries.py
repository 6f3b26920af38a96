"""No forgery brings a version to `staging` unnoticed, and the audit names what was done past Podium."""

import re
import shutil
import sqlite3
import subprocess
from types import SimpleNamespace

import pytest

from podium.config.params import load
from podium.core.errors import DataError, PodiumError
from podium.core.layout import Layout
from podium.registry import integrity, promotion, registered_model
from podium.registry.evidence import read_evidence
from podium.registry.promotion import PromotionRequest
from tests.unit.registry import forgeries
from tests.unit.registry.promotions import (
    NAME,
    client_of,
    copied,
    gathered,
    ignore,
    lenient,
    register,
    registry_of,
    tags_of,
)


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
    layout = copied(honest, tmp_path / "project")
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
    *(f"record: {name}" for name in forgeries.RECORD if name not in forgeries.UNDECIDED),
    "alias moved by a client",
    "alias deleted",
    "candidate moved back",
    "candidate's alias deleted",
    "stage moved alone",
    "stage archived",
]


@pytest.mark.parametrize("name", REPAIRED)
def test_a_repair_restores_the_last_recorded_state(world, name):
    aliases = world.client.get_registered_model(NAME).aliases
    {**forgeries.PROMOTED, **forgeries.AUDITED}[name](world)
    assert integrity.restore(world.layout, world.params) != []
    assert audited(world) == []
    assert world.client.get_registered_model(NAME).aliases == aliases


def test_a_repair_does_not_make_true_what_one_clone_alone_says(world):
    """A line that was forged in the file, and committed, moves no alias."""
    forgeries.forge_entry(world, action="promote", alias="staging")
    with pytest.raises(
        DataError, match=r"entry 4 \(promote 2, .*\) .* nothing in the store confirms it: it may be forged"
    ):
        integrity.restore(world.layout, world.params)
    assert str(world.client.get_registered_model(NAME).aliases["staging"]) == "1"


def test_a_repair_never_deletes_what_another_clone_may_hold(world):
    before = dict(world.client.get_registered_model(NAME).tags)
    forgeries.RECORD["a tag forged"](world)
    with pytest.raises(DataError, match=r"entry 9 is in the store alone.* pull that first"):
        integrity.restore(world.layout, world.params)
    assert world.client.get_registered_model(NAME).tags.items() >= before.items()


def test_a_number_beyond_all_others_costs_no_time(world):
    forgeries.tag(world, 999_999, world.client.get_registered_model(NAME).tags["podium.record.000001"])
    (one, *others) = audited(world)
    assert len(others) < 5 and "entry 999999" in one


def test_an_alias_from_before_there_was_a_record_is_taken_away_and_a_promotion_goes_on(honest, world):
    for number in (2, 3):
        forgeries.tag(world, number, None)
    forgeries.write(world, forgeries.lines(world)[:1])
    shutil.rmtree(world.layout.root / ".git")
    world.client.set_registered_model_alias(NAME, "candidate", "1")
    with pytest.raises(PodiumError, match="staging is at version 1, and no entry of the record moved it there"):
        promote(world)
    assert "staging, which no entry moved, is at no version" in integrity.restore(world.layout, world.params)
    assert promote(world).to_version == "1"


def test_a_holder_that_was_deleted_blocks_nobody_and_its_deletion_is_put_on_record(world):
    world.client.delete_model_version(NAME, "1")
    assert any(problem.startswith("version 1 (register 1, ") for problem in audited(world))
    assert integrity.restore(world.layout, world.params) == ["it is on record now that version 1 was deleted"]
    assert promote(world).to_version == "2"
    assert audited(world) == []


def test_a_store_that_was_brought_back_does_not_make_another_version_the_one_that_held_the_alias(world):
    promote(world)
    record = registry_of(world.layout).record()
    other = record.registration("2").version.model_copy(update={"weights": "0" * 64})
    said = {"holder": "2", "number": "2", "reason": "registered"}
    registry_of(world.layout).append("register", "candidate", **said, version=other)
    world.client.set_registered_model_alias(NAME, "staging", "1")
    with pytest.raises(PodiumError, match="version 2 is not the one that staging was moved to"):
        integrity.restore(world.layout, world.params)


def test_a_run_that_was_deleted_for_good_hinders_no_promotion(world):
    run_id = world.client.get_model_version(NAME, "2").run_id
    with sqlite3.connect(world.layout.root / "mlflow.db") as database:
        database.execute("DELETE FROM runs WHERE run_uuid = ?", (run_id,))
    assert promote(world).to_version == "2"
    assert audited(world) == []


def test_a_clock_that_is_behind_the_last_entry_breaks_no_order(world, monkeypatch):
    monkeypatch.setattr(registered_model, "utc_now", lambda: "2020-01-01T00:00:00+00:00")
    assert promote(world).when == registry_of(world.layout).record().entries[-2].when
    assert audited(world) == []


def test_git_knows_the_record_of_a_project_below_the_repository(world):
    shutil.rmtree(world.layout.root / ".git")
    git = ["git", "-C", str(world.layout.root.parent), "-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    for step in (["init", "-q"], ["add", "project/registry"], ["commit", "-q", "-m", "registered"]):
        subprocess.run([*git, *step], check=True)
    forgeries.cut_everywhere(world)
    assert any("was cut from podium-tiny.jsonl, and git still holds it" in problem for problem in audited(world))


def test_test_images_that_are_not_here_and_in_no_ledger_are_no_proof(world):
    shutil.rmtree(world.layout.prepared / "test")
    assert promote(world).to_version == "2"  # the ledger knows that this model was tested on them
    world.layout.test_openings.unlink()
    shutil.rmtree(world.layout.work, ignore_errors=True)
    promotion.rollback(world.layout, world.params, "staging", "once more", ignore)
    with pytest.raises(PodiumError, match="its test images are not here: `dvc checkout`"):
        promote(world)
