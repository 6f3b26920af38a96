"""What the library says: plain lines, more or fewer as asked, warnings on standard error."""

import logging

import pytest

from podium.console.process import LEVEL, set_up_logging


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
        ({}, "notice\n"),
        ({"verbose": True}, "detail\nnotice\n"),
        ({"quiet": True}, ""),
        ({"quiet": True, "verbose": True}, ""),
    ],
)
def test_more_or_less_is_said(asked, shown, capsys):
    set_up_logging(**asked)
    set_up_logging(**asked)  # twice says nothing twice
    logger = logging.getLogger("podium.somewhere")
    logger.debug("detail")
    logger.info("notice")
    logger.warning("beware")
    said = capsys.readouterr()
    assert said.out == shown
    assert said.err == "warning: beware\n"
