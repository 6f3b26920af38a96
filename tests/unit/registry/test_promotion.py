"""The alias moves past the gates, on record, one promotion at a time; a rollback walks back."""

import os
import subprocess
import sys
import threading
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST
from mlflow.store.entities import PagedList

from podium.core.errors import DataError, PromotionRefused
from podium.core.layout import Layout
from podium.records.audit import AuditEntry, GateResult, VersionDigests
from podium.registry import audit, promotion
from podium.registry.evidence import digest_package, digests_of
from podium.registry.promotion import PromotionRequest
from podium.registry.registered_model import Registry
from tests.unit.registry.promotions import NAME, client_of, gathered, ignore, lenient, register, registry_of


@pytest.fixture
def world(experiment, tmp_path):
    """Three registered versions of the same model, the last one `candidate`; gates that pass."""
    evidence = gathered(experiment.layout, experiment.params, tmp_path / "gathered")
    for _ in range(3):
        register(experiment.layout, evidence)
    return SimpleNamespace(
        layout=experiment.layout,
        params=lenient(experiment.params),
        client=client_of(experiment.layout),
        evidence=evidence,
    )


def promote(world, wanted, reason="because", force=False, show=ignore, **gates):
    params = lenient(world.params, **gates)
    return promotion.promote(world.layout, params, PromotionRequest(wanted, "staging", reason, force), show)


def rollback(world):
    return promotion.rollback(world.layout, world.params, "staging", "it was worse", ignore)


def staging(world):
    aliases = world.client.get_registered_model(NAME).aliases
    return str(aliases["staging"]) if "staging" in aliases else None


def stages(world):
    return {str(v.version): v.current_stage for v in world.client.search_model_versions(f"name='{NAME}'")}


def record(world):
    """The moves on record; registrations are left out."""
    found = registry_of(world.layout).record()
    assert found.problems == ()
    return [entry for entry in found.entries if entry.action != "register"]


def test_a_promotion_moves_alias_and_stage_and_leaves_an_entry(world):
    shown = []
    entry = promote(world, "candidate", "first", show=shown.extend)
    assert staging(world) == "3"
    assert stages(world) == {"1": "None", "2": "None", "3": "Staging"}
    assert [gate.name for gate in shown] == [gate.name for gate in entry.gates]
    assert record(world) == [entry]
    assert (entry.number, entry.action, entry.from_version, entry.to_version) == (4, "promote", None, "3")
    assert (entry.reason, entry.forced, entry.failed) == ("first", False, [])


def test_the_next_promotion_archives_the_holder_s_stage(world):
    promote(world, "1")
    entry = promote(world, "2")
    assert (staging(world), entry.from_version) == ("2", "1")
    assert stages(world) == {"1": "Archived", "2": "Staging", "3": "None"}


def test_a_failed_gate_changes_nothing_and_says_by_how_much(world):
    promote(world, "1")
    observed = world.evidence.metrics.accuracy.value
    with pytest.raises(PromotionRefused) as refusal:
        promote(world, "2", minimum_accuracy=1.0)
    assert f"accuracy {observed:.3f} is {1 - observed:.3f} below 1.000" in str(refusal.value)
    assert staging(world) == "1"
    assert len(record(world)) == 1


def test_force_moves_the_alias_and_is_recorded_with_the_failed_gates(world):
    entry = promote(world, "2", "demo tomorrow", force=True, minimum_accuracy=1.0, minimum_macro_f1=1.0)
    assert staging(world) == "2"
    assert (entry.forced, entry.failed, entry.reason) == (True, ["accuracy", "macro_f1"], "demo tomorrow")


def test_force_without_a_failed_gate_is_an_ordinary_promotion(world):
    assert promote(world, "2", force=True).forced is False


def test_the_holder_is_not_promoted_again(world):
    promote(world, "2")
    with pytest.raises(PromotionRefused, match="version 2 is already at staging"):
        promote(world, "2")
    assert len(record(world)) == 1


