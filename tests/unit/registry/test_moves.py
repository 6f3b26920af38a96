"""Production asks for staging on record and for others' approval; archived versions take no alias; rollbacks go far."""

import re
import shutil
import subprocess
from contextlib import suppress
from functools import partial
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from podium.config.judging import Promote
from podium.core.errors import PromotionRefused
from podium.registry import approvals, integrity, moves, promotion, registered_model, signing
from podium.registry.promotion import PromotionRequest
from tests.unit.registry import forgeries
from tests.unit.registry.promotions import NAME, client_of, gathered, ignore, register, registry_of

FLOORS = {"minimum_accuracy": 0.0, "minimum_macro_f1": 0.0, "maximum_latency_seconds": 60.0}


@pytest.fixture(scope="module")
def evidence(finished_project, tmp_path_factory):
    from podium.config.params import load
    from podium.core.layout import Layout

    layout = Layout(finished_project)
    return gathered(layout, load(layout.params), tmp_path_factory.mktemp("gathered"))


@pytest.fixture
def world(experiment, evidence, monkeypatch):
    """Three versions on record; production is from staging and asks for one approval. No gate is run."""
    for _ in range(3):
        register(experiment.layout, evidence)
    monkeypatch.setattr(promotion, "run_gates", lambda *_, **__: [])
    production = {"from": "staging", "approvals": 1, "approval_days": 14}
    asked = Promote.model_validate({**FLOORS, "moves": {"staging": {}, "production": production}})
    params = experiment.params.model_copy(update={"promote": asked})
    made = SimpleNamespace(layout=experiment.layout, params=params, client=client_of(experiment.layout))
    made.be, made.approve, made.promote = partial(be, world=made, monkeypatch=monkeypatch), approve, promote
    made.be("Ada")
    return made


def be(name, world, monkeypatch, when=None, account=None):
    """Who is at the keyboard, when, and by which account of a server."""
    monkeypatch.setattr(registered_model.store, "account_of", lambda uri: account)
    for module in (registered_model, moves):
        monkeypatch.setattr(module, "whoami", lambda: f"{name} (root)")
        if when:
            monkeypatch.setattr(module, "utc_now", lambda: when)


def promote(world, number, alias="staging", **more):
    return promotion.promote(world.layout, world.params, PromotionRequest(number, alias, "because", **more), ignore)


def approve(world, number="1", alias="production", **more):
    return approvals.approve(world.layout, world.params, number, alias, "tried it", **more)


def rollback(world, alias="staging", to=None):
    return promotion.rollback(world.layout, world.params, alias, "worse", ignore, to=to)


def aliases(world):
    return {name: str(v) for name, v in world.client.get_registered_model(NAME).aliases.items() if name != "candidate"}


def stages(world):
    found = world.client.search_model_versions(f"name='{NAME}'")
    return {str(v.version): v.current_stage for v in found if v.current_stage != "None"}


def audited(world):
    return integrity.contradictions(
        registry_of(world.layout).record(), integrity._registered(registry_of(world.layout)), world.params
    )


def refused(world, number, alias="production", **more):
    with pytest.raises(PromotionRefused) as refusal:
        promote(world, number, alias, **more)
    return str(refusal.value)


def test_production_asks_for_a_version_that_held_staging_even_by_force(world, monkeypatch):
    be("Grace", world, monkeypatch)
    approve(world)
    be("Ada", world, monkeypatch)
    said = refused(world, "1", force=True)
    assert "version 1 never held staging, says the record, and production is from there" in said
    assert "--force does not lead past that" in said
    promote(world, "1")
    promote(world, "2")  # held it once is enough
    entry = promote(world, "1", "production")
    told = {gate.name: gate.observed for gate in entry.gates}
    assert re.fullmatch(r"since 20\d\d-\d\d-\d\d, entry 5", told["held_before"])
    assert told["approvals"] == "Grace (root), entry 4"
    assert aliases(world) == {"staging": "2", "production": "1"}
    assert audited(world) == []


