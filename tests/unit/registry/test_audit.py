"""The audit record: appended, never changed, fits into a tag, and tells who held an alias."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.core.errors import PromotionRefused, TrackingError
from podium.registry import audit, store
from podium.registry.audit import AuditEntry
from podium.registry.gates import GateResult

NAME = "podium-tiny"


def entry(number: int, to: str, action: audit.Action = "promote", alias: str = "staging", **more) -> AuditEntry:
    said = {
        "when": "2024-01-01T00:00:00+00:00",
        "who": "Ada",
        "reason": "because",
        "forced": False,
        "gates": [],
        **more,
    }
    return AuditEntry(number=number, action=action, alias=alias, from_version=None, to_version=to, **said)


class Tags:
    """The part of a client the audit record uses."""

    def __init__(self):
        self.tags = {}

    def get_registered_model(self, name):
        return SimpleNamespace(tags=dict(self.tags))

    def set_registered_model_tag(self, name, key, value):
        self.tags[key] = value


def test_entries_come_back_oldest_first_from_a_real_store(request):
    client = audit_client(request.getfixturevalue("store"))
    for number in (1, 2, 3):
        audit.append_entry(client, NAME, entry(number, str(number)))
    assert [(e.number, e.to_version) for e in audit.read_audit(client, NAME)] == [(1, "1"), (2, "2"), (3, "3")]
    assert sorted(client.get_registered_model(NAME).tags) == [f"podium.audit.{n:06d}" for n in (1, 2, 3)]


@pytest.mark.parametrize("failed", [[], ["latency", "accuracy"]])
def test_an_entry_is_a_line_a_person_reads_and_an_artifact_that_tells_all(store, failed):
    client = audit_client(store)
    run_id = client.create_run("0").info.run_id
    client.create_model_version(NAME, source=str(store.root), run_id=run_id)
    gates = [GateResult(name=name, required="r", observed="o", passed=name not in failed, detail="d")
             for name in ("accuracy", "latency", "recall")]  # fmt: skip
    written = entry(1, "1", forced=bool(failed), gates=gates, reason="a | b\u3000c", who="Ada | (x)")
    audit.append_entry(client, NAME, written, run_id)
    line = client.get_registered_model(NAME).tags["podium.audit.000001"]
    assert line.startswith("2024-01-01T00:00:00+00:00 | promote | staging | nobody -> 1 | Ada (x) | ")
    assert "{" not in line
    (read,) = audit.read_audit(client, NAME)
    assert (sorted(read.failed), read.forced, read.reason) == (sorted(failed), bool(failed), written.reason)
    assert audit.read_audit(client, NAME, gates=True) == [written]


def audit_client(layout):
    client = store.open_client(layout)
    client.create_registered_model(NAME)
    return client


def test_a_number_is_written_once():
    tags = Tags()
    audit.append_entry(tags, NAME, entry(1, "1"))
    with pytest.raises(PromotionRefused, match="recorded at the same moment"):
        audit.append_entry(tags, NAME, entry(1, "2"))
    assert [e.to_version for e in audit.read_audit(tags, NAME)] == ["1"]


def test_a_writer_who_was_overwritten_at_the_same_moment_is_told():
    class Racing(Tags):
        def set_registered_model_tag(self, name, key, value):
            super().set_registered_model_tag(name, key, entry(1, "9").model_dump_json(by_alias=True))

    with pytest.raises(PromotionRefused, match="see `podium history`"):
        audit.append_entry(Racing(), NAME, entry(1, "1"))


@pytest.mark.parametrize("value", ["", "not json", "{}", entry(2, "1").model_dump_json(by_alias=True)])
def test_an_entry_changed_by_hand_is_named(value):
    tags = Tags()
    tags.tags["podium.audit.000001"] = value
    with pytest.raises(TrackingError, match=r"podium\.audit\.000001"):
        audit.read_audit(tags, NAME)


def test_tags_of_others_are_left_alone():
    tags = Tags()
    tags.tags = {"team": "vision", "podium.audit.note": "x"}
    assert audit.read_audit(tags, NAME) == []


@given(
    reason=st.text(min_size=1, max_size=audit.REASON_LIMIT),
    texts=st.lists(st.text(max_size=4000), min_size=8, max_size=8),
)
def test_any_entry_fits_into_a_tag_and_keeps_its_verdicts(reason, texts):
    gates = [GateResult(name=f"gate_{n}", required=t, observed=t, passed=n % 2 == 0, detail=t)
             for n, t in enumerate(texts)]  # fmt: skip
    tags = Tags()
    audit.append_entry(tags, NAME, entry(1, "1", reason=reason, gates=gates))
    assert len(tags.tags["podium.audit.000001"]) <= audit.TAG_LIMIT
    (read,) = audit.read_audit(tags, NAME)
    assert read.reason == reason
    assert read.failed == ["gate_1", "gate_3", "gate_5", "gate_7"]


@pytest.mark.parametrize(
    ("moves", "expected"),
    [
        ([], []),
        ([("promote", "1"), ("promote", "2")], ["1", "2"]),
        ([("promote", "1"), ("promote", "2"), ("rollback", "1")], ["1"]),
        # walking back twice, then forward again
        ([("promote", "1"), ("promote", "2"), ("promote", "3"), ("rollback", "2"), ("rollback", "1")], ["1"]),
        ([("promote", "1"), ("promote", "2"), ("rollback", "1"), ("promote", "3")], ["1", "3"]),
        # a promotion given again after a crash between record and alias
        ([("promote", "1"), ("promote", "2"), ("promote", "2")], ["1", "2"]),
        # the same version may hold the alias twice, with another one between
        ([("promote", "1"), ("promote", "2"), ("promote", "1"), ("rollback", "2")], ["1", "2"]),
    ],
)
def test_holders_follow_from_the_record(moves, expected):
    entries = [entry(n, to, action) for n, (action, to) in enumerate(moves, start=1)]
    assert audit.list_holders([*entries, entry(99, "5", alias="production")], "staging") == expected