def test_a_version_without_evidence_cannot_be_promoted_even_by_force(world):
    (world.layout.root / "packages" / "2" / "artifacts" / "golden.json").unlink()
    with pytest.raises(DataError, match=r"version 2 has no usable golden\.json .* promote another version"):
        promote(world, "2", force=True)
    assert staging(world) is None


def test_only_the_candidate_s_package_comes_back_by_publishing(world):
    (world.layout.root / "packages" / "3" / "artifacts" / "predictions.parquet").unlink()
    with pytest.raises(DataError, match=r"version 3 has no usable predictions\.parquet .* `dvc repro publish`$"):
        promote(world, "candidate")


def test_a_holder_whose_package_is_gone_fails_the_gate(world):
    promote(world, "1")
    (world.layout.root / "packages" / "1" / "artifacts" / "metrics.json").unlink()
    with pytest.raises(PromotionRefused, match="the present holder cannot be read: version 1"):
        promote(world, "2")
    assert promote(world, "2", force=True).failed == ["not_worse_than_holder"]


def test_rolling_back_twice_walks_further_back(world):
    for number in ("1", "2", "3"):
        promote(world, number)
    first, second = rollback(world), rollback(world)
    assert [(e.action, e.from_version, e.to_version) for e in (first, second)] == [
        ("rollback", "3", "2"),
        ("rollback", "2", "1"),
    ]
    assert staging(world) == "1"
    assert stages(world)["1"] == "Staging"
    with pytest.raises(PromotionRefused, match="no earlier holder"):
        rollback(world)
    assert len(record(world)) == 5


def test_rollback_refuses_a_deleted_version_and_changed_weights(world):
    promote(world, "1")
    promote(world, "2")
    weights = world.layout.root / "packages" / "1" / "artifacts" / "weights.safetensors"
    kept = weights.read_bytes()
    weights.write_bytes(kept[:-1])
    with pytest.raises(PromotionRefused, match="the package of version 1 changed since .*, when it was registered"):
        rollback(world)
    weights.write_bytes(kept)
    world.client.delete_model_version(NAME, "1")
    with pytest.raises(PromotionRefused, match="version 1 held staging before but was deleted"):
        rollback(world)
    assert staging(world) == "2"


def test_rollback_undoes_a_move_nobody_recorded(world):
    promote(world, "1")
    world.client.set_registered_model_alias(NAME, "staging", "3")
    entry = rollback(world)
    assert (entry.from_version, entry.to_version, staging(world)) == ("3", "1", "1")


