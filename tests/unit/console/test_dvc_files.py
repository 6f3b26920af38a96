"""A `dvc.lock` that a killed DVC left is named and brought back, and so is its list of processes."""

import fcntl
import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from podium.console import dvc_files
from podium.core.errors import DataError
from podium.core.layout import Layout

WHOLE = (Path(__file__).parents[3] / "dvc.lock").read_text(encoding="utf-8")


@pytest.fixture
def layout(tmp_path):
    (tmp_path / ".dvc" / "tmp").mkdir(parents=True)
    (tmp_path / "dvc.lock").write_text(WHOLE, encoding="utf-8")
    return Layout(tmp_path)


def git(layout, *arguments):
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    subprocess.run(["git", "-C", layout.root, *who, *arguments], check=True, capture_output=True)


DAMAGED = {
    "empty": ("", "is empty"),
    "cut in a word": (WHOLE[:3000].rstrip(), "ends in the middle of a line"),
    "only a heading": ("schema: '2.0'\n", "lacks what DVC writes there"),
    "a stage without a command": ("schema: '2.0'\nstages:\n  code:\n", "lacks what DVC writes there"),
    "an output without a path": (
        "schema: '2.0'\nstages:\n  code:\n    cmd: x\n    outs:\n    - hash: md5\n",
        "lacks what DVC writes there",
    ),
    "no yaml": ("schema: '2.0'\nstages: {\n", "is no YAML"),
    "another file's bytes": ("\0" * 100 + "\n", "is no YAML"),
    "nested too deep": ("[" * 200_000 + "\n", "lacks what DVC writes there"),
}


@pytest.mark.parametrize(("text", "wrong"), DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_lock_is_named_and_the_copy_of_the_last_stage_comes_back(layout, text, wrong):
    dvc_files.keep_lock(layout)
    lock = layout.root / "dvc.lock"
    lock.write_text(text)
    assert dvc_files.find_damage(layout) == [f"dvc.lock {wrong}, as a killed dvc leaves it"]
    assert dvc_files.repair(layout) == [
        f"dvc.lock {wrong}, as a killed dvc leaves it: the copy kept when the last stage began was brought back"
    ]
    assert lock.read_text() == WHOLE
    assert (dvc_files.find_damage(layout), dvc_files.repair(layout)) == ([], [])
    assert (layout.work / "dvc.lock.damaged").read_text() == text


def test_wherever_it_is_cut_it_is_either_named_or_read_by_dvc(layout):
    """What is cut between two lines may be whole to DVC, which then takes the missing stages from its cache."""
    from dvc.dvcfile import Lockfile
    from ruamel.yaml import YAML

    lock = layout.root / "dvc.lock"
    begin = WHOLE.index("  preprocess:\n")  # params, files and folders
    line_ends = [begin + end.end() for end in re.finditer("\n", WHOLE[begin : begin + 4000])]
    for end in (*range(0, len(WHOLE), 97), *line_ends):
        lock.write_text(WHOLE[:end])
        if not dvc_files.damage(lock):
            Lockfile.SCHEMA(YAML(typ="safe").load(WHOLE[:end]))


def test_a_whole_lock_and_none_at_all_are_fine(layout):
    assert dvc_files.find_damage(layout) == []
    (layout.root / "dvc.lock").unlink()
    assert (dvc_files.find_damage(layout), dvc_files.repair(layout)) == ([], [])


def test_a_damaged_lock_never_replaces_the_copy(layout):
    dvc_files.keep_lock(layout)
    (layout.root / "dvc.lock").write_text("")
    dvc_files.keep_lock(layout)
    assert (layout.work / "dvc.lock").read_text() == WHOLE


def test_without_a_copy_the_committed_one_comes_back_and_without_that_none(layout):
    lock = layout.root / "dvc.lock"
    git(layout, "init", "-q")
    git(layout, "add", "dvc.lock")
    git(layout, "commit", "-q", "-m", "results")
    lock.write_text("")
    assert "the committed one was brought back" in dvc_files.repair(layout)[0]
    assert lock.read_text() == WHOLE
    (layout.root / ".git").rename(layout.root / "no git")
    (layout.work / "dvc.lock.committed").unlink()
    lock.write_text("")
    assert "there is no copy: it was taken away" in dvc_files.repair(layout)[0]
    assert not lock.exists()


def test_a_merge_conflict_is_left_to_people(layout):
    (layout.root / "dvc.lock").write_text(f"<<<<<<< HEAD\n{WHOLE}=======\n{WHOLE}>>>>>>> other\n")
    with pytest.raises(DataError, match="holds a merge conflict: take one side"):
        dvc_files.repair(layout)


def test_nothing_is_touched_while_dvc_writes(layout, monkeypatch):
    monkeypatch.setattr(dvc_files, "_WAIT_SECONDS", 0.2)
    (layout.root / "dvc.lock").write_text("")
    with (layout.root / ".dvc" / "tmp" / "lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with pytest.raises(DataError, match="a dvc is at work"):
            dvc_files.repair(layout)
    assert (layout.root / "dvc.lock").read_text() == ""


def test_a_process_that_is_no_dvc_is_taken_out_of_the_list(layout):
    rwlock = layout.root / ".dvc" / "tmp" / "rwlock"
    mine = {"pid": os.getpid(), "cmd": "dvc repro"}  # its number went to another program
    with subprocess.Popen(["bash", "-c", "exec -a dvc sleep 60"]) as other:
        live = {"pid": other.pid, "cmd": "dvc repro"}
        rwlock.write_text(json.dumps({"write": {"/a": mine, "/b": live}, "read": {"/c": [mine], "/d": [mine, live]}}))
        (done,) = dvc_files.repair(layout)
        other.kill()
    assert done == f".dvc/tmp/rwlock names process {os.getpid()}, which is no dvc any more: mended"
    assert json.loads(rwlock.read_text()) == {"write": {"/b": live}, "read": {"/d": [live]}}


@pytest.mark.parametrize("text", ["", '{"write": {"/a": {"pi', '{"write": {"/a": 3}}', "[]", "[" * 200_000])
def test_a_list_that_dvc_cannot_read_is_emptied(layout, text):
    rwlock = layout.root / ".dvc" / "tmp" / "rwlock"
    rwlock.write_text(text)
    assert dvc_files.repair(layout) == [".dvc/tmp/rwlock cannot be read, as a killed dvc leaves it: mended"]
    assert json.loads(rwlock.read_text()) == {}


def test_entries_are_put_into_an_order_and_keep_their_bytes(layout):
    lock = layout.root / "dvc.lock"
    names = list(yaml.safe_load(WHOLE)["stages"])
    dvc_files.order_stages(layout, names)
    assert lock.read_text(encoding="utf-8") == WHOLE
    dvc_files.order_stages(layout, [*reversed(names[2:]), names[-1], "of another dvc.yaml"])
    assert list(yaml.safe_load(lock.read_text())["stages"]) == [*reversed(names[2:]), *names[:2]]
    dvc_files.order_stages(layout, names)
    assert lock.read_text(encoding="utf-8") == WHOLE


def test_a_lock_that_is_damaged_or_not_there_is_not_put_into_order(layout):
    lock = layout.root / "dvc.lock"
    lock.write_text(WHOLE[:3000])
    dvc_files.order_stages(layout, ["validate", "code"])
    assert lock.read_text() == WHOLE[:3000]
    lock.unlink()
    dvc_files.order_stages(layout, ["validate", "code"])
    assert not lock.exists()
