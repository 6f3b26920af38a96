"""The audit record: a chain in a file and in the store, each held against the other; it tells who held an alias."""

import json
import re
import subprocess

import pytest

from podium.core.errors import PromotionRefused
from podium.records.audit import Action, AuditEntry, GateResult, VersionDigests, list_holders
from podium.registry import audit
from tests.unit.registry.promotions import NAME, client_of, new_run, registry_of

DIGESTS = VersionDigests(package="p", tags="t", weights="w", data="d", test="e", evidence="v")


def entry(number: int, to: str, action: Action = "promote", alias: str = "staging", **more) -> AuditEntry:
    said = {
        "when": "2024-01-01T00:00:00+00:00",
        "who": "Ada",
        "reason": "because",
        "forced": False,
        "gates": [],
        "version": DIGESTS,
        "tools": {},
        "store": "here",
        "from": None,
        **more,
    }
    return AuditEntry(number=number, action=action, alias=alias, to_version=to, **said)


@pytest.fixture
def three(store):
    """A registered model whose three versions are on record; the project is a git repository without a commit."""
    client = client_of(store)
    client.create_registered_model(NAME, tags={audit.STORE: "here"})
    registry = registry_of(store)
    for number in ("1", "2", "3"):
        run_id = new_run(client, store.root)
        client.create_model_version(NAME, source=str(store.root), run_id=run_id)
        gates = [GateResult(name="accuracy", required="r", observed="o", passed=number != "3", detail="d")]
        holder = registry.aliases().get("staging")
        said = {"holder": holder, "number": number, "reason": f"a | b\u3000{number}", "version": DIGESTS}
        registry.set_alias(registry.append("promote", "staging", **said, gates=gates))
    return registry


def tags(registry):
    return dict(registry.model().tags)


def read(registry):
    return audit.read_record(registry.layout, NAME, tags(registry))


def lines(registry):
    return registry.layout.registry(NAME).read_text().splitlines()


def write(registry, new):
    registry.layout.registry(NAME).write_text("".join(f"{line}\n" for line in new))


def test_entries_come_back_oldest_first_and_whole(three):
    record = read(three)
    assert record.problems == ()
    assert [(e.number, e.to_version, e.reason, e.failed) for e in record.entries] == [
        (n, str(n), f"a | b\u3000{n}", ["accuracy"] if n == 3 else []) for n in (1, 2, 3)
    ]


def test_the_store_has_a_line_for_people_and_an_artifact_with_all(three):
    line = tags(three)["podium.record.000003"]
    who = read(three).entries[2].who
    assert f" | promote | staging | 2 -> 3 | {who} | 0 of 1 gates, forced past accuracy | a | b" in line
    assert line.endswith(f"sha256:{read(three).entries[2].digest}")
    text = audit.fetcher(three.client, NAME)(3, "3")
    assert AuditEntry.model_validate_json(text) == read(three).entries[2]


def test_a_clone_without_the_file_fetches_the_record_and_keeps_it(three):
    kept = lines(three)
    three.layout.registry(NAME).unlink()
    assert (read(three).entries, read(three).behind, read(three).problems) == ((), 3, ())
    assert [e.number for e in three.record().entries] == [1, 2, 3]
    assert lines(three) == kept


def test_what_another_store_did_stays_in_the_file_and_is_not_this_one_s(three):
    other = entry(1, "7", store="elsewhere").after([])
    write(three, [other.line(), *lines(three)])
    record = three.record()
    assert ([e.to_version for e in record.entries], record.elsewhere) == (["1", "2", "3"], (other,))
    three.append("promote", "staging", holder="3", number="1", reason="again", version=DIGESTS)
    assert len(lines(three)) == 5


def edited(line, **change):
    return json.dumps({**json.loads(line), **change})


def resealed(line, **change):
    found = AuditEntry.model_validate_json(edited(line, **change))
    return found.model_copy(update={"digest": found.sealed()}).line()


