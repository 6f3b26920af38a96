"""The ledger of the test split: a line a model, chained; nothing that happens to a working copy loses one unnoticed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from podium.console.openings import Opening, Openings, keep_openings, opened, read_openings
from podium.core.errors import DataError
from podium.core.layout import Layout

GIT = ("git", "-c", "user.name=a", "-c", "user.email=a@example.org")
ATTRIBUTES = "reports/test_openings.jsonl merge=union\n"


def opening(model: str, test: str = "t1", images: str = "i1") -> Opening:
    return Opening(purpose=f"evaluate {model}", fingerprint=model, test_digest=test, images=images)


def look(layout: Layout, *models: str) -> None:
    for model in models:
        keep_openings(layout, opening(model))


def models(layout: Layout) -> list[str]:
    return [line.fingerprint for line in read_openings(layout)]


@pytest.fixture
def ledger(tmp_path):
    """Three openings."""
    layout = Layout(tmp_path)
    look(layout, "a", "b", "c")
    return layout


def test_a_line_says_who_looked_when_what_for_and_follows_the_one_before(ledger):
    lines = [json.loads(line) for line in ledger.test_openings.read_text().splitlines()]
    assert [line["purpose"] for line in lines] == ["evaluate a", "evaluate b", "evaluate c"]
    assert [line["previous"] for line in lines] == [[], [lines[0]["digest"]], [lines[1]["digest"]]]
    assert all(line["who"] and line["when"].endswith("+00:00") for line in lines)


def test_the_same_model_on_the_same_test_split_costs_nothing(ledger):
    before = ledger.test_openings.read_bytes()
    look(ledger, "b", "a")
    assert ledger.test_openings.read_bytes() == before


def test_other_sizes_of_the_same_images_count_together_and_other_images_alone(ledger):
    keep_openings(ledger, opening("a64", "t2"))
    keep_openings(ledger, opening("a", "t3", "i2"))
    assert len(opened(ledger, "t1")) == len(opened(ledger, "t2")) == 4
    assert opened(ledger, "t3") == {("a", "t3")}
    assert opened(ledger, "t4") == set()


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda lines: [lines[0], lines[2]], "line 2 follows a line that is not there any more"),
        (lambda lines: lines[1:], "line 1 follows a line that is not there any more"),
        (lambda lines: [*lines[:2], lines[2].replace("evaluate c", "evaluate d")], "line 3 was edited"),
        (lambda lines: [lines[0].replace('"a"', '"b"', 1), *lines[1:]], "line 1 was edited"),
        (lambda lines: [*lines[:2], lines[2][:40]], "line 3 was cut or edited"),
        (lambda lines: [*lines[:2], "\ud800"], "line 3 was cut or edited"),
        (lambda lines: [lines[0], "<<<<<<< HEAD", *lines[1:]], "line 2 is a merge conflict: keep the lines of both"),
    ],
)
def test_a_line_that_was_cut_or_edited_is_one_sentence_and_nothing_is_appended(ledger, damage, told):
    lines = damage(ledger.test_openings.read_text().splitlines())
    ledger.test_openings.write_bytes("\n".join([*lines, ""]).encode("utf-8", "surrogatepass"))
    before = ledger.test_openings.read_bytes()
    with pytest.raises(DataError, match=told) as caught:
        look(ledger, "d")
    assert "\n" not in str(caught.value)
    assert ledger.test_openings.read_bytes() == before


@pytest.mark.parametrize("kept", [0, 1])
def test_lines_that_a_checkout_took_away_come_back(ledger, kept):
    """Of `git checkout`, of `dvc exp apply`, or of the last lines cut by hand, which no chain can notice."""
    whole = ledger.test_openings.read_text()
    ledger.test_openings.write_text("".join(whole.splitlines(keepends=True)[:kept]))
    assert models(ledger) == ["a", "b", "c"]
    keep_openings(ledger)
    assert ledger.test_openings.read_text() == whole


def test_a_fresh_clone_goes_on_where_the_committed_ledger_ends(ledger, tmp_path):
    clone = Layout(tmp_path / "clone")
    clone.test_openings.parent.mkdir(parents=True)
    clone.test_openings.write_bytes(ledger.test_openings.read_bytes())
    look(clone, "c", "d")
    assert models(clone) == ["a", "b", "c", "d"]


def test_two_branches_are_merged_by_git_and_the_next_opening_follows_both(ledger):
    def git(*arguments: str) -> None:
        subprocess.run([*GIT, *arguments], cwd=ledger.root, check=True, capture_output=True)

    def on(branch: str, model: str) -> None:
        git("checkout", "-q", "-B", branch, "main")
        ledger.test_openings_copy.unlink()  # as in a clone of its own
        look(ledger, model)
        git("commit", "-q", "-am", model)

    (ledger.root / ".gitattributes").write_text(ATTRIBUTES)
    (ledger.root / ".gitignore").write_text(".podium\n")
    git("init", "-q", "-b", "main")
    git("add", "-A")
    git("commit", "-q", "-m", "start")
    on("ours", "d")
    on("theirs", "e")
    git("merge", "-q", "ours", "-m", "both")
    assert sorted(models(ledger)) == ["a", "b", "c", "d", "e"]
    look(ledger, "f")
    lines = {line.fingerprint: line for line in read_openings(ledger)}
    assert set(lines["f"].previous) == {lines["d"].digest, lines["e"].digest}
    left_out = [line for line in ledger.test_openings.read_text().splitlines() if '"evaluate d"' not in line]
    ledger.test_openings.write_text("\n".join([*left_out, ""]))
    with pytest.raises(DataError, match="follows a line that is not there any more"):
        read_openings(ledger)


def test_the_project_merges_its_ledger_so():
    root = Path(__file__).parents[3]
    assert ATTRIBUTES in (root / ".gitattributes").read_text()


def test_experiments_in_throw_away_copies_count_for_the_project(ledger):
    copy = Layout(ledger.root / ".dvc" / "tmp" / "exps" / "standalone" / "x1")
    look(copy, "a", "d")
    assert models(ledger) == ["a", "b", "c", "d"]
    assert not (copy.root / "reports").exists()


LOOKS = """
import sys
from pathlib import Path
from pathlib import Path
from podium.console.openings import Opening, keep_openings
from podium.core.layout import Layout
for i in range(20):
    name = f"{sys.argv[2]}{i}"
    line = Opening(who="a", purpose=name, fingerprint=name, test_digest="t1", images="i1")
    keep_openings(Layout(Path(sys.argv[1])), line)
