"""`podium data-diff`: the images of two revisions of git, whose manifests lie in DVC's cache."""

import hashlib
import json
import shutil
import subprocess

import pandas as pd
import pytest
import yaml

from tests.unit.cli.calls import one_line, podium


def git(root, *arguments):
    who = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    return subprocess.run(["git", *who, *arguments], cwd=root, check=True, capture_output=True, text=True).stdout


def commit(project, message):
    """Commits the `dvc.lock` that names the present manifest, which goes to DVC's cache."""
    data = project.manifest.read_bytes()
    digest = hashlib.md5(data).hexdigest()
    place = project.root / ".dvc/cache/files/md5" / digest[:2] / digest[2:]
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(data)
    out = {"path": "artifacts/prepared/manifest.parquet", "hash": "md5", "md5": digest, "size": len(data)}
    lock = {"schema": "2.0", "stages": {"preprocess": {"cmd": "true", "outs": [out]}}}
    (project.root / "dvc.lock").write_text(yaml.safe_dump(lock))
    git(project.root, "add", "dvc.lock")
    git(project.root, "commit", "-q", "--allow-empty", "-m", message)


def relabel(project, count):
    """Gives the first images of a split another class; their paths."""
    table = pd.read_parquet(project.manifest)
    mine = table.index[table["split"] == "test"][:count]
    table.loc[mine, "label"] = "quince"
    table.to_parquet(project.manifest, index=False)
    return sorted(table.loc[mine, "path"])


@pytest.fixture
def two(project):
    """A project of two commits, of which the second has seven images relabelled, and one more relabelled since."""
    git(project.root, "init", "-q")
    commit(project, "one")
    relabelled = relabel(project, 7)
    commit(project, "two")
    return project, relabelled, relabel(project, 8)


def said(*arguments):
    result = podium("data-diff", *arguments)
    assert result.exit_code == 0, result.stderr
    return result.stdout


def test_two_revisions_or_head_and_what_lies_here(two):
    _, relabelled, since = two
    found = json.loads(said("HEAD~1", "HEAD", "--json"))
    assert found["counts"]["relabelled"] == 7 and [row["path"] for row in found["changes"]] == relabelled
    (row,) = json.loads(said("--json"))["changes"]
    assert {row["path"]} == set(since) - set(relabelled)
    assert [row["path"] for row in json.loads(said("HEAD~1", "--json"))["changes"]] == since


def test_counts_and_the_first_rows_are_shown_and_all_are_in_the_csv(two, tmp_path):
    out = tmp_path / "changes.csv"
    text = said("HEAD~1", "HEAD", "--out", str(out))
    assert "7  relabelled" in text and "and 2 more" in text and "quince" in text
    assert "relabelled: of another class" in text
    table = pd.read_csv(out)
    assert list(table.columns) == ["change", "image_id", "path", "before", "after"]
    assert (table["change"].tolist(), set(table["after"])) == (["relabelled"] * 7, {"quince"})
    assert said("HEAD", "HEAD") == "the same images in the same splits under the same labels\n"


def test_what_cannot_be_compared_is_said_in_one_line(two):
    project = two[0]
    cached = project.root / ".dvc"
    for change, arguments, message in (
        (lambda: None, ("nowhere",), "'nowhere' is no revision of git"),
        (lambda: None, ("--", f"--output={project.root}/written"), "is no revision of git"),
        (lambda: shutil.rmtree(cached), ("HEAD~1",), "the prepared manifest of HEAD~1 is not in DVC's cache"),
        (lambda: git(project.root, "rm", "-q", "--cached", "dvc.lock"), (), ""),
    ):
        change()
        if not message:
            git(project.root, "commit", "-q", "-m", "without")
            message = "dvc.lock of HEAD does not exist"
        result = podium("data-diff", *arguments)
        assert (result.exit_code, message in result.stderr, one_line(result.stderr)) == (1, True, True), result.stderr
    assert not list(project.root.glob("written*"))