@pytest.mark.parametrize(
    ("forge", "said"),
    [
        (lambda found: [found[0], edited(found[1], reason="x"), found[2]], r"line 2 was edited, its digest"),
        (lambda found: [found[0], found[2]], r"line 2 follows a line that is not there"),
        (lambda found: [found[0], "nonsense", found[2]], r"line 2 was cut or edited"),
        (lambda found: [*found[:2], resealed(found[2], reason="x")], r"entry 3 of the store is not the one in"),
        (
            lambda found: [*found, entry(4, "9").after([]).line()],
            r"entry 4 \(promote 9, .*\) is in this clone's file and not in the store",
        ),
    ],
    ids=["edited", "cut", "no entry", "edited and sealed anew", "forged"],
)
def test_a_file_that_was_tampered_with_is_told_and_nothing_is_built_on_it(three, forge, said):
    write(three, forge(lines(three)))
    record = three.record()
    assert any(re.search(said, problem) for problem in record.problems), record.problems
    with pytest.raises(PromotionRefused, match="the record of podium-tiny does not hold"):
        three.append("promote", "staging", holder="3", number="1", reason="x", version=DIGESTS)


def test_last_lines_that_were_cut_are_known_to_git_and_to_the_store(three):
    root = three.layout.root
    git = ["git", "-C", str(root), "-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    for step in (["init", "-q"], ["add", "registry"], ["commit", "-q", "-m", "mine"]):
        subprocess.run([*git, *step], check=True)
    write(three, lines(three)[:2])
    three.client.delete_registered_model_tag(NAME, "podium.record.000003")
    (problem,) = three.record().problems
    assert re.fullmatch(r"entry 3 \(promote 3, .*\) was cut from podium-tiny.jsonl, and git still holds it", problem)


@pytest.mark.parametrize("value", ["", "not an entry", "x | promote | staging | 1 -> 2 | Ada | 1 of 1 gates | y"])
def test_a_tag_changed_by_hand_is_named(three, value):
    three.client.set_registered_model_tag(NAME, "podium.record.000002", value)
    assert "the tag podium.record.000002 of the store was edited: it is no entry any more" in three.record().problems


def test_a_deleted_tag_is_named_with_its_time(three):
    three.client.delete_registered_model_tag(NAME, "podium.record.000002")
    (problem,) = three.record().problems
    assert problem.startswith("entry 2 (promote 2, 20")
    assert "is in this clone's file and not in the store" in problem


def test_an_artifact_that_was_edited_does_not_pass_for_the_entry(three):
    run_id = three.client.get_model_version(NAME, "2").run_id
    forged = resealed(lines(three)[1], reason="forged")
    three.client.log_text(run_id, forged, "promotions/podium-tiny-000002.json")
    assert three.record().problems == ()  # the file has the true one
    three.layout.registry(NAME).unlink()
    assert any("entry 2 of the store is not in" in problem for problem in three.record().problems)


def test_a_number_that_was_taken_meanwhile_is_not_written_over(three):
    record = three.record()
    three.append("promote", "staging", holder="3", number="1", reason="first", version=DIGESTS)
    late = record.entries[-1].model_copy(update={"number": 4, "reason": "late"})
    with pytest.raises(PromotionRefused, match="recorded at the same moment"):
        audit.append_entry(three.client, three.layout, record, late, None)
    assert read(three).entries[-1].reason == "first"


def test_tags_of_others_are_left_alone(three):
    three.client.set_registered_model_tag(NAME, "team", "vision")
    three.client.set_registered_model_tag(NAME, "podium.record.note", "x")
    assert read(three).problems == ()


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
    begun = [None, *(to for _, to in moves)]
    entries = [entry(n, to, action, **{"from": begun[n - 1]}) for n, (action, to) in enumerate(moves, start=1)]
    assert list_holders([*entries, entry(99, "5", alias="production")], "staging") == expected
