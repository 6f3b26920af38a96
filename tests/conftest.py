"""What every test relies on: no telemetry, and one small project that went through a real `dvc repro`."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadFileScheduling

from podium.config.runtime import Runtime, use_instructions
from podium.console.process import set_up_logging, silence_telemetry
from podium.core.errors import ParamsError

# Before anything loads torch or NumPy. Two workers share two processors with all they start: a thread that waits for
# another one is to sleep, since turning round meanwhile keeps that other one from its work, ten times as long.
os.environ |= {"OMP_WAIT_POLICY": "PASSIVE", "OPENBLAS_THREAD_TIMEOUT": "4"}
# the sample, which tests copy, asks for it
with suppress(ParamsError):  # where there is no AVX2, what needs it fails and says so
    use_instructions(Runtime(instructions="avx2"))

from podium.core import vision as _vision  # noqa: E402, F401  # before a test imports torchvision or timm itself
from tests.small_project import SmallProject, build  # noqa: E402
from tests.warm_python import warm  # noqa: E402

silence_telemetry()
set_up_logging()
# An experiment is some twenty processes: what one has compiled, the others need not, whatever the environment says.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# The same examples each time, and no test fails because the machine is busy.
settings.register_profile(
    "podium",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("podium")

EXPERIMENTS = "tests/pipeline/test_experiments.py"
OF_FINISHED = (
    "tests/pipeline/test_whole_road.py",
    "tests/pipeline/test_promotion.py",
    "tests/pipeline/test_reruns.py",
    "tests/ui/",
)


class _ByFile(LoadFileScheduling):
    """One process a file; the files of the one finished project go to the same, so that it is built once."""

    def _split_scope(self, nodeid: str) -> str:
        """What a test shares a process with: its file, all files of the finished project, or nothing."""
        file = super()._split_scope(nodeid)
        if file == EXPERIMENTS:
            return nodeid  # minutes each: both processes share them
        return "finished" if file.startswith(OF_FINISHED) else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _ByFile:
    """Tests run in two processes (`make test`)."""
    return _ByFile(config, log)


@pytest.fixture(scope="session")
def warm_path() -> Iterator[str]:
    """The PATH with a `python` that need not import torch for each of the stages."""
    with TemporaryDirectory(prefix="podium-") as folder, warm(Path(folder) / "bin") as commands:
        yield f"{commands}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, warm_path: str) -> SmallProject:
    """A copy of this repository with about 60 generated images, after one `dvc repro`. Tests leave it as it was."""
    project = build(tmp_path_factory.mktemp("finished") / "project")
    return SmallProject(project.root, project.run("dvc", "repro", timeout=900, PATH=warm_path), warm_path)


@pytest.fixture(scope="session")
def promoted(finished: SmallProject) -> subprocess.CompletedProcess[str]:
    """What the first promotion to staging in the finished project printed."""
    return finished.run("podium", "promote", "candidate", "--to", "staging", "--reason", "first")
