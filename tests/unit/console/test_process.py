"""However a stage is stopped, it closes what it has open; and one process of it is at work at a time."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from podium.config.params import Params
from podium.console import process
from podium.console.shell import run_stage
from podium.core.errors import PodiumError
from podium.core.layout import Layout

ROOT = Path(__file__).parents[3]
STAGE = """
import sys, time
from podium.console.process import once, stoppable
from podium.core.layout import Layout
from pathlib import Path
with stoppable(), once(Layout(Path(sys.argv[1])), "train m"):
    try:
        print("begun", flush=True)
        time.sleep(60)
    finally:
        Path(sys.argv[1], "closed").touch()
"""
DVC = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1], sys.argv[2]])"


@pytest.fixture
def restored():
    """Signals as they were: a stage that was stopped leaves them as the system has them."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background may begin with it ignored
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGINT", 130)])
def test_a_signal_ends_a_stage_in_order_and_is_told_in_one_line(tmp_path, monkeypatch, capsys, restored, name, code):
    closed = []

    def main(params: Params, layout: Layout) -> None:
        try:
            os.kill(os.getpid(), signal.Signals[name])
            time.sleep(10)
        finally:
            closed.append(True)

    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    assert run_stage(main, []) == code
    assert closed == [True]
    assert capsys.readouterr().err == "interrupted: run `dvc repro` to go on\n"


def test_a_stage_whose_dvc_was_killed_ends_and_closes_what_is_open(tmp_path):
    (tmp_path / "dvc").write_text(DVC)
    environment = {**os.environ, "DVC_STAGE": "train@m"}
    command = [sys.executable, tmp_path / "dvc", STAGE, tmp_path]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as dvc:
        assert dvc.stdout.readline() == "begun\n"
        dvc.kill()
        dvc.wait()
        deadline = time.monotonic() + 30
        with process.once(Layout(tmp_path), "train m"):  # waits for it
            assert (tmp_path / "closed").exists()
        assert time.monotonic() < deadline


def test_a_second_process_of_a_stage_waits_and_then_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(process, "_WAIT_SECONDS", 0.1)
    layout = Layout(tmp_path)
    refused = pytest.raises(PodiumError, match="another process is at work on train m: wait for it")
    with process.once(layout, "train m"), process.once(layout, "train n"), refused:
        process.once(layout, "train m").__enter__()
    assert "waiting for it to end" in capsys.readouterr().out


def test_who_is_git_s_user_and_the_login(monkeypatch):
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "user.name")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "Ada Lovelace")
    monkeypatch.setenv("LOGNAME", "ada")
    assert process.whoami() == "Ada Lovelace (ada)"


def test_when_is_utc_to_the_second():
    assert process.utc_now().endswith("+00:00")
    assert len(process.utc_now()) == len("2024-01-01T00:00:00+00:00")
