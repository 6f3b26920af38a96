"""`podium serve`: what it refuses to serve, and an alias that it follows as a process of its own."""

import contextlib
import queue
import signal
import socket
import subprocess
import sys
import threading

import pytest
import requests

from podium.cli.serve import _listen
from tests.unit.cli.calls import one_line, podium
from tests.unit.registry.promotions import NAME, client_of, hold_staging


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("nowhere",), 2, "'nowhere' is no model of the experiment and no version"),
        (("tiny_resnet",), 2, "name its version"),
        (("models:/other@staging",), 1, "no model is registered as 'other'"),
        (("1", "--host", "192.0.2.1"), 2, "nothing can listen at 192.0.2.1:5001"),
        (("1", "--max-images", "0"), 2, "max-images"),
    ],
)
def test_what_cannot_be_served_is_said_in_one_line(versions, arguments, code, message):
    result = podium("serve", *arguments, *(() if "--host" in arguments else ("--port", "0")))
    assert result.exit_code == code and one_line(result.stderr)
    assert message in result.stderr


def test_a_port_that_is_taken_and_a_version_that_was_changed_are_refused(project, versions):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = podium("serve", "1", "--port", str(taken.getsockname()[1]))
    assert result.exit_code == 2 and one_line(result.stderr) and "already in use" in result.stderr
    client_of(project).set_model_version_tag(NAME, "1", "podium.accuracy", "1.0")
    result = podium("serve", "1", "--port", "0")
    assert result.exit_code == 1 and result.stderr.startswith("refused: the tags of version 1 changed")


def test_an_answer_waits_for_no_acknowledgement():
    with _listen("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@contextlib.contextmanager
def serving(*arguments):
    """The command as a process; yields the lines that it prints, as they come."""
    command = [sys.executable, "-c", "from podium.cli import main; main()", "serve", *arguments, "--port", "0"]
    lines = queue.Queue()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        reader = threading.Thread(target=lambda: [lines.put(line) for line in process.stdout])
        reader.start()
        try:
            yield lambda: lines.get(timeout=300)
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=300) == -signal.SIGTERM
            reader.join()


def test_it_follows_the_alias_only_as_far_as_the_record_does(project, versions):
    hold_staging(project, "1")
    with serving("staging", "--poll", "0.05", "--host", "127.0.0.2") as line:
        said = line()
        address = said.rpartition(" ")[2].strip()
        assert said.startswith(f"{NAME}, version 1 (tiny_resnet) answers at http://127.0.0.2:")
        hold_staging(project, "2")
        assert line() == "version 2 answers now (before: version 1)\n"
        client_of(project).set_registered_model_alias(NAME, "staging", "1")
        said = line()
        assert said.startswith("warning: version 2 goes on answering: staging is at version 1, but the record ends")
        health = requests.get(f"{address}/health", timeout=300).json()
        assert (health["status"], health["version"]) == ("behind", "2")
        client_of(project).set_registered_model_alias(NAME, "staging", "2")
        while requests.get(f"{address}/health", timeout=300).json()["status"] != "ok":
            pass
