"""Nothing is half-written, and a digest depends on names and bytes alone."""

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from podium.core import files
from podium.core.errors import DataError


def test_a_failed_write_leaves_the_old_file_and_no_rest(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), files.replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_failed_folder_leaves_the_old_folder_and_no_rest(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "old").touch()
    with pytest.raises(RuntimeError), files.replacing_folder(folder) as temporary:
        (temporary / "new").touch()
        raise RuntimeError
    assert [p.name for p in folder.iterdir()] == ["old"]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "old").touch()
    with files.replacing_folder(folder) as temporary:
        (temporary / "new").touch()
    assert [p.name for p in folder.iterdir()] == ["new"]


def test_a_power_cut_leaves_the_old_file_or_the_new_one(tmp_path, monkeypatch):
    """The bytes are on the disk before they get their name, and so is the name before anybody goes on."""
    steps, sync, replace = [], os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (steps.append(("sync", os.fstat(handle).st_ino)), sync(handle)))
    monkeypatch.setattr(
        Path, "replace", lambda old, new: (steps.append(("name", old.stat().st_ino)), replace(old, new))
    )
    path, folder = tmp_path / "a.txt", tmp_path.stat().st_ino
    files.write_text(path, "new")
    number = path.stat().st_ino
    assert steps == [("sync", number), ("name", number), ("sync", folder)]
    steps.clear()
    with files.replacing_folder(tmp_path / "out") as out:
        (out / "a.txt").write_text("new")
    inside, whole = (tmp_path / "out" / "a.txt").stat().st_ino, (tmp_path / "out").stat().st_ino
    assert steps == [("sync", inside), ("sync", whole), ("name", whole), ("sync", folder)]


@pytest.mark.parametrize("writing", [files.replacing, files.replacing_folder])
def test_a_full_disk_is_one_line_with_a_remedy(tmp_path, writing):
    with pytest.raises(DataError, match="no space left.*free some space") as caught, writing(tmp_path / "out"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_by_the_name_that_was_meant(tmp_path):
    inner = "no space left on the device while writing {}/out/deep/a.txt: "
    told = pytest.raises(DataError, match=inner.format(tmp_path))
    with told, files.replacing_folder(tmp_path / "out") as out, files.replacing(out / "deep" / "a.txt"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_json_is_sorted_readable_and_refuses_nan(tmp_path):
    files.write_json(tmp_path / "a.json", {"b": 1, "a": "사과"})
    assert (tmp_path / "a.json").read_text() == '{\n  "a": "사과",\n  "b": 1\n}\n'
    with pytest.raises(ValueError, match="Out of range"):
        files.write_json(tmp_path / "b.json", {"x": float("nan")})
    assert not (tmp_path / "b.json").exists()


def test_a_tree_digest_follows_names_and_bytes_and_ignores_bytecode(tmp_path):
    (tmp_path / "room").mkdir()
    (tmp_path / "room" / "a.py").write_text("1")
    first = files.sha256_tree([tmp_path / "room"], tmp_path)
    (tmp_path / "room" / "__pycache__").mkdir()
    (tmp_path / "room" / "__pycache__" / "a.pyc").write_text("x")
    assert files.sha256_tree([tmp_path / "room", tmp_path / "room" / "a.py"], tmp_path) == first
    (tmp_path / "room" / "a.py").write_text("2")
    assert files.sha256_tree([tmp_path / "room"], tmp_path) != first
    with pytest.raises(DataError, match="does not exist"):
        files.sha256_tree([tmp_path / "gone"], tmp_path)


KILLED = """
import os, signal, sys
from pathlib import Path
from podium.core import files
with getattr(files, sys.argv[1])(Path(sys.argv[2])):
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("writing", ["replacing", "replacing_folder"])
def test_what_a_killed_process_left_goes_with_the_next_write(tmp_path, writing):
    path = tmp_path / "out.json"
    subprocess.run([sys.executable, "-c", KILLED, writing, path], check=False)
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(files.TEMPORARY)
    mine = tmp_path / f"{files.TEMPORARY}{os.getpid()}-out.json.abc"  # of a process that runs
    other = tmp_path / left.name.replace("out.json", "other.json")
    mine.touch()
    other.touch()
    with getattr(files, writing)(path):
        assert not left.exists()
    assert sorted(tmp_path.iterdir()) == sorted([mine, other, path])


@pytest.mark.parametrize("name", [".gitignore", ".dvcignore"])
def test_half_written_files_are_seen_neither_by_git_nor_by_dvc(name):
    ignored = (Path(__file__).parents[3] / name).read_text().splitlines()
    assert f"{files.TEMPORARY}*" in ignored


@pytest.mark.parametrize(
    ("umask", "file", "folder"), [(0o022, 0o644, 0o755), (0o002, 0o664, 0o775), (0o077, 0o600, 0o700)]
)
def test_a_group_shares_what_is_written_as_its_umask_says(tmp_path, umask, file, folder):
    before = os.umask(umask)
    try:
        files.write_text(tmp_path / "a" / "x.txt", "x")
        with files.replacing_folder(tmp_path / "b"):
            pass
    finally:
        os.umask(before)
    rights = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a/x.txt", "a", "b")]
    assert rights == [file, folder, folder]
