"""`podium repro --jobs N` runs ready stages side by side, and leaves the `dvc.lock` that `dvc repro` leaves."""

import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import psutil
import pytest
import yaml

from benchmarks.scratch import Scratch

SECONDS = 900  # until something must have happened on a busy machine
STAGE = """
import sys, time
from podium.console.process import stoppable
with stoppable():
    open(sys.argv[1], "w").close()
    time.sleep(300)
"""


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    root = tmp_path_factory.mktemp("repro") / "empty"
    root.mkdir()
    project = Scratch(root)
    project.check("git", "init", "-q")
    project.check("dvc", "init", "-q")
    (root / "params.yaml").write_text("")
    return root


@pytest.fixture
def make(empty, tmp_path):
    """Makes a project of stages."""

    def made(stages, name="project"):
        shutil.copytree(empty, tmp_path / name)
        for there in ("0.txt", "frozen.txt"):
            (tmp_path / name / there).write_text("as it was\n")
        (tmp_path / name / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}, sort_keys=False))
        return Scratch(tmp_path / name)

    return made


def stage(out, *deps, before=""):
    command = f"{before}{'; ' if before else ''}cat /dev/null {' '.join(deps)} > {out}; echo {out} >> {out}"
    return {"cmd": command, "outs": [out], **({"deps": list(deps)} if deps else {})}


def draw(seed):
    """Stages in some order that read what others write; one is for each of two models, one is frozen."""
    chance, stages = random.Random(seed), {}
    for number in range(5):
        deps = [f"{other}.txt" for other in range(number) if chance.random() < 0.4]
        stages[f"s{number}"] = stage(f"{number}.txt", *deps)
    stages["frozen"] = {**stage("frozen.txt", "0.txt"), "frozen": True}  # may come before what it reads
    each = stage("m-${item}.txt", f"{chance.randrange(5)}.txt", "frozen.txt")
    stages["each"] = {"foreach": ["a", "b"], "do": each}
    named = chance.sample(list(stages), len(stages))
    stages["all"] = stage("all.txt", "m-a.txt", "m-b.txt")
    return {name: stages[name] for name in [*named, "all"]}


@pytest.mark.parametrize("seed", [1, 2])
def test_any_graph_leaves_the_lock_of_a_serial_run(make, seed):
    project, other = make(draw(seed)), make(draw(seed), "serial")
    done = project.run("podium", "repro", "--jobs", "3")
    assert done.returncode == 0, done.stdout + done.stderr
    serial = other.run("podium", "repro")  # which is `dvc repro`
    assert "Use `dvc push`" in serial.stdout, serial.stderr
    assert project.read("dvc.lock") == other.read("dvc.lock")
    assert project.read("all.txt") == other.read("all.txt")
    (project.root / "all.txt").unlink()
    again = project.run("podium", "repro", "--jobs", "3")
    assert "all    | Stage 'all' is cached - skipping run, checking out outputs" in again.stdout
    assert again.stdout.count("did not change") == 8
    assert project.read("dvc.lock") == other.read("dvc.lock")


def test_what_does_not_need_a_stage_that_failed_comes_to_its_end(make):
    """`a` and `b` end when each has seen the other at work."""
    meet = "touch {}.here; for i in $(seq 600); do test -e {}.here && break; sleep 0.1; done; test -e {}.here"
    stages = {
        "fails": {"cmd": "echo no such luck >&2; false", "outs": ["fails.txt"]},
        "a": {"cmd": f"{meet.format('a', 'b', 'b')} && echo a > a.txt", "outs": ["a.txt"]},
        "b": {"cmd": f"{meet.format('b', 'a', 'a')} && echo b > b.txt", "outs": ["b.txt"]},
        "c": stage("c.txt", "a.txt", "b.txt"),
        "waits": stage("waits.txt", "fails.txt", "a.txt"),
        "last": stage("last.txt", "waits.txt"),
    }
    project = make(stages)
    done = project.run("podium", "repro", "--jobs", "3")
    assert (done.returncode, done.stderr) == (
        1,
        "error: failed: fails; not run, since they need what failed: waits, last\n",
    )
    assert "fails | no such luck\n" in done.stdout and "c     | Running stage 'c':\n" in done.stdout
    assert "git add" not in done.stdout
    assert list(yaml.safe_load(project.read("dvc.lock"))["stages"]) == ["a", "b", "c"]
    unknown = project.run("podium", "repro", "--jobs", "2", "d")
    assert (unknown.returncode, "'d'" in unknown.stderr, "Traceback" in unknown.stderr) == (1, True, False)


@pytest.fixture
def endless(make):
    """Two stages of Podium that do not end by themselves."""
    cut = {
        name: {"cmd": f"'{sys.executable}' stage.py {name}.here && touch {name}.txt", "outs": [f"{name}.txt"]}
        for name in "ab"
    }
    project = make({"first": stage("first.txt"), **cut})
    (project.root / "stage.py").write_text(STAGE)
    return project


@contextmanager
def at_work(project):
    """A `podium repro` whose stages have begun."""
    with subprocess.Popen(
        ["podium", "repro", "--jobs", "2"],
        cwd=project.root,
        env=project.environment,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # tests in the background may ignore it
    ) as run:
        try:
            wait_until(lambda: all((project.root / f"{name}.here").exists() for name in "ab"))
            yield run
        finally:
            run.kill()


def wait_until(happened):
    deadline = time.monotonic() + SECONDS
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def left_in(project):
    """The processes that are at work there."""
    return [each for each in psutil.process_iter(["cwd"]) if each.info["cwd"] == str(project.root)]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_ends_its_stages_and_leaves_a_lock_that_is_whole(endless, number, code):
    with at_work(endless) as run:
        if number == signal.SIGINT:  # meanwhile
            other = endless.run("dvc", "repro")
            assert other.returncode == 255 and "is busy, it is being blocked by" in other.stderr
            second = endless.run("podium", "repro", "--jobs", "2")
            assert (second.returncode, second.stderr) == (1, "error: failed: a, b\n")
            assert "is busy, it is being blocked by" in second.stdout
        run.send_signal(number)
        assert run.wait(SECONDS) == code
        assert run.stderr.read() == "interrupted: run `podium repro` to go on\n"
        assert left_in(endless) == []
    assert list(yaml.safe_load(endless.read("dvc.lock"))["stages"]) == ["first"]


def test_stages_end_with_a_run_that_is_killed(endless):
    with at_work(endless) as run:
        run.kill()
        run.wait()
        wait_until(lambda: left_in(endless) == [])