"""


def test_two_evaluations_at_once_lose_no_line(tmp_path):
    both = [subprocess.Popen([sys.executable, "-c", LOOKS, str(tmp_path), name]) for name in "ab"]
    assert [process.wait(60) for process in both] == [0, 0]
    assert len(models(Layout(tmp_path))) == 40


@pytest.mark.parametrize(
    ("used", "said", "spent"),
    [
        (Openings(0, 100, None), "Test set used 0 times.", False),
        (Openings(1, 100, None), "Test set used once.", False),
        (Openings(1, 100, 1), "Test set used once (budget 1).", False),
        (
            Openings(12, 264, 20),
            "Test set used 12 times (budget 20): on 264 images, the luck of the best of 12 models is worth at most "
            "6.9 points on average.",
            False,
        ),
        (
            Openings(2, 200, 1),
            "Test set used 2 times (budget 1): on 200 images, the luck of the best of 2 models is worth at most 4.2 "
            "points on average. Its budget is spent: choose by validation images, or gather new test images.",
            True,
        ),
        (
            Openings(0, 100, None, missing=("m", "n")),
            "Test set used 0 times. Not in the ledger: m, n (measured before there was one, or their lines were cut).",
            False,
        ),
        (
            Openings(0, 9, 1, problem="x was edited"),
            "How often the test set was used is not known: x was edited.",
            False,
        ),
    ],
)
def test_the_sentence(used, said, spent):
    assert (used.said, used.spent) == (said, spent)