def test_a_move_to_staging_that_never_arrived_does_not_lead_to_production(world, monkeypatch):
    def killed(self, *arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("mlflow.MlflowClient.set_registered_model_alias", killed)
        with pytest.raises(KeyboardInterrupt):
            promote(world, "1")
    assert "version 1 never held staging" in refused(world, "1")
    promote(world, "2")
    assert "version 1 never held staging" in refused(world, "1")
    with pytest.raises(PromotionRefused, match="no earlier holder"):
        rollback(world)


def test_an_approval_by_somebody_else_holds_for_so_many_days(world, monkeypatch):
    promote(world, "1")
    be("Grace", world, monkeypatch, when="2030-01-01T00:00:00+00:00")
    assert approve(world).expires == "2030-01-15T00:00:00+00:00"
    be("Ada", world, monkeypatch, when="2030-01-14T23:59:59+00:00")
    assert promote(world, "1", "production").to_version == "1"
    assert audited(world) == []


@pytest.mark.parametrize("name", forgeries.APPROVALS)
def test_without_the_approval_of_somebody_else_nothing_moves_even_by_force(world, name):
    forge, said = forgeries.APPROVALS[name]
    promote(world, "1")
    forge(world)
    before = aliases(world)
    assert re.search(said, refused(world, "1", force=True))
    assert aliases(world) == before


def test_two_names_of_one_account_are_one_person(world, monkeypatch):
    promote(world, "1")
    be("Grace", world, monkeypatch, account="ada")
    assert approve(world).by == "Grace (root), account ada"
    be("Ada", world, monkeypatch, account="ada")
    assert "that of Grace (root), account ada (entry 5) is by who asks" in refused(world, "1")
    be("Ada", world, monkeypatch, account="other")
    assert promote(world, "1", "production").account == "other"
    assert audited(world) == []
    assert "| Ada (root), account other |" in registry_of(world.layout).model().tags["podium.record.000006"]


def test_moves_that_were_others_for_one_promotion_are_told_by_the_entry_and_by_the_audit(world):
    root = world.layout.root
    git = ["git", "-C", str(root), "-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    for step in (["init", "-q"], ["add", "params.yaml"], ["commit", "-q", "-m", "mine"]):
        subprocess.run([*git, *step], check=True)
    strict = world.params
    loose = Promote.model_validate({**FLOORS, "minimum_accuracy": 0.1, "moves": {"staging": {}, "production": {}}})
    world.params = strict.model_copy(update={"promote": loose})
    entry = promote(world, "1", "production")
    (told,) = [gate.observed for gate in entry.gates if gate.name == "limits"]
    assert told.startswith("not as committed: ")
    assert "minimum_accuracy 0.1 (committed: 0.8)" in told and "from None (committed: staging)" in told
    world.params = strict
    found = broken_rules(world)
    assert len(found) == 2
    assert found[0].startswith("version 1 holds production and breaks a rule today: version 1 never held staging")


def test_a_version_at_two_aliases_is_at_the_later_stage(world):
    moves = {"staging": {}, "production": {"from": "staging"}}
    world.params = world.params.model_copy(update={"promote": Promote.model_validate({**FLOORS, "moves": moves})})
    promote(world, "1")
    promote(world, "1", "production")
    assert stages(world) == {"1": "Production"}
    promote(world, "2")
    assert stages(world) == {"1": "Production", "2": "Staging"}
    promote(world, "2", "production")
    assert (stages(world), aliases(world)) == (
        {"1": "Archived", "2": "Production"},
        {"staging": "2", "production": "2"},
    )
    rollback(world, "production")
    assert stages(world) == {"1": "Production", "2": "Staging"}
    assert audited(world) == []
    forgeries.stage(world, "3", "Production")
    (found,) = audited(world)
    assert "models:/podium-tiny/Production is 1, 3 and should be 1, since production is at version 1" in found
    integrity.restore(world.layout, world.params)
    assert audited(world) == []


def test_an_archived_version_takes_no_alias_until_that_is_taken_back(world):
    with pytest.raises(PromotionRefused, match="version 3 is at candidate: promote another version"):
        approvals.archive(world.layout, world.params, "3", "bad labels")
    promote(world, "1")
    promote(world, "2")
    entry = approvals.archive(world.layout, world.params, "1", "bad labels")
    assert (entry.action, entry.alias) == ("archive", "-")
    assert r"version 1 was archived on" in refused(world, "1", "staging", force=True)
    for call in (approve, lambda world: rollback(world), lambda world: rollback(world, to="1")):
        with pytest.raises(PromotionRefused, match=r"by Ada \(root\) \(bad labels\): `podium archive 1 --undo"):
            call(world)
    with pytest.raises(PromotionRefused, match="archived already"):
        approvals.archive(world.layout, world.params, "1", "again")
    approvals.archive(world.layout, world.params, "1", "labels are right", undo=True)
    assert rollback(world).to_version == "1"
    with pytest.raises(PromotionRefused, match="version 2 is not archived"):
        approvals.archive(world.layout, world.params, "2", "x", undo=True)
    assert audited(world) == []


def test_a_rollback_goes_to_a_version_or_to_who_held_the_alias_at_a_time(world, monkeypatch):
    for day, number in enumerate("123", start=1):
        be("Ada", world, monkeypatch, when=f"2030-01-0{day}T12:00:00+00:00")
        promote(world, number)
    for to, said in (
        ("7", r"version 7 never held staging, says the record \(versions that did: 1, 2, 3\)"),
        ("3", "version 3 is at staging already"),
        ("2030-01-01T11:59:59+00:00", "no version held staging at 2030-01-01T11:59:59"),
        ("2030-01-04T00:00:00+00:00", "version 3 is at staging already"),
    ):
        with pytest.raises(PromotionRefused, match=said):
            rollback(world, to=to)
    assert rollback(world, to="2030-01-02T14:00:00+02:00").to_version == "2"
    assert rollback(world, to="1").to_version == "1"
    assert rollback(world, to="3").to_version == "3"
    assert audited(world) == []


@pytest.fixture
def keys(world, tmp_path):
    """Private keys of Ada and Grace, whose public ones the params name, and a stranger's; production must be signed."""
    (world.layout.root / "keys").mkdir()
    found = {}
    for name in ("ada", "grace", "stranger"):
        key = Ed25519PrivateKey.generate()
        found[name] = tmp_path / f"{name}.pem"
        found[name].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (world.layout.root / "keys" / f"{name}.pub").write_bytes(public)
    ask_for(world, signed=True)
    return found


def ask_for(world, **production):
    """What a move to production asks for, and who may sign it."""
    signers = {name: f"keys/{name}.pub" for name in ("ada", "grace")}
    told = {**FLOORS, "moves": {"staging": {}, "production": production}, "signers": signers}
    world.params = world.params.model_copy(update={"promote": Promote.model_validate(told)})


def unsigned(world):
    return signing.unsigned(world.layout, world.params, registry_of(world.layout).record())


def test_a_move_that_must_be_signed_is_refused_without_a_signer_s_key(world, keys):
    assert "must be signed: give your private key, --key FILE" in refused(world, "1", force=True)
    assert "is the key of none of promote.signers (ada, grace)" in refused(world, "1", key=keys["stranger"])
    public = world.layout.root / "keys" / "ada.pub"
    assert "is no private key without a password" in refused(world, "1", key=public)
    assert aliases(world) == {}
    promote(world, "1", "production", key=keys["ada"])
    promote(world, "2", "production", key=keys["ada"])
    assert unsigned(world) == []
    with pytest.raises(PromotionRefused, match="must be signed"):
        rollback(world, "production")
    promotion.rollback(world.layout, world.params, "production", "worse", ignore, key=keys["ada"])
    assert (unsigned(world), audited(world)) == ([], [])
    promote(world, "3")  # staging asks for none
    assert len(world.layout.signatures(NAME).read_text().splitlines()) == 3


FORGED = {
    "nobody signed": lambda lines: [],
    "has no signature that can be read": lambda lines: ["nonsense"],
    "ada did not sign": lambda lines: [re.sub(r'"signature":".', '"signature":"~', lines[0])],
    "is none of promote.signers": lambda lines: [lines[0].replace('"ada"', '"eve"')],
}


@pytest.mark.parametrize("said", FORGED)
def test_a_signature_that_was_cut_or_forged_is_named(world, keys, said):
    promote(world, "1", "production", key=keys["ada"])
    path = world.layout.signatures(NAME)
    path.write_text("".join(f"{line}\n" for line in FORGED[said](path.read_text().splitlines())))
    (found,) = unsigned(world)
    assert found.startswith("production is at version 1 by an entry (promote 1, ") and said in found


def broken_rules(world):
    registry = registry_of(world.layout)
    return list(integrity._broken_rules(world.layout, registry.record(), integrity._registered(registry), world.params))


@pytest.mark.parametrize("said", FORGED)
def test_an_approval_whose_signature_was_cut_or_forged_does_not_count(world, keys, said):
    ask_for(world, signed=True, approvals=1)
    world.be("Grace")
    approve(world, key=keys["ada"])
    world.be("Ada")
    path = world.layout.signatures(NAME)
    path.write_text("".join(f"{line}\n" for line in FORGED[said](path.read_text().splitlines())))
    assert said in refused(world, "1", force=True, key=keys["grace"])
    assert aliases(world) == {}


def test_an_approval_is_signed_by_another_key_than_the_move(world, keys):
    ask_for(world, signed=True, approvals=1)
    world.be("Grace")
    with pytest.raises(PromotionRefused, match="production, and its approval, must be signed"):
        approve(world)
    approve(world, key=keys["grace"])
    world.be("Ada")
    assert "is one that grace signed, whose key signs the move" in refused(world, "1", key=keys["grace"])
    promote(world, "1", "production", key=keys["ada"])
    assert (unsigned(world), broken_rules(world), audited(world)) == ([], [], [])
    path = world.layout.signatures(NAME)
    path.write_text(path.read_text().splitlines()[1] + "\n")
    (found,) = broken_rules(world)
    assert "that of Grace (root) (entry 4) is one that nobody signed" in found


def test_a_signature_of_another_key_or_entry_is_none(world, keys):
    first, second = (promote(world, number, "production", key=keys["ada"]) for number in "12")
    path = world.layout.signatures(NAME)
    path.write_text(path.read_text().splitlines()[0].replace(first.digest, second.digest))
    assert "ada did not sign: the signature is not of that key" in unsigned(world)[0]
    shutil.copyfile(world.layout.root / "keys" / "stranger.pub", world.layout.root / "keys" / "ada.pub")
    assert "ada did not sign" in unsigned(world)[0]


@pytest.mark.parametrize("step", ["log_text", "set_registered_model_tag", "transition_model_version_stage"])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("action", ["approve", "archive", "promote"])
def test_a_kill_between_any_two_steps_is_finished_or_undone_by_the_same_command(world, monkeypatch, action, step, when):
    def run():
        if action == "approve":
            return approve(world, "2")
        if action == "archive":
            return approvals.archive(world.layout, world.params, "2", "bad")
        return promote(world, "2")

    real = getattr(type(world.client), step)

    def killed(self, *arguments, **named):
        if when == "after":
            real(self, *arguments, **named)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(f"mlflow.MlflowClient.{step}", killed)
        with suppress(KeyboardInterrupt):
            run()
    try:
        run()
    except PromotionRefused as refusal:
        assert "archived already" in str(refusal)
    record = registry_of(world.layout).record()
    assert record.problems == ()
    assert any(entry.action == action and entry.to_version == "2" for entry in record.entries)
    assert audited(world) == []
