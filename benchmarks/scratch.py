"""A throw-away copy of this project to run experiments in: its own git, DVC cache and MLflow store."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from podium.config.runtime import Runtime, instruction_settings

ROOT = Path(__file__).parents[1]
_LEFT_OUT = ("dvc.lock", "reports/", "docs/", "tests/", "benchmarks/")
_SAMPLE = ("data.dvc", "dvcstore/")


def restart_with(runtime: Runtime) -> None:
    """Starts this benchmark anew where torch, which is loaded, has other settings than a project's runtime asks for."""
    settings = instruction_settings(runtime)
    if any(os.environ.get(name) != value for name, value in settings.items()):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **settings})  # noqa: S606  # itself


@dataclass(frozen=True)
class Scratch:
    """A project folder, and how to run commands in it."""

    root: Path

    @property
    def environment(self) -> dict[str, str]:
        """This process's environment without settings of MLflow and DVC, with this interpreter's commands first."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "DVC_", "PODIUM_"))}
        return {
            **kept,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "DVC_NO_ANALYTICS": "1",
            "COLUMNS": "110",
        }

    def run(self, *command: str, timeout: float = 1800, **extra: str) -> subprocess.CompletedProcess[str]:
        """Runs a command at the root; `extra` are environment variables.

        Raises:
            subprocess.TimeoutExpired: it took longer than `timeout` seconds.
        """
        return subprocess.run(
            command,
            cwd=self.root,
            env={**self.environment, **extra},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def check(self, *command: str, timeout: float = 1800) -> str:
        """Like `run`, for commands that must succeed.

        Returns:
            What it printed on stdout.

        Raises:
            RuntimeError: it did not exit with 0; the message holds what it printed.
        """
        done = self.run(*command, timeout=timeout)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} exited with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def read(self, name: str) -> str:
        """A text file below the root."""
        return (self.root / name).read_text(encoding="utf-8")

    def change_params(self, **sections: object) -> None:
        """Merges values into sections of params.yaml; `models` is replaced as a whole."""
        params = self._params()
        for section, values in sections.items():
            merge = isinstance(values, dict) and section != "models"
            params[section] = {**params[section], **values} if merge and isinstance(values, dict) else values
        self._write_params(params)

    def replace_params(self, **sections: object) -> None:
        """Puts whole sections into params.yaml."""
        self._write_params({**self._params(), **sections})

    def _params(self) -> dict[str, Any]:
        """`params.yaml` as plain values."""
        return dict(yaml.safe_load(self.read("params.yaml")))

    def _write_params(self, params: dict[str, Any]) -> None:
        """Writes `params.yaml`; comments are lost."""
        text = yaml.safe_dump(params, sort_keys=False, allow_unicode=True)
        (self.root / "params.yaml").write_text(text, encoding="utf-8")


def copy_project(root: Path, with_sample: bool = False) -> Scratch:
    """Copies this repository's files (committed or about to be), without results and tests, into a new git.

    Args:
        root: a folder that does not exist yet.
        with_sample: also `data.dvc` and the remote it is pulled from.

    Returns:
        The copy; `commit` it once its data and params are in place.
    """
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    left_out = _LEFT_OUT if with_sample else (*_LEFT_OUT, *_SAMPLE)
    for name in filter(None, listed.stdout.split("\0")):
        if not name.startswith(left_out) and (ROOT / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, root / name)
    for compiled in (ROOT / "src").rglob("__pycache__/*.pyc"):  # fits, since the copied files keep their times
        (root / compiled.relative_to(ROOT)).parent.mkdir(exist_ok=True)
        shutil.copy2(compiled, root / compiled.relative_to(ROOT))
    (root / "data").mkdir(exist_ok=True)
    return Scratch(root)


def commit(scratch: Scratch) -> None:
    """Pins `data/` with DVC and commits everything, as a user would before the first `dvc repro`."""
    scratch.check("git", "init", "-q", "-b", "main")
    scratch.check("git", "config", "user.email", "someone@example.org")
    scratch.check("git", "config", "user.name", "Someone")
    scratch.check("dvc", "add", "-q", "data")
    scratch.check("git", "add", "-A")
    scratch.check("git", "commit", "-q", "-m", "start")