def test_a_promotion_given_again_after_a_crash_ends_where_it_should(world, monkeypatch):
    promote(world, "1")

    def killed(self, *arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("mlflow.MlflowClient.set_registered_model_alias", killed)
        with pytest.raises(KeyboardInterrupt):
            promote(world, "2")
    assert staging(world) == "1"
    with pytest.raises(PromotionRefused, match="no earlier holder"):  # never forward to a version that did not arrive
        rollback(world)
    promote(world, "2")
    assert (staging(world), stages(world)["2"]) == ("2", "Staging")
    assert rollback(world).to_version == "1"


def test_a_holder_that_changed_while_the_gates_ran_stops_the_promotion(world):
    promote(world, "1")

    def meanwhile(results):
        world.client.set_registered_model_alias(NAME, "staging", "3")

    with pytest.raises(PromotionRefused, match=r"moved staging to 3 meanwhile \(expected 1\)"):
        promote(world, "2", show=meanwhile)
    assert staging(world) == "3"
    assert len(record(world)) == 1


def test_of_two_promotions_at_once_one_wins_and_the_other_is_told(world):
    inside, go_on = threading.Event(), threading.Event()
    errors = []

    def hold(results):
        inside.set()
        go_on.wait(60)

    def first():
        try:
            promote(world, "1", show=hold)
        except PromotionRefused as error:
            errors.append(error)

    thread = threading.Thread(target=first)
    thread.start()
    assert inside.wait(60)
    try:
        with pytest.raises(PromotionRefused, match="another promotion of podium-tiny is running"):
            promote(world, "2")
    finally:
        go_on.set()
        thread.join(60)
    assert (errors, staging(world), len(record(world))) == ([], "1", 1)


def test_a_second_process_is_told_too(world):
    (world.layout.root / "dvc.yaml").write_text("stages: {}\n")
    command = [sys.executable, "-m", "podium", "promote", "2", "--to", "staging", "--reason", "me too"]
    with registry_of(world.layout).lock(waits=False):
        done = subprocess.run(command, cwd=world.layout.root, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("refused: another promotion of podium-tiny is running")
    assert staging(world) is None


LOAD = """
import sys, mlflow.pyfunc, pandas, base64, json
image = json.load(open(sys.argv[1]))["images"][0]
for uri in ("models:/podium-tiny@staging", "models:/podium-tiny/Staging"):
    print(mlflow.pyfunc.load_model(uri).predict(pandas.DataFrame({"image": [image["bytes"]]}))["label"][0])
"""


def test_both_uris_of_a_promoted_model_load_and_predict(experiment, tmp_path):
    from mlflow.models import Model

    from podium.registry import package
    from podium.tracking import store
    from tests.unit.registry.promotions import tags_of

    params, layout, client = lenient(experiment.params), experiment.layout, client_of(experiment.layout)
    client.create_registered_model(NAME, tags={audit.STORE: "here"})
    with package.build_package(layout, "tiny_resnet", params.runtime, Model()) as folder:
        tags = tags_of(folder / "artifacts")
        client.create_model_version(NAME, source=str(folder), tags=tags)
        digests = digests_of(tags, digest_package(folder))
        registry_of(layout).append("register", "candidate", holder=None, number="1", reason="new", version=digests)
        promotion.promote(layout, params, PromotionRequest("1", "staging", "first"), ignore)
        golden = package.GoldenBatch.read(folder / "artifacts" / "golden.json").images[0]
        done = subprocess.run(
            [sys.executable, "-c", LOAD, str(folder / "artifacts" / "golden.json")],
            env={**os.environ, "MLFLOW_TRACKING_URI": store.tracking_uri(layout)},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    best = max(range(len(golden.probabilities)), key=lambda i: golden.probabilities[i])
    assert done.stdout.splitlines() == [["<b>pear</b>", "apple", "감"][best]] * 2


DIGESTS = VersionDigests(package="p", tags="t", weights="w", data="d", test="e", evidence="v")


class FakeClient:
    """The few calls a move makes, in memory, with MLflow's error for what is not there."""

    def __init__(self, versions):
        self.tags, self.aliases, self.stages = {}, {}, dict.fromkeys(versions, "None")

    def get_registered_model(self, name):
        return SimpleNamespace(tags=dict(self.tags), aliases=dict(self.aliases))

    def get_model_version(self, name, number):
        if number not in self.stages:
            raise MlflowException("gone", RESOURCE_DOES_NOT_EXIST)
        return SimpleNamespace(version=number, run_id=None, current_stage=self.stages[number])

    def set_registered_model_tag(self, name, key, value):
        self.tags[key] = value

    def set_registered_model_alias(self, name, alias, number):
        self.aliases[alias] = number

    def search_model_versions(self, asked, max_results, page_token):
        return PagedList([self.get_model_version(NAME, number) for number in self.stages], None)

    def transition_model_version_stage(self, name, number, stage):
        self.stages[number] = stage


class PromotionMachine(RuleBasedStateMachine):
    """Any sequence of promotions, forced ones and rollbacks."""

    def __init__(self):
        super().__init__()
        self.client = FakeClient(["1", "2", "3", "4"])
        self.folder = TemporaryDirectory()
        self.registry = Registry(self.client, "sqlite:///none", NAME, Layout(Path(self.folder.name)))
        self.client.tags[audit.STORE] = "here"
        for number in self.client.stages:
            self.registry.append("register", "candidate", holder=None, number=number, reason="new", version=DIGESTS)
        self.seen = []
        self.held = []  # what a person would write down: the versions a rollback should walk through

    def teardown(self):
        self.folder.cleanup()

    def holder(self):
        return self.registry.aliases().get("staging")

    def moves(self):
        record = self.registry.record()
        assert record.problems == ()
        return list(record.entries[4:])

    @rule(number=st.sampled_from(["1", "2", "3", "4"]), passed=st.booleans())
    def promote(self, number, passed):
        if number == self.holder():
            return
        gate = GateResult(name="accuracy", required="", observed="", passed=passed)
        promotion.move(
            self.registry, "promote", "staging", holder=self.holder(), number=number, reason="why", gates=[gate]
        )
        self.held.append(number)

    @rule()
    def rollback(self):
        entries = self.moves()
        if len(self.held) < 2:
            with pytest.raises(PromotionRefused):
                promotion.previous_holder(entries, self.client.tags, "staging", self.holder())
            return
        number = promotion.previous_holder(entries, self.client.tags, "staging", self.holder())
        assert number == self.held[-2]
        promotion.move(
            self.registry, "rollback", "staging", holder=self.holder(), number=number, reason="why", gates=[]
        )
        self.held.pop()

    @rule(wrong=st.sampled_from(["8", "9"]))
    def promotion_judged_against_another_holder_changes_nothing(self, wrong):
        with pytest.raises(PromotionRefused):
            promotion.move(self.registry, "promote", "staging", holder=wrong, number="1", reason="why", gates=[])

    @invariant()
    def the_alias_is_where_the_last_entry_says(self):
        entries = self.moves()
        assert self.holder() == (entries[-1].to_version if entries else None)

    @invariant()
    def the_record_only_grows(self):
        entries = self.moves()
        assert entries[: len(self.seen)] == self.seen
        assert [entry.number for entry in entries] == list(range(5, len(entries) + 5))
        self.seen = entries

    @invariant()
    def exactly_the_holder_is_in_the_stage(self):
        in_stage = [number for number, stage in self.client.stages.items() if stage == "Staging"]
        assert in_stage == ([self.holder()] if self.holder() else [])


TestPromotionMachine = PromotionMachine.TestCase
TestPromotionMachine.settings = settings(max_examples=20, stateful_step_count=15)


def test_an_alias_that_was_moved_past_podium_is_not_promoted_over(world):
    promote(world, "1")
    world.client.set_registered_model_alias(NAME, "staging", "3")
    with pytest.raises(PromotionRefused, match="staging is at version 3, but the record ends at version 1"):
        promote(world, "2")
    world.client.delete_registered_model_alias(NAME, "staging")
    with pytest.raises(PromotionRefused, match="staging is at no version, but the record ends at version 1"):
        promote(world, "2", force=True)


@pytest.mark.parametrize(
    ("moves", "holder", "expected"),
    [
        ([(None, "1"), ("1", "2")], "2", "1"),
        ([(None, "1"), ("1", "2"), ("2", "3")], "2", "1"),  # the last move never arrived
        ([(None, "1"), ("1", "2")], "7", "2"),  # moved past Podium
        ([(None, "1"), ("1", "2")], None, "2"),  # the alias was deleted past Podium
    ],
)
def test_where_a_rollback_leads(moves, holder, expected):
    entries = [
        AuditEntry(
            number=n, store="here", when="", who="", action="promote", alias="staging", from_version=a, to_version=b,
            reason="", forced=False, gates=[], version=DIGESTS, tools={},
        )
        for n, (a, b) in enumerate(moves, start=1)
    ]  # fmt: skip
    assert promotion.previous_holder(entries, {}, "staging", holder) == expected


def test_previous_holder_without_a_record_is_refused():
    with pytest.raises(PromotionRefused, match="no earlier holder on record"):
        promotion.previous_holder([], {}, "staging", "1")


def test_the_lock_of_a_local_store_lies_beside_it(world):
    with registry_of(world.layout).lock(waits=False):
        locks = {file.name for file in Layout(world.layout.root).work.glob("*.lock")}
    assert len(locks - {"mlflow.db.lock"}) == 1
