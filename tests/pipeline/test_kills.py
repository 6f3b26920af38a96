"""However often and in whatever way a run is stopped, `make repro` brings it to the same end, to the byte.

The long form takes a hundred chains: `PODIUM_LONG=1 python -m pytest -s tests/pipeline/test_kills.py`.
"""

import os
import shutil
import time

import pytest

from tests.kill_chains import build, differences, left_by, run_chain

CHAINS, STOPS = (100, 5) if os.environ.get("PODIUM_LONG") else (1, 2)


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    return build(tmp_path_factory.mktemp("chains") / "start")


@pytest.fixture(scope="module")
def whole(start, warm_path):
    """What a run leaves that nobody stopped, and how long it took."""
    copy = start.root.with_name("whole")
    shutil.copytree(start.root, copy, symlinks=True)
    project = type(start)(copy)
    begun = time.monotonic()
    done = project.run("dvc", "repro", timeout=900, PATH=warm_path)
    assert done.returncode == 0, done.stdout + done.stderr
    return left_by(project), time.monotonic() - begun


@pytest.mark.parametrize("seed", range(CHAINS))
def test_a_chain_of_kills_ends_as_a_run_that_nobody_stopped(start, whole, warm_path, tmp_path, seed):
    expected, seconds = whole
    left, told = run_chain(start.root, tmp_path / "project", seed, stops=STOPS, seconds=seconds * 0.6, path=warm_path)
    print(f"chain {seed}: {'; '.join(told)}")
    assert differences(left, expected) == [], told
    shutil.rmtree(tmp_path / "project")


def test_stages_side_by_side_end_as_stages_one_after_the_other(start, whole, warm_path, tmp_path):
    shutil.copytree(start.root, tmp_path / "project", symlinks=True)
    project = type(start)(tmp_path / "project")
    done = project.run("podium", "repro", "--jobs", "2", timeout=900, PATH=warm_path)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "the stage goes on" not in done.stdout, "a live view gave up"
    assert left_by(project) == whole[0]
    shutil.rmtree(project.root)
