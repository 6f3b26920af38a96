"""What every test relies on: no telemetry, and one small project that went through a real `dvc repro`."""

import subprocess

import pytest

from podium.core.shell import silence_telemetry
from tests.small_project import SmallProject, build

silence_telemetry()


@pytest.hookimpl(tryfirst=True)  # before the plugin that reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of the one finished project go to one process, so that it is built once and used in order."""
    for item in items:
        if "finished" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("finished"))


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> SmallProject:
    """A copy of this repository with about 60 generated images, after one `dvc repro`. Tests leave it as it was."""
    project = build(tmp_path_factory.mktemp("finished") / "project")
    return SmallProject(project.root, project.run("dvc", "repro", timeout=900))


@pytest.fixture(scope="session")
def promoted(finished: SmallProject) -> subprocess.CompletedProcess[str]:
    """What the first promotion to staging in the finished project printed."""
    return finished.run("podium", "promote", "candidate", "--to", "staging", "--reason", "first")
