"""Progress: plain lines in a pipe, a bar on a terminal, no cost before there is something to show."""

import os
import pty
import subprocess
import sys

import pytest

from podium.console.progress import show_progress


@pytest.fixture
def clock(monkeypatch):
    """Seconds, set by hand."""
    now = [100.0]
    monkeypatch.setattr("podium.console.progress.time.monotonic", lambda: now[0])
    return now


def lines(capsys):
    return capsys.readouterr().out.splitlines()


def test_a_pipe_sees_a_line_a_minute_with_the_time_left(clock, capsys):
    with show_progress("fetch", 2000) as advance:
        for _ in range(150):
            clock[0] += 1.0
            advance(10)
    assert lines(capsys) == [
        "fetch: 600 of 2,000 images (30%), about 2 minutes left",
        "fetch: 1,200 of 2,000 images (60%), about a minute left",
    ]


def test_the_lines_of_long_work_come_further_apart(clock, capsys):
    with show_progress("train", None, unit="steps") as advance:
        for _ in range(24 * 60):
            clock[0] += 60.0
            advance(1)
    said = lines(capsys)
    assert said[0] == "train: 1 steps"
    assert 80 < len(said) < 120


def test_bytes_are_shown_in_their_units_and_work_done_before_counts(clock, capsys):
    with show_progress("download", 3_000_000, unit="bytes", done=1_000_000) as advance:
        clock[0] += 61.0
        advance(500_000)
    assert lines(capsys) == ["download: 1.5 MB of 3.0 MB (50%), about 3 minutes left"]


def test_nothing_to_do_is_no_division_by_zero(clock, capsys):
    with show_progress("fetch", 0) as advance:
        clock[0] += 61.0
        advance(0)
    assert lines(capsys) == ["fetch: 0 of 0 images (0%)"]


def test_rich_is_imported_only_for_a_bar():
    code = (
        "import sys; from podium.console.progress import show_progress\n"
        "with show_progress('fetch', 3) as advance: advance(3)\n"
        "sys.exit('rich' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=False).returncode == 0


@pytest.mark.parametrize("transient", [True, False])
def test_a_terminal_sees_a_bar_that_stays_unless_it_is_transient(transient):
    code = (
        "from podium.console.progress import show_progress\n"
        f"with show_progress('trial [1/2]', 3, unit='steps', transient={transient}) as advance: advance(3)\n"
        "print('done')"
    )
    ours, theirs = pty.openpty()
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen([sys.executable, "-c", code], stdout=theirs, env=env) as process:
        os.close(theirs)
        shown = b""
        try:
            while data := os.read(ours, 4096):
                shown += data
        except OSError:  # how Linux tells that the other end is closed
            pass
        os.close(ours)
    assert process.returncode == 0
    text = shown.decode()
    assert "trial [1/2]" in text and "3/3" in text and "steps" in text
    assert ("\x1b[2K" in text.rpartition("3/3")[2]) == transient  # the line is erased
