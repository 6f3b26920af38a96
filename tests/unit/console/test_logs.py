"""What the library says goes to standard output as plain lines, more or fewer as asked."""

import logging

import pytest

from podium.console.logs import LEVEL, set_up_logging


@pytest.fixture(autouse=True)
def restored(monkeypatch):
    """Leaves the level and the handlers of the package as they were."""
    logger = logging.getLogger("podium")
    level, handlers = logger.level, list(logger.handlers)
    monkeypatch.setenv(LEVEL, "INFO")
    yield
    logger.setLevel(level)
    logger.handlers[:] = handlers


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        ({}, "notice\nwarning\n"),
        ({"verbose": True}, "detail\nnotice\nwarning\n"),
        ({"quiet": True}, "warning\n"),
        ({"quiet": True, "verbose": True}, "warning\n"),
    ],
)
def test_more_or_less_is_said(asked, shown, capsys):
    set_up_logging(**asked)
    set_up_logging(**asked)  # twice says nothing twice
    logger = logging.getLogger("podium.somewhere")
    logger.debug("detail")
    logger.info("notice")
    logger.warning("warning")
    assert capsys.readouterr().out == shown
